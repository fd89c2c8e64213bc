from __future__ import annotations

import numpy as np
import pytest
import skimage.transform
import torch
from numpy.typing import NDArray

from reenact_zoo.ops.coordinates import identity_grid, pixel_to_normalised
from reenact_zoo.ops.warp import (
    delaunay,
    piecewise_affine_grid,
    similarity,
    thin_plate_spline_grid,
    transform_points,
    warp,
    warp_3d,
)

CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)


def points(batch: int, count: int, seed: int = 0, spread: float = 0.8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, count, 2, generator=generator, dtype=torch.float64) * 2 - 1) * spread


def test_identity_flow_returns_the_image() -> None:
    image = torch.rand(2, 3, 9, 12)
    flow = identity_grid(9, 12).expand(2, -1, -1, -1)
    torch.testing.assert_close(warp(image, flow), image)
    torch.testing.assert_close(warp(image, flow, "border", "bicubic"), image)


def test_a_flow_shifted_by_a_pixel_reads_the_neighbour_and_zero_outside() -> None:
    image = torch.rand(1, 1, 4, 6)
    flow = identity_grid(4, 6)[None] + torch.tensor([2 / 6, 0.0])
    shifted = warp(image, flow)
    torch.testing.assert_close(shifted[..., :5], image[..., 1:])
    assert (shifted[..., 5] < 1e-6).all()
    torch.testing.assert_close(warp(image, flow, "border")[..., 5], image[..., 5])


def test_warp_3d_reads_x_before_y_before_z() -> None:
    volume = torch.rand(1, 2, 3, 4, 5)
    plane = identity_grid(4, 5).expand(3, -1, -1, -1)
    z = ((2 * torch.arange(3) + 1) / 3 - 1).view(3, 1, 1, 1).expand(-1, 4, 5, 1)
    flow = torch.cat((plane, z), dim=-1)[None]
    torch.testing.assert_close(warp_3d(volume, flow), volume)
    deeper = warp_3d(volume, flow + torch.tensor([0, 0, 2 / 3]))
    torch.testing.assert_close(deeper[:, :, :2], volume[:, :, 1:])


def test_similarity_agrees_with_scikit_image() -> None:
    start, end = points(4, 7, 1), points(4, 7, 2)
    matrix = similarity(start, end)
    for i in range(4):
        reference = skimage.transform.estimate_transform("similarity", start[i].numpy(), end[i].numpy())
        np.testing.assert_allclose(matrix[i].numpy(), reference.params[:2], atol=1e-9)


def test_similarity_recovers_a_known_motion_and_ignores_points_of_weight_zero() -> None:
    start = points(1, 6, 3)
    c, s = 1.3 * np.cos(0.4), 1.3 * np.sin(0.4)
    known = torch.tensor([[[c, -s, 0.2], [s, c, -0.1]]], dtype=torch.float64)
    end = transform_points(known, start)
    end[0, 5] += 7
    weights = torch.tensor([1.0, 2, 1, 1, 3, 0], dtype=torch.float64)
    torch.testing.assert_close(similarity(start, end, weights), known)


@pytest.mark.parametrize("make", [piecewise_affine_grid, thin_plate_spline_grid])
def test_equal_control_points_give_the_identity(make) -> None:  # type: ignore[no-untyped-def]
    control = torch.cat((CORNERS.expand(2, -1, -1), points(2, 9)), dim=1)
    flow = make(control, control, (16, 24))
    torch.testing.assert_close(
        flow, identity_grid(16, 24, dtype=torch.float64).expand(2, -1, -1, -1), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("make", [piecewise_affine_grid, thin_plate_spline_grid])
def test_an_affine_motion_of_the_points_is_the_same_motion_of_all_pixels(make) -> None:  # type: ignore[no-untyped-def]
    matrix = torch.tensor([[[0.9, 0.2, 0.1], [-0.1, 1.1, -0.2]]], dtype=torch.float64)
    end = torch.cat((CORNERS[None], points(1, 6)), dim=1)
    flow = make(transform_points(matrix, end), end, (10, 14))
    grid = identity_grid(10, 14, dtype=torch.float64).reshape(1, -1, 2)
    expected = transform_points(matrix, grid).reshape(1, 10, 14, 2)
    torch.testing.assert_close(flow, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [piecewise_affine_grid, thin_plate_spline_grid])
def test_flow_at_a_control_point_is_where_it_came_from(make) -> None:  # type: ignore[no-untyped-def]
    pixels = torch.tensor([[[3.0, 4.0], [20.0, 7.0], [12.0, 25.0], [16.0, 15.0], [8.0, 17.0]]], dtype=torch.float64)
    end = pixel_to_normalised(pixels, 32, 32)
    start = end + points(1, 5, spread=0.1)
    flow = make(start, end, (32, 32))
    for k, (x, y) in enumerate(pixels[0].long().tolist()):
        torch.testing.assert_close(flow[0, y, x], start[0, k], atol=1e-6, rtol=0)


def test_thin_plate_spline_bends_less_with_smoothing_and_passes_gradients() -> None:
    start, end = points(1, 8, 4), points(1, 8, 5).requires_grad_()
    sharp = thin_plate_spline_grid(start, end, (12, 12))
    smooth = thin_plate_spline_grid(start, end, (12, 12), smoothing=1e4)
    bend = [(f[:, 2:] - 2 * f[:, 1:-1] + f[:, :-2]).abs().max().item() for f in (sharp, smooth)]
    assert bend[1] < 1e-2 * bend[0]
    sharp.sum().backward()
    assert end.grad is not None
    assert end.grad.isfinite().all()
    assert end.grad.abs().sum() > 0


def test_pixels_outside_the_hull_take_the_flow_that_was_given() -> None:
    end = torch.tensor([[[-0.5, -0.5], [0.5, -0.5], [0.0, 0.5]]], dtype=torch.float64)
    rest = torch.full((1, 20, 20, 2), 5.0)
    flow = piecewise_affine_grid(end, end, (20, 20), outside=rest)
    grid = identity_grid(20, 20, dtype=torch.float64)
    x, y = grid.unbind(-1)
    inside = (y > -0.5) & (y < 0.5 - 2 * x.abs())
    torch.testing.assert_close(flow[0][inside], grid[inside], atol=1e-6, rtol=0)
    assert (flow[0][~inside] == 5).all()


def test_the_nearer_triangle_wins_and_folded_ones_are_left_out() -> None:
    end = torch.tensor([[-1.0, -1], [1, -1], [0, 1], [-1, -1], [1, -1], [0, 1]], dtype=torch.float64)[None]
    start = torch.cat((torch.zeros(1, 3, 2), torch.ones(1, 3, 2)), dim=1).double()
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    front_first = torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    assert (piecewise_affine_grid(start, end, (8, 8), faces, front_first)[0, 3, 4] == 0).all()
    assert (piecewise_affine_grid(start, end, (8, 8), faces, 1 - front_first)[0, 3, 4] == 1).all()
    folded = faces[:, [0, 2, 1]]
    torch.testing.assert_close(
        piecewise_affine_grid(start, end, (8, 8), folded), identity_grid(8, 8, dtype=torch.float64)[None]
    )


def test_a_mesh_whose_inside_folds_still_covers_every_pixel_within_its_outline() -> None:
    side = np.linspace(-1, 1, 6)
    rest = torch.tensor(np.stack(np.meshgrid(side, side), -1).reshape(-1, 2))
    faces = torch.from_numpy(delaunay(rest.numpy()))
    moved = rest.clone()
    inner = (rest.abs().amax(-1) < 0.99).nonzero()[:, 0]
    moved[inner] = moved[inner].flip(0) * 0.9  # turned by half a circle: about half of the triangles fold
    flow = piecewise_affine_grid(rest[None], moved[None], (32, 32), faces, outside=torch.full((1, 32, 32, 2), 9.0))
    assert (flow < 8).all()


def test_shared_edges_through_pixel_centres_leave_no_hole() -> None:
    size = 16
    centre = pixel_to_normalised(torch.tensor([[7.0, 9.0]], dtype=torch.float64), size, size)
    end = torch.cat((CORNERS, centre))[None]
    flow = piecewise_affine_grid(end, end, (size, size), outside=torch.full((1, size, size, 2), 9.0))
    assert (flow < 8).all()


def test_a_missing_face_gives_a_row_of_nan_and_leaves_the_others_alone() -> None:
    end = torch.cat((CORNERS.expand(2, -1, -1), points(2, 3)), dim=1)
    end[1, 2] = float("nan")
    flow = piecewise_affine_grid(end, end, (6, 6))
    assert flow[0].isfinite().all()
    assert flow[1].isnan().all()


def test_delaunay_turns_all_triangles_the_same_way_and_refuses_a_line() -> None:
    cloud: NDArray[np.float64] = points(1, 40)[0].numpy()
    a, b, c = (cloud[delaunay(cloud)[:, k]] for k in range(3))
    assert ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] > 0).all()
    with pytest.raises(ValueError, match="plane"):
        delaunay(np.array([[0.0, 0], [1, 1], [2, 2], [3, 3]]))
