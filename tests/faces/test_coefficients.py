"""E_3D's camera, converted from the crop to the whole picture, against the renderer's definition."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from stand_ins import untrained_weights
from torch import Tensor

from reenact_zoo.faces.coefficients import LAYOUT, SyntheticCoefficients
from reenact_zoo.faces.morphable.procedural import ProceduralHead
from reenact_zoo.faces.morphable.reduced import EXPRESSIONS, SHAPE, TEXTURE
from reenact_zoo.faces.synthetic_crop import face_crop, points_to_image
from reenact_zoo.weights.store import WeightStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightStore:
    return untrained_weights(tmp_path_factory.mktemp("weights") / "w")


def scene(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, height, width, generator=generator)
    points = 40 + 50 * torch.rand(2, 68, 2, generator=generator) * torch.tensor([[[1.0, 1.2]], [[0.7, 0.9]]])
    return image, points


def shown_at(camera: Tensor, model: Tensor) -> Tensor:
    """Orthographic camera (B, 3) of a frame, points (B, N, 2) y up → half frames, x right, y up (renderer.py)."""
    return camera[:, None, :1].exp() * model + camera[:, None, 1:]


@pytest.mark.parametrize(("height", "width"), [(160, 160), (160, 220), (200, 150)])
def test_the_frames_camera_shows_every_point_where_the_crops_camera_does(
    store: WeightStore, height: int, width: int
) -> None:
    images, points = scene(height, width)
    tool = SyntheticCoefficients(store)
    in_frame = LAYOUT.split(tool(images, points))
    crops, matrices = face_crop(images, points)
    in_crop = LAYOUT.split(tool._network(crops))
    model = torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(2))
    half_crops = shown_at(in_crop["camera"], model) * torch.tensor([1.0, -1.0])  # y down, [-1, 1] of the crop
    expected_px = points_to_image(half_crops, matrices)
    half_frames = shown_at(in_frame["camera"], model) * torch.tensor([1.0, -1.0])
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    torch.testing.assert_close(half_frames * width / 2 + centre, expected_px, atol=1e-2, rtol=1e-4)
    for name in ("shape", "texture", "expression", "pose", "light"):
        assert torch.equal(in_frame[name], in_crop[name])


def test_the_camera_follows_the_face_through_the_picture(store: WeightStore) -> None:
    images, points = scene(160, 160)
    tool = SyntheticCoefficients(store)
    camera = LAYOUT.split(tool(images, points))["camera"]
    shifted = LAYOUT.split(tool(images.roll((24, 16), (2, 3)), points + torch.tensor([16.0, 24.0])))["camera"]
    expected = camera + torch.tensor([0.0, 2 * 16 / 160, -2 * 24 / 160])  # y up
    torch.testing.assert_close(shifted, expected, atol=2e-3, rtol=1e-3)


def test_gradients_reach_the_picture(store: WeightStore) -> None:
    images, points = scene(120, 120)
    SyntheticCoefficients(store)(images.requires_grad_(), points)[:, 3].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_the_layout_is_that_of_the_reduced_head() -> None:
    full = ProceduralHead().layout  # pose, camera and light are the same for all dense heads
    assert dataclasses.replace(full, shape=SHAPE, texture=TEXTURE, expression=len(EXPRESSIONS)) == LAYOUT
