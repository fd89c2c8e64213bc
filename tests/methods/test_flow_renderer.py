"""flow_renderer as a method: motion out of coefficients, exact background, ablations, and bad input that is told."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.faces.coefficients import LAYOUT
from reenact_zoo.methods.flow_renderer.config import Config
from reenact_zoo.methods.flow_renderer.descriptor import READERS, FlameReader, IctReducedReader, windowed
from reenact_zoo.methods.flow_renderer.losses import LossWeights
from reenact_zoo.methods.flow_renderer.module import FlowRenderer
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.testing import synthetic_batch
from reenact_zoo.types import InputError, PairBatch

SIZE = Config.tiny().image_size
KEYS = FlowRenderer.requires | FlowRenderer.training_requires | {"source_identity", "driving_identity"}
REFERENCE = frozenset({"driving_reference", "driving_reference_coefficients"})
FLAME = FlameReader.layout


def build(**changes: Any) -> FlowRenderer:
    torch.manual_seed(0)
    tiny = Config.tiny()
    for name in list(changes):
        if "." in name:
            part, *path, field = name.split(".")
            old = changes.get(part, getattr(tiny, part))
            value = changes.pop(name)
            if path:
                inner = dataclasses.replace(getattr(old, path[0]), **{field: value})
                changes[part] = dataclasses.replace(old, **{path[0]: inner})
            else:
                changes[part] = dataclasses.replace(old, **{field: value})
    return FlowRenderer(dataclasses.replace(tiny, **changes))


def pairs(count: int = 2, seed: int = 0, keys: frozenset[str] = KEYS) -> PairBatch:
    return synthetic_batch(SIZE, count, keys, seed=seed)


def with_entries(batch: PairBatch, **entries: Any) -> PairBatch:
    return cast(PairBatch, {**batch, **entries})


@torch.no_grad()
def images(method: FlowRenderer, batch: PairBatch) -> Tensor:
    return method.eval().reenact(batch).reenacted


def drawing(method: FlowRenderer, logit: float) -> FlowRenderer:
    """The method with a matte whose logit lies near ``logit`` everywhere."""
    last = method.networks.refinement.to_pixels
    with torch.no_grad():
        last.weight[-len(last.weight) // 4 :] *= 0.1
        cast(Tensor, last.bias)[-len(last.weight) // 4 :] = logit
    return method.eval()


# --- the motion descriptor ------------------------------------------------------------------------------------------


def ict_row(yaw: float = 0.0, **columns: float) -> Tensor:
    row = torch.zeros(1, LAYOUT.total)
    parts = LAYOUT.split(row)
    parts["pose"][:, 0] = 0.65 * yaw
    parts["pose"][:, 3] = 0.35 * yaw
    for name, value in columns.items():
        kind, _, index = name.partition("_")
        parts[kind][:, int(index)] = value
    return row


def test_a_descriptor_is_expression_angles_and_place_of_about_unit_size() -> None:
    reader = IctReducedReader()
    assert reader.numbers == 25 + 3 + 3 + 3
    still = reader.descriptor(ict_row())[0]
    turned = reader.descriptor(ict_row(20.0, expression_3=0.05, pose_7=8.0, camera_0=0.1, camera_1=0.35))[0] - still
    expected = {3: 1.0, 25: 1.0, 29: 1.0, 31: 1.0, 32: 1.0}
    for column in range(reader.numbers):
        assert float(turned[column]) == pytest.approx(expected.get(column, 0.0), abs=1e-4)
    identity = ict_row(shape_4=3.0, texture_2=3.0, light_5=3.0)
    assert torch.equal(reader.descriptor(identity)[0], still)


@pytest.mark.parametrize("name", sorted(READERS))
def test_relative_motion_of_rest_is_the_source_and_from_the_source_is_the_driving(name: str) -> None:
    reader = READERS[name]()
    random = torch.Generator().manual_seed(3)
    source, driving, other = (0.2 * torch.randn(4, reader.total, generator=random) for _ in range(3))
    for moved, like in (((source, driving, driving), source), ((source, driving, source), driving)):
        row = reader.relative(*moved)
        assert torch.allclose(reader.descriptor(row), reader.descriptor(like), atol=1e-4)
        ours, theirs = reader.motion(row), reader.motion(like)
        for part in ("rotation", "scale", "shift"):
            assert torch.allclose(getattr(ours, part), getattr(theirs, part), atol=1e-4)
    ratio = reader.motion(reader.relative(source, driving, other)).scale / reader.motion(source).scale
    assert torch.allclose(ratio, reader.motion(driving).scale / reader.motion(other).scale, atol=1e-4)
    if name != "deep3d":
        wanted = reader.motion(driving).rotation @ reader.motion(other).rotation.mT @ reader.motion(source).rotation
        assert torch.allclose(reader.motion(reader.relative(source, driving, other)).rotation, wanted, atol=1e-4)


def test_relative_motion_keeps_who_the_source_is() -> None:
    reader = IctReducedReader()
    random = torch.Generator().manual_seed(3)
    source, driving, other = (torch.randn(2, reader.total, generator=random) for _ in range(3))
    moved, own = LAYOUT.split(reader.relative(source, driving, other)), LAYOUT.split(source)
    assert all(torch.equal(moved[kind], own[kind]) for kind in ("shape", "texture", "light"))
    window = reader.relative(source[:, None], driving[:, None].expand(-1, 5, -1), other[:, None])
    assert torch.allclose(window[:, 4], reader.relative(source, driving, other), atol=1e-5)


def test_a_window_is_cut_around_its_middle_or_filled_with_its_ends() -> None:
    numbers = torch.arange(5.0)[None, :, None]
    assert windowed(numbers, 1).tolist() == [[2.0]]
    assert windowed(numbers, 3).tolist() == [[[1.0, 2.0, 3.0]]]
    assert windowed(numbers, 9).tolist() == [[[0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0]]]


# --- use ------------------------------------------------------------------------------------------------------------


def test_a_driving_frame_like_its_reference_leaves_the_source_where_it_is() -> None:
    method, batch = build(), pairs(keys=FlowRenderer.requires | REFERENCE)
    rows = batch["driving_coefficients"]
    rest = images(method, with_entries(batch, driving_reference_coefficients=rows))
    absolute = cast(PairBatch, {key: value for key, value in batch.items() if key not in REFERENCE})
    own = images(method, with_entries(absolute, driving_coefficients=batch["source_coefficients"]))
    assert torch.allclose(rest, own, atol=1e-4)
    assert not torch.allclose(rest, images(method, absolute), atol=1e-3)
    lacking = cast(PairBatch, {k: v for k, v in batch.items() if k != "driving_reference_coefficients"})
    with pytest.raises(InputError, match="driving_reference_coefficients"):
        method.reenact(lacking)


@pytest.mark.parametrize(
    "key", ["source_coefficients", "driving_coefficients", "driving_reference_coefficients", "source_matte"]
)
def test_a_row_without_a_face_is_nan_alone(key: str) -> None:
    method, batch = build(), pairs(3, keys=FlowRenderer.requires | REFERENCE)
    whole = images(method, batch)
    spoilt = cast(Any, batch)[key].clone()
    spoilt[1].view(-1)[5] = torch.nan
    image = images(method, with_entries(batch, **{key: spoilt}))
    assert image[1].isnan().all()
    assert torch.allclose(image[::2], whole[::2], atol=1e-5)


def test_a_window_of_coefficients_is_read_and_its_gaps_are_filled() -> None:
    method, batch = build(**{"sizes.mapping.window": 7}), pairs()
    alone = images(method, batch)
    rows = batch["driving_coefficients"][:, None]
    assert torch.allclose(images(method, with_entries(batch, driving_coefficients_window=rows.repeat(1, 9, 1))), alone)
    moving = rows + 0.5 * torch.linspace(-1, 1, 9)[None, :, None].square()
    assert not torch.allclose(images(method, with_entries(batch, driving_coefficients_window=moving)), alone, atol=1e-4)
    gaps = rows.repeat(1, 9, 1)
    gaps[:, 2] = torch.nan
    assert torch.allclose(images(method, with_entries(batch, driving_coefficients_window=gaps)), alone)


def test_known_background_is_the_sources_bit_by_bit_and_the_rest_is_not() -> None:
    method, batch = drawing(build(), -6.0), pairs()
    output = method.reenact(batch)
    known = output.aux["known"].bool().expand_as(output.reenacted)
    assert 0.2 < float(known.float().mean()) < 0.9
    assert torch.equal(output.reenacted[known], batch["source"][known])
    assert torch.equal(output.reenacted[~known], output.aux["inpainted"][~known])
    covered = drawing(method, 6.0).reenact(batch)
    assert not covered.aux["known"].any()
    assert torch.allclose(covered.reenacted, covered.aux["foreground"], atol=1e-6)


def test_a_matte_of_all_and_of_nothing_is_no_accident() -> None:
    method, batch = drawing(build(), -6.0), pairs()
    every = method.reenact(with_entries(batch, source_matte=torch.ones_like(batch["source_matte"])))
    none = method.reenact(with_entries(batch, source_matte=torch.zeros_like(batch["source_matte"])))
    assert every.reenacted.isfinite().all()
    assert not every.aux["known"].any()
    assert torch.equal(none.reenacted, batch["source"])
    for output in (every, none):
        assert all(value.isfinite().all() for value in output.aux.values())
    method.train()
    for value in (0.0, 1.0):
        same = {f"{role}_matte": torch.full_like(batch["source_matte"], value) for role in ("source", "driving")}
        found = method._full_losses(with_entries(batch, **same), {})
        assert all(math.isfinite(float(value.detach())) for value in found.values())


def test_one_encoding_serves_every_frame_of_a_clip() -> None:
    method, batch, other = build(), pairs(1), pairs(1, seed=5)
    with torch.no_grad():
        state = method.eval().encode_source(batch)
        for frames in (batch, other, batch):
            driving = {key: value for key, value in frames.items() if key.startswith("driving")}
            whole = cast(PairBatch, {**batch, **driving})
            assert torch.equal(method.drive(state, cast(PairBatch, driving)).reenacted, images(method, whole))


def test_the_projected_flow_says_where_pixels_come_from() -> None:
    method, batch = drawing(build(), 6.0), pairs(1)
    rest = torch.zeros(1, FLAME.total)
    right = rest.clone()
    FLAME.split(right)["camera"][:, 1] = 0.25  # the head goes to the image's right
    moved = method.reenact(with_entries(batch, source_coefficients=rest, driving_coefficients=right)).aux
    grid = identity_grid(SIZE, SIZE)
    assert torch.allclose(moved["flow"] - grid, torch.tensor([-0.25, 0.0]).expand(1, SIZE, SIZE, 2), atol=1e-5)
    assert torch.equal(drawing(method, -6.0).reenact(batch).aux["flow"][0], grid)
    shapes = {key: tuple(value.shape[1:]) for key, value in moved.items()}
    picture, mask = (3, SIZE, SIZE), (1, SIZE, SIZE)
    assert shapes == {
        **dict.fromkeys(("warped", "foreground", "inpainted"), picture),
        **dict.fromkeys(("matte", "known"), mask),
        "flow": (SIZE, SIZE, 2),
        "occlusion": (1, 8, 8),
    }


def test_channels_last_changes_no_picture() -> None:
    method, batch = build(), pairs()
    before = images(method, batch)
    assert torch.allclose(images(method.use_channels_last(), batch), before, atol=1e-5)
    assert method.networks.refinement.to_pixels.weight.is_contiguous(memory_format=torch.channels_last)


# --- bad input ------------------------------------------------------------------------------------------------------


def test_rows_of_another_instrument_are_read_again_or_refused() -> None:
    method, batch = build(coefficients="ict_reduced"), pairs(1)
    with pytest.raises(InputError, match=r"236 numbers.*'ict_reduced' have 120"):
        method.rows.of(cast(PairBatch, {k: v for k, v in batch.items() if "landmarks" not in k}), "source")
    rows = method.rows.of(batch, "source")
    assert rows.shape == (1, LAYOUT.total)
    assert rows.isfinite().all()
    assert method.rows.of(with_entries(batch, source_coefficients=rows), "source") is rows
    with pytest.raises(InputError, match="'flame' have 236"):
        build().rows.of(with_entries(batch, source_coefficients=rows), "source")


def test_pictures_and_mattes_of_another_size_are_refused() -> None:
    method = build().eval()
    with pytest.raises(InputError, match=r"32x32.*64x64"):
        method.reenact(synthetic_batch(64, 1, FlowRenderer.requires))
    with pytest.raises(InputError, match=r"source_matte.*\(1, 1, 32, 32\)"):
        method.reenact(with_entries(pairs(1), source_matte=torch.zeros(1, 1, 16, 16)))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("coefficients", "flam", "did you mean 'flame'"),
        ("cross_share", 0.3, "satisfies the cycle"),
        ("warp_share", 1.0, "warp_share"),
        ("cycle_every", 0, "cycle_every"),
        ("decay_start", 1.5, "decay_start"),
        ("landmark_noise", -1.0, "landmark_noise"),
        ("training_annotations", "estimated", "training_annotations=given"),
        ("losses.coefficients", 0.1, "losses.coefficients=0"),
        ("losses.volume", -1.0, "losses.volume"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(field: str, value: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        build(**{field: value})


# --- ablations ------------------------------------------------------------------------------------------------------


ABLATIONS: list[dict[str, Any]] = [
    {"cyclic": False},
    {"rigid_prior": False},
    {"sizes.volume.depth": 1},
    {"sizes.refinement.transformer": False},
    {"inpainting": False},
]


@pytest.mark.parametrize("change", ABLATIONS, ids=lambda change: next(iter(change)))
def test_the_ablations_run_and_train(change: dict[str, Any]) -> None:
    method, batch = build(**change), pairs()
    method.configure_optimizers()
    parts = method._full_losses(batch, {})
    torch.stack(list(parts.values())).sum().backward()
    assert [name for name, p in method.named_parameters() if p.grad is None] == []
    assert ("cycled" in parts) == method.config.cyclic
    output = method.eval().reenact(batch)
    assert output.reenacted.isfinite().all()
    if not method.config.inpainting:
        assert not output.aux["known"].any()
        assert torch.equal(output.reenacted, output.aux["inpainted"])
    if not method.config.rigid_prior:  # a fresh flow, without the prior: nothing moves
        assert torch.allclose(drawing(method, 6.0).reenact(batch).aux["flow"][0], identity_grid(SIZE, SIZE), atol=1e-5)


# --- configurations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name in packaged_names() if name.startswith("flow_renderer")))
def test_every_configuration_is_read_and_takes_the_ablations(name: str) -> None:
    overrides = ["cyclic", "rigid_prior", "sizes.refinement.transformer", "inpainting"]
    config = load_train_config(name, [f"method.{o}=false" for o in overrides] + ["method.sizes.volume.depth=1"])
    assert config.method == "flow_renderer"
    found = config.method_config
    assert (found.cyclic, found.rigid_prior, found.inpainting, found.sizes.refinement.transformer) == (False,) * 4
    assert found.sizes.volume.depth == 1


def test_the_configurations_are_the_presets() -> None:
    assert load_train_config("flow_renderer_voxceleb").method_config == Config.paper()
    small = load_train_config("flow_renderer_synthetic").method_config
    assert small == Config(losses=LossWeights(identity=0.5))
    parameters = sum(p.numel() for p in FlowRenderer(small).networks.parameters())
    assert 2 * parameters < 6e6  # bytes in float16: what may ship
