"""Edge collapse onto an end: what stays, what is exact, how far the surface moves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._simplify import deviation, simplify

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def grid(n: int) -> tuple[Array, Ints]:
    x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1), triangles


def sphere(n: int) -> tuple[Array, Ints]:
    from scipy.spatial import ConvexHull

    k = np.arange(n) + 0.5
    tilt, turn = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    points = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], 1)
    hull = ConvexHull(points).simplices.astype(np.int64)
    a, b, c = (points[hull[:, i]] for i in range(3))
    outward = (np.cross(b - a, c - a) * (a + b + c)).sum(1) > 0
    return points, np.where(outward[:, None], hull, hull[:, ::-1])


def thin(
    points: Array, triangles: Ints, target: int, poses: list[Array] | None = None, keep: Ints | None = None
) -> Ints:
    uv = points[:, :2] if np.ptp(points[:, 2]) == 0 else np.zeros((len(points), 2))
    keep = np.array([], dtype=np.int64) if keep is None else keep
    result = simplify(poses or [points], triangles, uv, triangles, np.ones(len(points)), keep, target)
    return result.triangles


def test_a_plane_is_thinned_out_without_any_error() -> None:
    points, triangles = grid(15)
    left = thin(points, triangles, 80)
    assert len(np.unique(left)) <= 80
    assert deviation(points, triangles, left).max() < 1e-9
    corners = points[left]
    area = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert area.min() > 0
    assert area.sum() == pytest.approx(1.0)


def test_a_sphere_stays_closed_and_close() -> None:
    points, triangles = sphere(600)
    left = thin(points, triangles, 200)
    assert len(np.unique(left)) == 200
    edges = np.sort(np.concatenate([left[:, [0, 1]], left[:, [1, 2]], left[:, [2, 0]]]), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all()
    assert len(left) == 2 * 200 - 4  # Euler's formula of a closed surface
    error = deviation(points, triangles, left)
    assert error.max() < 0.06
    assert error.mean() < 0.02


def test_even_a_handful_of_vertices_stays_a_closed_surface() -> None:
    for seed in range(4):
        points, triangles = sphere(90 + seed)
        left = thin(points, triangles, 5)
        edges = np.sort(np.concatenate([left[:, [0, 1]], left[:, [1, 2]], left[:, [2, 0]]]), axis=1)
        _, count = np.unique(edges, axis=0, return_counts=True)
        assert (count == 2).all()
        assert len(left) == 2 * len(np.unique(left)) - 4


def test_no_triangle_turns_over_on_the_atlas() -> None:
    points, triangles = grid(15)
    x, y = points[:, 0], points[:, 1]
    uv = np.stack([x + 0.25 * np.sin(9 * y), y], axis=1)  # flat in space, wavy on the atlas
    keep = np.array([], dtype=np.int64)
    result = simplify([points], triangles, uv, triangles, np.ones(len(points)), keep, 75)
    corners = uv[result.uv_triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    assert (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).min() > 0


def test_a_fold_that_shows_in_another_pose_only_is_kept() -> None:
    points, triangles = grid(15)
    folded = points.copy()
    folded[:, 2] = np.maximum(points[:, 0] - 0.5, 0)
    plain, aware = thin(points, triangles, 100), thin(points, triangles, 100, [points, folded])
    assert deviation(folded, triangles, aware).max() < 1e-9
    assert deviation(folded, triangles, plain).max() > 0.02


def test_vertices_to_keep_and_seams_stay() -> None:
    points, triangles = grid(15)
    keep = np.array([7 * 15 + 7, 3 * 15 + 5])
    assert np.isin(keep, thin(points, triangles, 70, keep=keep)).all()
    uv_triangles = np.where((points[triangles].mean(axis=1)[:, 0] > 0.5)[:, None], triangles + len(points), triangles)
    uv = np.concatenate([points[:, :2], points[:, :2]])
    result = simplify([points], triangles, uv, uv_triangles, np.ones(len(points)), keep, 70)
    seam = np.flatnonzero(points[:, 0] == 0.5)
    assert np.isin(seam, result.triangles).all()
    assert np.array_equal(result.uv_triangles % len(points), result.triangles)
