"""Hair, beards, glasses and clothes: one topology, many styles, the face free, both drawing paths the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable._atlas import rasterise_uv
from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.morphable._hair_styles import LONG, STYLES
from reenact_zoo.faces.morphable._outfit import CELLS
from reenact_zoo.faces.morphable._wardrobe import STYLE_NAMES
from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.faces.renderer import Renderer

NAMES = [style.name for style in STYLES]


def quantile_of(head: DenseHead, part: str, style: int) -> float:
    """Style coefficient in the middle of the range that chooses ``style``."""
    assert head._wardrobe is not None
    (found,) = (p for p in head._wardrobe.parts if p.name == part)
    shares = torch.tensor(list(found.shares)) / sum(found.shares)
    return float(torch.special.ndtri(shares[:style].sum() + shares[style] / 2))


def wearing(head: DenseHead, size: float = 0.0, **styles: int) -> Tensor:
    """Shape coefficients (1, S) of the mean person with the given styles; hair, beard and glasses off by default."""
    shape = torch.zeros(1, head.layout.shape)
    first = head.layout.shape - len(STYLE_NAMES)
    chosen = {"hair": NAMES.index("shaven"), "beard": 0, "glasses": 0, "clothes": 0} | styles
    for part, style in chosen.items():
        shape[0, first + STYLE_NAMES.index(f"{part}_style")] = quantile_of(head, part, style)
        if f"{part}_size" in STYLE_NAMES:
            shape[0, first + STYLE_NAMES.index(f"{part}_size")] = size
    return shape


def placed(head: DenseHead, shape: Tensor) -> dict[str, Tensor]:
    """Vertices (N, 3) of every part, and of the body, at rest."""
    vertices = head.vertices(shape, torch.zeros(1, head.layout.expression), torch.zeros(1, 9))[0]
    assert head._wardrobe is not None
    sizes = [len(head.arrays.template), *(p.low.shape[1] for p in head._wardrobe.parts)]
    assert sum(sizes) == len(vertices) == int(head.triangles.max()) + 1
    names = ["body", *(p.name for p in head._wardrobe.parts)]
    return dict(zip(names, vertices.split(sizes)))


def test_what_is_not_worn_is_one_point_inside_the_skull(head: DenseHead) -> None:
    parts = placed(head, wearing(head))
    for name in ("hair", "beard", "glasses"):
        assert float((parts[name] - parts[name][0]).abs().max()) < 1e-5
        low, high = parts["body"].amin(0), parts["body"].amax(0)
        assert ((parts[name][0] > low + 3) & (parts[name][0] < high - 3)).all()
    assert float(parts["clothes"][:, 0].max()) > 15  # shoulders reach beyond the frame of a portrait


def test_styles_differ_and_leave_the_body_alone(head: DenseHead) -> None:
    bare = placed(head, wearing(head))["body"]
    lowest = {}
    for number, name in enumerate(NAMES[:-1]):
        parts = placed(head, wearing(head, hair=number))
        assert torch.equal(parts["body"], bare)
        lowest[name] = float(parts["hair"][:, 1].min())
        small, large = (placed(head, wearing(head, size, hair=number))["hair"] for size in (-2.0, 2.0))
        assert float((small - large).norm(dim=1).max()) > 0.3, name
    chin = float(bare[head._landmarks[8], 1])
    assert lowest["long_middle"] < chin - 4
    assert lowest["afro"] > chin


def test_no_hair_hangs_in_front_of_eyes_nose_and_mouth(head: DenseHead) -> None:
    for number, name in enumerate(NAMES[:-1]):
        for size in (-2.0, 2.0):
            parts = placed(head, wearing(head, size, hair=number))
            points = parts["body"][head._landmarks]
            low, high = points[17:68].amin(0), points[17:68].amax(0)
            inner = parts["hair"][:, 0].abs() < 0.82 * float(high[0])
            below_brows = parts["hair"][:, 1] < float(points[17:27, 1].mean()) - 0.3
            in_front = parts["hair"][:, 2] > float(points[[36, 45], 2].mean()) - 3
            above_mouth = parts["hair"][:, 1] > float(low[1]) - 1
            assert not (inner & below_brows & in_front & above_mouth).any(), (name, size)


def test_a_beard_moves_with_the_jaw_and_leaves_the_lips_free(head: DenseHead) -> None:
    shape = wearing(head, beard=1)
    closed, opened = torch.zeros(2, 1, head.layout.expression)
    opened[0, head.expression_names.index("jawOpen")] = 1
    first = len(head.arrays.template) + head._wardrobe.parts[0].low.shape[1]  # type: ignore[union-attr]
    count = head._wardrobe.parts[1].low.shape[1]  # type: ignore[union-attr]
    rest, moved = (head.vertices(shape, e, torch.zeros(1, 9))[0] for e in (closed, opened))
    beard, after = rest[first : first + count], moved[first : first + count]
    chin = int((beard - rest[head._landmarks[8]]).norm(dim=1).argmin())
    assert float(after[chin, 1]) < float(beard[chin, 1]) - 1
    inner = rest[head._landmarks[60:68]]
    over = torch.cdist(inner[:, :2], beard[:, :2]) < 0.2
    assert not (over & (beard[None, :, 2] > inner[:, None, 2] + 0.1)).any()


def test_landmarks_do_not_depend_on_what_is_worn(head: DenseHead) -> None:
    pose = torch.zeros(1, 9)
    pose[0, 0] = 40
    still = torch.zeros(1, head.layout.expression)
    shapes = [wearing(head), wearing(head, hair=0, beard=1, glasses=2, clothes=3)]
    bare, dressed = (head.landmarks(head.vertices(shape, still, pose), pose) for shape in shapes)
    assert torch.equal(bare, dressed)


def test_people_wear_various_things_and_the_same_ones_again(head: DenseHead) -> None:
    people, again = (head.sample(torch.Generator().manual_seed(9), 400) for _ in range(2))
    assert torch.equal(people, again)
    assert head._wardrobe is not None
    chosen = head._wardrobe.choice(people[:, head.layout.shape - len(STYLE_NAMES) : head.layout.shape])
    assert len(chosen["hair"].unique()) == len(STYLES)
    assert 0.13 < float((chosen["glasses"] > 0).float().mean()) < 0.27
    long = torch.isin(chosen["hair"], torch.tensor(LONG))
    bearded = chosen["beard"] > 0
    assert 0.10 < float(bearded.float().mean()) < 0.25
    assert float(bearded[long].float().mean()) < 0.25 * float(bearded[~long].float().mean())


@pytest.mark.parametrize("name", ["procedural", "ict"])
def test_no_chart_of_the_body_uses_the_cells_of_the_wardrobe(name: str, request: pytest.FixtureRequest) -> None:
    head = request.getfixturevalue("ict") if name == "ict" else load_head("procedural")
    assert isinstance(head, DenseHead)
    face, _ = rasterise_uv(head.arrays.uv, head.arrays.uv_triangles, 256)
    for left, top, width, height in CELLS[name].values():
        rows = slice(round(256 * top), round(256 * (top + height)))
        columns = slice(round(256 * left), round(256 * (left + width)))
        assert (face[rows, columns] < 0).all()


def _zeros(head: DenseHead) -> dict[str, Tensor]:
    return {name: part * 0 for name, part in head.layout.split(torch.zeros(1, head.layout.total)).items()}


def test_both_drawing_paths_agree_on_a_dressed_person_and_parsing_knows_the_parts() -> None:
    head = load_head("procedural")
    assert isinstance(head, DenseHead)
    renderer = Renderer(head, 64)
    shape = wearing(head, hair=1, glasses=3)
    coefficients = head.layout.join(**_zeros(head) | {"shape": shape})
    compiled = renderer.render(coefficients)
    plain = renderer.render(coefficients.clone().requires_grad_())
    assert float((compiled.image - plain.image.detach()).abs().max()) < 2e-3
    assert torch.equal(compiled.alpha, plain.alpha.detach())
    area = compiled.parsing[0].sum(dim=(1, 2))
    assert area[CLASSES.index("hair")] > 200
    assert area[CLASSES.index("glasses")] > 8
    assert area[CLASSES.index("clothes")] > 200
