"""Which point of the head at rest lies under each texel of the uv atlas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Array = NDArray[np.float64]

_AXIS_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


@dataclass(frozen=True)
class TexelMap:
    """The head at rest, resampled on the atlas; texels outside every chart repeat their nearest neighbour.

    Attributes:
        position: (T, T, 3) cm, model space.
        region: (T, T) values of ``Region``.
    """

    position: Array
    region: NDArray[np.int64]


def rasterise_uv(
    uv: Array, uv_triangles: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Triangle index (T, T) (-1 where the atlas is empty) and barycentric coordinates (T, T, 3) of every texel centre.

    Triangles are small on an atlas, so the loop runs over offsets inside the largest bounding box, all triangles at
    once. Where charts overlap the triangle with the larger index wins.
    """
    corners = uv[uv_triangles] * size - 0.5  # texel centres at integers
    low = np.floor(corners.min(axis=1)).astype(np.int64)
    extent = np.ceil(corners.max(axis=1)).astype(np.int64) - low + 1
    face = np.full((size, size), -1, dtype=np.int64)
    barycentric = np.zeros((size, size, 3))
    for dy in range(int(extent[:, 1].max())):
        rows = np.flatnonzero(extent[:, 1] > dy)
        for dx in range(int(extent[rows, 0].max())):
            chosen = rows[extent[rows, 0] > dx]
            texel = low[chosen] + (dx, dy)
            weights = _barycentric(corners[chosen], texel)
            inside = (weights >= -1e-9).all(axis=1) & (texel >= 0).all(axis=1) & (texel < size).all(axis=1)
            x, y = texel[inside].T
            order = np.argsort(chosen[inside], kind="stable")
            newer = chosen[inside][order] > face[y[order], x[order]]
            y, x = y[order][newer], x[order][newer]
            face[y, x] = chosen[inside][order][newer]
            barycentric[y, x] = weights[inside][order][newer]
    return face, barycentric


def _barycentric(corners: Array, point: NDArray[np.int64]) -> Array:
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]

    def cross(p: Array, q: Array) -> Array:
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    area = cross(b - a, c - a)
    safe = np.where(np.abs(area) < 1e-12, np.inf, area)
    wb, wc = cross(point - a, c - a) / safe, cross(b - a, point - a) / safe
    degenerate = np.isinf(safe)
    return np.stack([np.where(degenerate, -1.0, 1 - wb - wc), wb, wc], axis=1)


def texel_map(
    template: Array,
    triangles: NDArray[np.int64],
    uv: Array,
    uv_triangles: NDArray[np.int64],
    regions: NDArray[np.int64],
    size: int,
) -> TexelMap:
    """Positions (cm) and regions under a (size, size) atlas."""
    face, weights = rasterise_uv(uv, uv_triangles, size)
    position = (template[triangles[face]] * weights[..., None]).sum(axis=2)
    y, x = distance_transform_edt(face < 0, return_distances=False, return_indices=True)
    return TexelMap(position[y, x], regions[face][y, x])


def value_noise(points: Array, wavelength: float, seed: int) -> Array:
    """Smooth noise (…,) in [-1, 1] over points (…, 3) cm: random values on a lattice, blended by cubic steps.

    The lattice values come from an integer hash, not from a generator, so they do not depend on a library's version.
    """
    scaled = points / wavelength
    cell = np.floor(scaled).astype(np.int64)
    t = scaled - cell
    t = t * t * (3 - 2 * t)
    shares = [(1 - t[..., i], t[..., i]) for i in range(3)]
    parts = [[_axis_hash(cell[..., i] + step, i) for step in (0, 1)] for i in range(3)]
    total = np.zeros(points.shape[:-1])
    for x, y in np.ndindex(2, 2):  # shares and parts of a hash belong to one axis: each is made once for the 8 corners
        share, part = shares[0][x] * shares[1][y], parts[0][x] ^ parts[1][y]
        for z in range(2):
            total += share * shares[2][z] * _mixed(part ^ parts[2][z], seed)
    return total


def spots(points: Array, spacing: float, seed: int) -> Array:
    """Soft round dots (…,) in [0, 1] over points (…, 3): one in half the cells of a lattice, at random places."""
    scaled = points / spacing
    cell = np.floor(scaled).astype(np.int64)
    centre = cell + 0.5 + 0.22 * np.stack([_hash(cell, seed + 1 + i) for i in range(3)], axis=-1)
    size = np.maximum(_hash(cell, seed), 0)
    radius = 0.14 + 0.14 * size**2  # never reaches into the next cell
    return np.where(size > 0, np.maximum(1 - ((scaled - centre) ** 2).sum(axis=-1) / radius**2, 0) ** 2, 0.0)


def _hash(cell: NDArray[np.int64], seed: int) -> Array:
    """Random values (…,) in [-1, 1) of the lattice points (…, 3)."""
    return _mixed(_axis_hash(cell[..., 0], 0) ^ _axis_hash(cell[..., 1], 1) ^ _axis_hash(cell[..., 2], 2), seed)


def _axis_hash(cell: NDArray[np.int64], axis: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return cell.astype(np.uint64) * _AXIS_FACTORS[axis]


def _mixed(h: NDArray[np.uint64], seed: int) -> Array:
    with np.errstate(over="ignore"):
        h = h ^ np.uint64(seed) * np.uint64(0xD6E8FEB86659FD93)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        h ^= h >> np.uint64(32)
    return (h >> np.uint64(11)).astype(np.float64) / float(1 << 52) - 1.0
