from __future__ import annotations

import numpy as np
import pytest
import torch
from network_stand_ins import box_points, face_points, template_points
from numpy.typing import NDArray

from reenact_zoo.faces.face_input import (
    ARCFACE_FACE,
    BISENET_FACE,
    COSFACE_FACE,
    DECA_FACE,
    DEEP3D_FACE,
    DEEP3D_FACE_INPUT,
    HOPENET_FACE,
    FaceInput,
    upright_square,
)

ALL = {
    "arcface": ARCFACE_FACE,
    "cosface": COSFACE_FACE,
    "hopenet": HOPENET_FACE,
    "deca": DECA_FACE,
    "deep3d": DEEP3D_FACE_INPUT,
    "bisenet": BISENET_FACE,
}


def mapped(face: FaceInput, landmarks: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float64]:
    matrix = face.matrices(torch.from_numpy(landmarks)[None])[0].numpy()
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_the_square_of_a_whole_image_is_the_image() -> None:
    assert np.allclose(upright_square(63.5, 63.5, 128, 128), [[1, 0, 0], [0, 1, 0]])
    enlarged = upright_square(63.5, 63.5, 128, 256)
    assert np.allclose(enlarged @ [0, 0, 1], [0.5, 0.5])  # centre of pixel 0 lies between fine pixels 0 and 1


@pytest.mark.parametrize("name", ALL)
def test_the_crop_follows_a_face_that_moves_and_grows(name: str) -> None:
    face, points = ALL[name], face_points()
    first = mapped(face, points, points)
    other = points * 1.7 + np.float32([31, -12])
    assert np.allclose(mapped(face, other, other), first, atol=1e-3)
    assert first.min() > 0, "brows inside"
    assert first.max() < face.size


@pytest.mark.parametrize("name", ["arcface", "cosface", "bisenet"])
def test_aligned_crops_turn_with_the_face(name: str) -> None:
    face, points = ALL[name], face_points()
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    turned = (points @ turn.T).astype(np.float32)
    assert np.allclose(mapped(face, turned, turned), mapped(face, points, points), atol=1e-2)


def test_arcface_brings_the_five_points_to_the_template_and_cosface_to_eight_columns_less() -> None:
    image = torch.arange(112.0).expand(1, 3, 112, 112) / 112  # every column has its number
    points = torch.from_numpy(template_points())[None]
    whole, narrow = ARCFACE_FACE(image, points), COSFACE_FACE(image, points)
    assert torch.allclose(whole, 2 * image - 1, atol=1e-4)
    assert narrow.shape == (1, 3, 112, 96)
    assert torch.allclose(narrow, whole[..., 8:104])


def test_deca_maps_the_corners_of_its_square_to_the_corner_pixels_centres() -> None:
    points = box_points(100, 100, 180, 200)  # mean side 90
    side = 1.1 * 1.25 * 90
    corners = np.float32([[140 - side / 2, 150 - side / 2], [140 + side / 2, 150 + side / 2]])
    assert np.allclose(mapped(DECA_FACE, points, corners), [[0, 0], [223, 223]], atol=1e-3)


def test_hopenet_sees_twice_dlibs_box_with_more_above_than_below() -> None:
    points = box_points(100, 100, 180, 200)  # dlib's box: side 100, centre (140, 138)
    corners = np.float32([[140 - 50 - 50, 138 - 50 - 75], [140 + 50 + 50, 138 + 50 + 25]])
    assert np.allclose(mapped(HOPENET_FACE, points, corners), [[-0.5, -0.5], [223.5, 223.5]], atol=1e-3)


def test_deep3d_puts_102_px_to_a_unit_of_the_mean_face() -> None:
    five = (DEEP3D_FACE[:, :2] * [1, -1] * 40 + [70, 90]).astype(np.float32)  # 40 px per unit, origin at (70, 90)
    points = np.tile(five.mean(0), (68, 1)).astype(np.float32)
    points[36:42], points[42:48] = five[0], five[1]
    points[[30, 48, 54]] = five[2:]
    seen = mapped(DEEP3D_FACE_INPUT, points, five)
    assert np.allclose(seen, DEEP3D_FACE[:, :2] * [1, -1] * 102 + 112, atol=0.05)


def test_bisenets_square_is_celeba_hqs() -> None:
    points = face_points()
    eyes = np.stack([points[36:42].mean(0), points[42:48].mean(0)])
    seen = mapped(BISENET_FACE, points, eyes)
    middle = mapped(BISENET_FACE, points, points[[48, 54]]).mean(0)
    # here 3.6 eye-to-mouth distances are more than 4 eye distances; the centre is a tenth of them below the eyes
    down = 512 / 3.6
    assert np.allclose(seen.mean(0), [255.5, 255.5 - 0.1 * down], atol=0.05)
    assert np.allclose(middle, [255.5, 255.5 + 0.9 * down], atol=0.05)


def test_a_crop_does_not_depend_on_its_neighbours_and_gradient_stays_inside() -> None:
    points = torch.from_numpy(np.stack([face_points(60, 64, 50), face_points(90, 40, 24)]))
    images = torch.rand(2, 3, 128, 160, requires_grad=True)
    both = DECA_FACE(images, points)
    alone = DECA_FACE(images[1:], points[1:])
    assert torch.equal(both[1:], alone)
    both[1].sum().backward()
    assert images.grad is not None
    assert float(images.grad[0].abs().sum()) == 0
    assert float(images.grad[1, :, :, :50].abs().sum()) == 0
    assert float(images.grad[1, :, 30:50, 80:100].abs().sum()) > 0
