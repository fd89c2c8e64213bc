from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform, estimate_transform

from reenact_zoo.faces.align import (
    ARCFACE_TEMPLATE,
    CropPolicy,
    SquareBox,
    arcface_matrix,
    crop,
    five_points,
    from_crop,
    from_normalised,
    paste_back,
    similarity,
    to_crop,
    to_normalised,
    warp_crop,
)

POSITIONS = st.floats(-50, 300)


def test_the_square_of_the_whole_image_is_the_image(astronaut: NDArray[np.uint8]) -> None:
    box = SquareBox.of_image(512, 512)
    np.testing.assert_array_equal(crop(astronaut, box, 512), astronaut)
    points = np.array([[0, 0], [511, 300]], np.float32)
    np.testing.assert_allclose(to_crop(points, box, 512), points)


def test_an_integer_crop_is_a_slice(astronaut: NDArray[np.uint8]) -> None:
    box = SquareBox(100 + 63.5, 40 + 63.5, 128)
    np.testing.assert_array_equal(crop(astronaut, box, 128), astronaut[40:168, 100:228])


def test_halving_averages_blocks_of_four_pixels(astronaut: NDArray[np.uint8]) -> None:
    expected = astronaut.astype(float).reshape(256, 2, 256, 2, 3).mean((1, 3))
    result = crop(astronaut, SquareBox.of_image(512, 512), 256)
    assert np.abs(result - expected).max() <= 1  # rounding to uint8


@settings(max_examples=50, deadline=None)
@given(x=POSITIONS, y=POSITIONS, side=st.floats(4, 900), px=POSITIONS, py=POSITIONS, size=st.integers(8, 512))
def test_points_survive_the_way_into_the_crop_and_back(
    x: float, y: float, side: float, px: float, py: float, size: int
) -> None:
    box, points = SquareBox(x, y, side), np.array([[px, py]], np.float32)
    back = from_crop(to_crop(points, box, size), box, size)
    np.testing.assert_allclose(back, points, atol=1e-2 * max(1, side / 100))


def test_a_marked_pixel_is_where_to_crop_says(astronaut: NDArray[np.uint8]) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[70:73, 120:123] = 255
    box = SquareBox(130.3, 66.1, 91.7)
    result = crop(image, box, 256)[..., 0].astype(float)
    rows, columns = np.mgrid[:256, :256]
    centre = np.array([(result * columns).sum(), (result * rows).sum()]) / result.sum()
    np.testing.assert_allclose(to_crop(np.array([[121, 71]], np.float32), box, 256)[0], centre, atol=0.05)


def test_paste_back_undoes_the_crop_and_leaves_the_rest(astronaut: NDArray[np.uint8]) -> None:
    box = SquareBox(230.5, 150.5, 256)
    patch = crop(astronaut, box, 256)
    np.testing.assert_array_equal(paste_back(astronaut, patch, box), astronaut)
    result = paste_back(np.zeros_like(astronaut), np.full_like(patch, 200), box, feather=0.1)
    assert (result[150, 230] == 200).all()
    outside = np.ones((512, 512), bool)
    outside[23:279, 103:359] = False
    assert (result[outside] == 0).all()
    assert 0 < result[150, 106, 0] < 200, "the rim fades"


def test_paste_back_of_a_square_that_leaves_the_frame(astronaut: NDArray[np.uint8]) -> None:
    box = SquareBox(20.0, 500.0, 180.0)
    patch = crop(astronaut, box, 256)
    result = paste_back(astronaut, patch, box)
    assert result.shape == astronaut.shape
    assert np.abs(result.astype(int) - astronaut).mean() < 0.5  # enlarged and shrunk once
    nowhere = SquareBox(-500.0, 0.0, 50.0)
    np.testing.assert_array_equal(paste_back(astronaut, patch, nowhere), astronaut)


def test_the_policy_places_the_square_by_the_longer_side() -> None:
    square = CropPolicy(scale=2, shift_y=-0.1).square((10, 20, 50, 100))
    assert (square.x, square.y, square.side) == (30, 52, 160)
    points = np.array([[10, 20], [50, 100], [30, 60]], np.float32)
    assert CropPolicy(scale=2, shift_y=-0.1).square(points) == square


def test_smoothing_keeps_its_share_of_the_previous_square() -> None:
    policy = CropPolicy(scale=1, shift_y=0, smoothing=0.75)
    square = policy.square((0, 0, 10, 10), previous=SquareBox(9, 5, 50))
    assert (square.x, square.y, square.side) == (8, 5, 40)
    assert CropPolicy(scale=1, shift_y=0).square((0, 0, 10, 10), SquareBox(9, 5, 50)) == SquareBox(5, 5, 10)


def test_normalised_coordinates_put_the_edges_at_one() -> None:
    points = np.array([[-0.5, -0.5], [99.5, 49.5], [49.5, 24.5]], np.float32)
    expected = [[-1, -1], [1, 1], [0, 0]]
    np.testing.assert_allclose(to_normalised(points, 50, 100), expected, atol=1e-6)
    np.testing.assert_allclose(from_normalised(np.array(expected, np.float32), 50, 100), points, atol=1e-4)


def test_the_similarity_is_scikit_images() -> None:
    rng = np.random.default_rng(0)
    for turn in (-2.5, -0.3, 0.0, 1.0, 3.0):
        source = rng.normal(size=(5, 2))
        target = (
            SimilarityTransform(scale=1.7, rotation=turn, translation=(3, -2))(source) + rng.normal(size=(5, 2)) / 5
        )
        expected = estimate_transform("similarity", source, target)
        np.testing.assert_allclose(similarity(source, target), expected.params[:2], atol=1e-9)


def test_a_face_that_lies_on_the_template_is_not_moved() -> None:
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[36:42], landmarks[42:48] = ARCFACE_TEMPLATE[0], ARCFACE_TEMPLATE[1]
    landmarks[30], landmarks[48], landmarks[54] = ARCFACE_TEMPLATE[2:]
    np.testing.assert_allclose(five_points(landmarks), ARCFACE_TEMPLATE, atol=1e-4)
    np.testing.assert_allclose(arcface_matrix(landmarks), [[1, 0, 0], [0, 1, 0]], atol=1e-4)


def test_warp_crop_agrees_with_opencv(astronaut: NDArray[np.uint8]) -> None:
    import cv2

    angle = np.deg2rad(12)
    matrix = np.array([[np.cos(angle), -np.sin(angle), 9.3], [np.sin(angle), np.cos(angle), -71.2]]) * 1.1
    images = torch.from_numpy(astronaut).permute(2, 0, 1)[None].double() / 255
    result = warp_crop(images, torch.from_numpy(matrix)[None], 200)[0].permute(1, 2, 0).numpy()
    expected = cv2.warpAffine(astronaut / 255, matrix, (200, 200), borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(result - expected).mean() < 1e-3
    assert np.abs(result - expected).max() < 0.05  # OpenCV interpolates at 1/32 of a pixel


def test_warp_crop_averages_when_it_shrinks_and_ignores_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 64, 64, generator=generator)
    quarter = torch.tensor([[[0.25, 0, -0.375], [0, 0.25, -0.375]]])  # crop centre i lies at 4 i + 1.5
    whole = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    both = warp_crop(images, torch.cat([quarter, whole]), 16)
    torch.testing.assert_close(both[:1], torch.nn.functional.avg_pool2d(images[:1], 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(both[1], images[1, :, :16, :16], atol=1e-5, rtol=0)


def test_warp_crop_passes_gradients_to_the_image() -> None:
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    matrix = torch.tensor([[[0.9, 0.1, 0.3], [-0.1, 0.9, 0.2]]])
    assert torch.autograd.gradcheck(lambda x: warp_crop(x, matrix, 5), image)


@pytest.mark.parametrize("size", [16, 33])
def test_crops_of_tiny_images_work(size: int) -> None:
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    assert crop(image, SquareBox(8, 8, 40), size).shape == (size, size, 3)
