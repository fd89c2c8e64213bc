"""FLAME's proxies of dcg_gan against DECA: its shading, and where its camera puts a point of the crop in the frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from test_flame import embedding, synthetic
from torch import Tensor

from reenact_zoo.faces.deca import DecaCoefficients
from reenact_zoo.faces.morphable._flame_files import FlameArrays, LandmarkEmbedding
from reenact_zoo.faces.morphable.flame import FlameHead
from reenact_zoo.methods.dcg_gan.flame_proxies import DECA_LAYOUT, FlameDrawer, FlameFiles, deca_shading
from reenact_zoo.methods.dcg_gan.proxies import ProxyEditor
from reenact_zoo.ops.coordinates import pixel_to_normalised

SIZE = 64
DRAWN = {"shape": 0.1, "texture": 0.1, "expression": 0.1, "pose": 0.1, "camera": 0.02, "light": 0.0}


def head() -> FlameHead:
    """FLAME's format with random vertices, turned so that the brows lie above the chin."""
    a, e = synthetic(), embedding()
    names = ("static_lmk_faces_idx", "static_lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
    for sign in (1, -1):
        template = a["v_template"] * (1, sign, 1)
        arrays = FlameArrays(
            template, a["f"], a["shapedirs"], a["posedirs"], a["J_regressor"], a["weights"], np.array([-1, 0, 1, 1, 1])
        )
        made = FlameHead(arrays, LandmarkEmbedding(*(e[name] for name in names)))
        points = made.landmarks(made.template[None], torch.zeros(1, 6))[0]
        if points[17:27, 1].mean() > points[8, 1]:
            return made
    raise AssertionError("one of both signs has the brows above the chin")


@pytest.fixture(scope="module")
def drawer() -> FlameDrawer:
    model = head()
    model.albedo = lambda texture, size=256: torch.full((len(texture), 3, size, size), 0.5)  # type: ignore[method-assign]
    return FlameDrawer(FlameFiles(), SIZE, None, torch.device("cpu"), head=model, encoder=cast(Any, object()))


def deca_coefficients() -> Tensor:
    """(2, 236) with the camera's scale about 5 and a light from everywhere that leaves the albedo as it is."""
    random = torch.Generator().manual_seed(0)
    parts = {k: DRAWN[k] * torch.randn(2, getattr(DECA_LAYOUT, k), generator=random) for k in DRAWN}
    parts["camera"][:, 0] += 5.0
    parts["light"][:, :3] = (4 * torch.pi) ** 0.5  # the first harmonic is 1 / sqrt(4 pi)
    return DECA_LAYOUT.join(**parts)


def face_px() -> Tensor:
    """(2, 68, 2) landmarks that say where DECA's crop lies."""
    return torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(1)) * 30 + torch.tensor([20.0, 14.0])


def test_shading_is_decas(golden: Path) -> None:
    with np.load(golden / "flame_deca_geometry.npz", allow_pickle=False) as data:
        normals, light, expected = (torch.from_numpy(data[name]) for name in ("in_normals", "in_sh", "sh_shading"))
    assert torch.allclose(deca_shading(normals, light), expected, atol=1e-5)  # float32 sums of nine products


def test_points_come_to_lie_where_decas_camera_sees_them(drawer: FlameDrawer) -> None:
    deca, landmarks_px = deca_coefficients(), face_px()
    coefficients = drawer.accept(deca, landmarks_px, SIZE)
    assert coefficients is not None
    found = drawer.draw(coefficients).landmarks
    model, parts = drawer._head, DECA_LAYOUT.split(deca)
    points_m = model.landmarks(model.vertices(parts["shape"], parts["expression"], parts["pose"]), parts["pose"]) / 100
    scale, shift = parts["camera"][:, None, :1], parts["camera"][:, None, 1:]
    in_crop = scale * (points_m[..., :2] + shift) * torch.tensor([1.0, -1.0])  # DECA's projection, then y down
    matrices = DecaCoefficients.face.matrices(landmarks_px).float()
    crop_px = ((in_crop + 1) * 224 - 1) / 2
    image_px = (crop_px - matrices[:, None, :, 2]) @ torch.linalg.inv(matrices[:, :, :2]).mT
    assert torch.allclose(found, pixel_to_normalised(image_px, SIZE, SIZE), atol=1e-3)


def test_an_even_light_shows_the_albedo_and_twice_the_light_is_twice_as_bright(drawer: FlameDrawer) -> None:
    deca, landmarks_px = deca_coefficients(), face_px()
    coefficients = drawer.accept(deca, landmarks_px, SIZE)
    assert coefficients is not None
    even = drawer.draw(coefficients).image
    assert even.max() == pytest.approx(0.5, abs=1e-4)
    darker = coefficients.clone()
    drawer.layout.split(darker)["light"].mul_(0.5)
    assert torch.allclose(drawer.draw(darker).image, even / 2, atol=1e-5)


def test_decas_coefficients_are_taken_as_they_come_and_others_are_not(drawer: FlameDrawer) -> None:
    assert drawer.accept(torch.zeros(2, 120), face_px(), SIZE) is None
    editor = ProxyEditor(drawer, SIZE)
    source, driving = deca_coefficients(), deca_coefficients().flip(0)
    landmarks = pixel_to_normalised(face_px(), SIZE, SIZE)
    s, d = (editor.coefficients(c, torch.zeros(2, 3, SIZE, SIZE), landmarks) for c in (source, driving))
    parts = editor.layout.split(editor.mixed(s, d))
    assert torch.equal(parts["shape"], DECA_LAYOUT.split(source)["shape"])
    assert torch.equal(parts["expression"], DECA_LAYOUT.split(driving)["expression"])
    assert torch.equal(parts["pose"], DECA_LAYOUT.split(driving)["pose"])
