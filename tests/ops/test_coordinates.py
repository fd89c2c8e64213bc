from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reenact_zoo.ops.coordinates import identity_grid, normalised_to_pixel, pixel_to_normalised


def test_outer_edges_of_the_image_are_minus_one_and_one() -> None:
    edges = np.array([[-0.5, -0.5], [19.5, 9.5]])
    np.testing.assert_allclose(pixel_to_normalised(edges, 10, 20), [[-1, -1], [1, 1]])


def test_pixel_and_normalised_are_inverse_for_tensors_and_arrays() -> None:
    points = torch.rand(3, 5, 2, dtype=torch.float64) * 40 - 3
    there = pixel_to_normalised(points, 33, 17)
    torch.testing.assert_close(normalised_to_pixel(there, 33, 17), points)
    np.testing.assert_allclose(pixel_to_normalised(points.numpy(), 33, 17), there.numpy())


def test_dtype_of_floating_points_is_kept_and_integer_pixels_become_floating() -> None:
    assert pixel_to_normalised(np.zeros((2, 2), np.float32), 4, 4).dtype == np.float32
    assert pixel_to_normalised(np.zeros((2, 2), np.int64), 4, 4).dtype == np.float64
    assert normalised_to_pixel(torch.zeros(2, 2, dtype=torch.float16), 4, 4).dtype == torch.float16


def test_identity_grid_is_what_torch_calls_identity_without_aligned_corners() -> None:
    expected = F.affine_grid(torch.eye(2, 3)[None], [1, 1, 5, 8], align_corners=False)[0]
    torch.testing.assert_close(identity_grid(5, 8), expected)


def test_identity_grid_holds_the_pixel_centres() -> None:
    grid_px = normalised_to_pixel(identity_grid(4, 6, dtype=torch.float64), 4, 6)
    assert grid_px[2, 5].tolist() == pytest.approx([5, 2])


def test_points_of_a_wrong_shape_or_type_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        pixel_to_normalised(np.zeros((2, 3)), 4, 4)
    with pytest.raises(ValueError, match="floating"):
        normalised_to_pixel(torch.zeros(2, 2, dtype=torch.int64), 4, 4)
