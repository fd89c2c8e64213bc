"""Candidates along which the landmarks of the face's contour slide when the head turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CANDIDATES = 16


@dataclass(frozen=True)
class Contour:
    """For each of 17 points a row of N surface points, the jaw line first, and the direction that is outward there."""

    vertices: NDArray[np.int64]  # (17, N, 3)
    weights: Array  # (17, N, 3)
    outward: Array  # (17, 2)


def contour_candidates(points: Array, triangles: NDArray[np.int64], landmarks: Array) -> Contour:
    """Rows over the skin from each jaw-line point to the cheek, by rays from the axis of the head.

    Args:
        points: (V, 3) rest vertices.
        triangles: (F, 3) of the skin only.
        landmarks: (68, 3) at rest, the contour's 17 first.
    """
    jaw, mouth = landmarks[:17], landmarks[48:68].mean(axis=0)
    axis_z = 0.35 * jaw[[0, 16], 2].mean() + 0.65 * landmarks[[36, 45], 2].mean() - 6.0
    azimuth = np.arctan2(jaw[:, 0], jaw[:, 2] - axis_z)
    inward_y = np.where(jaw[:, 1] < mouth[1], jaw[:, 1] + 0.6 * (mouth[1] - jaw[:, 1]), jaw[:, 1])
    part = np.linspace(0, 1, CANDIDATES) ** 1.2
    angle = azimuth[:, None] * (1 - 0.72 * part)
    height = jaw[:, 1:2] + part * (inward_y - jaw[:, 1])[:, None]
    vertices, weights = _cast(points, triangles, angle.ravel(), height.ravel(), axis_z)
    shape = (17, CANDIDATES, 3)
    return Contour(vertices.reshape(shape), weights.reshape(shape), _outward(jaw))


def _outward(jaw: Array) -> Array:
    """Unit normals of the contour in the frontal view, pointing away from the face."""
    tangent = np.gradient(jaw[:, :2], axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)  # the contour runs from image left over the chin
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _cast(
    points: Array, triangles: NDArray[np.int64], azimuth: Array, height: Array, axis_z: float
) -> tuple[NDArray[np.int64], Array]:
    """Outermost triangle hit by horizontal rays from the axis; where one misses, the nearest vertex stands in."""
    corners = points[triangles]
    vertices, weights = [], []
    for angle, y in zip(azimuth, height):
        direction, aside = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
        flat = corners[..., [0, 2]] - (0.0, axis_z)
        across, up, along = flat @ aside, corners[..., 1] - y, flat @ direction
        w = _contains_origin(across, up)
        distance = (w * along).sum(axis=1)
        hit = (w >= -1e-6).all(axis=1) & (distance > 0)
        if hit.any():
            best = np.flatnonzero(hit)[np.argmax(distance[hit])]
            vertices.append(triangles[best])
            weights.append(w[best])
        else:
            near = np.argmin(np.where(along > 0, np.hypot(across, up), np.inf).min(axis=1))
            vertices.append(triangles[near])
            weights.append(np.eye(3)[np.argmin(np.hypot(across[near], up[near]))])
    return np.stack(vertices), np.stack(weights)


def _contains_origin(x: Array, y: Array) -> Array:
    """Barycentric coordinates (F, 3) of the origin in planar triangles; -1 where one is degenerate."""
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    safe = np.where(np.abs(area) < 1e-12, np.inf, area)
    a = (x[:, 1] * y[:, 2] - x[:, 2] * y[:, 1]) / safe
    b = (x[:, 2] * y[:, 0] - x[:, 0] * y[:, 2]) / safe
    w = np.stack([a, b, 1 - a - b], axis=1)
    return np.where(np.isinf(safe)[:, None], -1.0, w)
