"""The reduced head is near the full one, and is not the full one."""

from __future__ import annotations

import pytest
import torch

from reenact_zoo.faces.morphable import Region, load_head
from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.morphable.reduced import ReducedHead


@pytest.fixture(scope="module")
def heads() -> tuple[DenseHead, ReducedHead]:
    reduced = load_head("procedural_reduced")
    assert isinstance(reduced, ReducedHead)
    return reduced._full, reduced


def people(head: DenseHead, count: int = 8) -> torch.Tensor:
    coefficients = head.sample(torch.Generator().manual_seed(5), count)
    parts = head.layout.split(coefficients)
    generator = torch.Generator().manual_seed(6)
    parts["expression"] = 0.4 * torch.rand(count, head.layout.expression, generator=generator)
    parts["pose"] = 10 * torch.randn(count, head.layout.pose, generator=generator)
    return head.layout.join(**parts)


def test_layout_is_smaller_and_of_the_same_order(heads: tuple[DenseHead, ReducedHead]) -> None:
    full, reduced = heads
    assert reduced.layout.shape <= min(40, full.layout.shape)
    assert (reduced.layout.texture, reduced.layout.expression) == (16, 25)
    assert (reduced.layout.pose, reduced.layout.camera, reduced.layout.light) == (9, 3, 27)


def test_projected_people_keep_their_place_and_roughly_their_face(heads: tuple[DenseHead, ReducedHead]) -> None:
    full, reduced = heads
    coefficients = people(full)
    a, b = full.layout.split(coefficients), reduced.layout.split(reduced.from_full(coefficients))
    there = full.vertices(a["shape"], a["expression"], a["pose"])[:, : len(full.arrays.template)]
    here = reduced.vertices(b["shape"], b["expression"], b["pose"])
    mean_head = reduced.vertices(0 * b["shape"], 0 * b["expression"], b["pose"])
    error, baseline = (there - here).norm(dim=-1).mean(), (there - mean_head).norm(dim=-1).mean()
    assert float(error) < 0.5 * float(baseline)
    assert float(error) > 1e-4  # centimetres: the reduced head must not reproduce the full one


def test_kept_expressions_map_to_themselves(heads: tuple[DenseHead, ReducedHead]) -> None:
    full, reduced = heads
    for name in ("jawOpen", "mouthSmile_L", "eyeBlink_R"):
        one = torch.zeros(1, full.layout.total)
        offset = full.layout.shape + full.layout.texture
        one[0, offset + full.expression_names.index(name)] = 1
        mapped = reduced.layout.split(reduced.from_full(one))["expression"][0]
        expected = torch.zeros(25)
        expected[reduced.expression_names.index(name)] = 1
        torch.testing.assert_close(mapped, expected, atol=1e-4, rtol=0)


def test_there_are_no_teeth_and_no_hair(heads: tuple[DenseHead, ReducedHead]) -> None:
    full, reduced = heads
    lost = {int(r) for r in full.regions.unique()} - {int(r) for r in reduced.regions.unique()}
    assert lost == {Region.TEETH, Region.HAIR, Region.GLASSES}
    assert len(reduced.template) == len(full.arrays.template)


def test_albedo_follows_skin_tone_but_not_the_scalp(heads: tuple[DenseHead, ReducedHead]) -> None:
    full, reduced = heads
    tones = torch.zeros(2, full.layout.total)
    melanin = full.layout.shape + full.texture_names.index("skin_melanin")
    tones[:, melanin] = torch.tensor([-1.5, 1.5])
    texture = reduced.layout.split(reduced.from_full(tones))["texture"]
    light, dark = reduced.albedo(texture, 128)
    painter = full._painter(128)
    painted = painter(full.layout.split(tones)["texture"])  # of the body, without what is worn
    scalp = painter.masks["scalp"][0, 0] > 0.9
    assert float(light.mean() - dark.mean()) > 0.15
    assert float((light - painted[0])[:, scalp].mean()) > 0.1  # skin where the full head has hair
    assert float((light - painted[0])[:, ~scalp].abs().mean()) < 0.05


def test_it_wears_nothing(heads: tuple[DenseHead, ReducedHead]) -> None:
    full, reduced = heads
    coefficients = people(full, 2)
    other = coefficients.clone()
    first = full.layout.shape - len(full.style_names)
    other[:, first : full.layout.shape] = torch.randn(
        2, len(full.style_names), generator=torch.Generator().manual_seed(1)
    )
    assert len(full.style_names) > 0
    assert reduced.style_names == ()
    assert torch.equal(reduced.from_full(coefficients), reduced.from_full(other))
