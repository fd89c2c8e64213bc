"""The skull as a function of direction, and where hair grows on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from reenact_zoo.faces.morphable._masks import scalp

Array = NDArray[np.float64]
_STEP = np.radians(4.0)


def direction(azimuth: Array, elevation: Array) -> Array:
    """(…, 3) unit vectors; azimuth 0 looks along +z and grows towards +x."""
    c = np.cos(elevation)
    return np.stack([c * np.sin(azimuth), np.sin(elevation), c * np.cos(azimuth)], axis=-1)


def angles(d: Array) -> tuple[Array, Array]:
    """Azimuth and elevation of unit vectors (…, 3)."""
    return np.arctan2(d[..., 0], d[..., 2]), np.arcsin(np.clip(d[..., 1], -1, 1))


def slerp(a: Array, b: Array, t: Array) -> Array:
    """Along the great circle from unit vectors a to b (…, 3), t (…)."""
    angle = np.arccos(np.clip((a * b).sum(-1), -1, 1))[..., None]
    s = np.maximum(np.sin(angle), 1e-6)
    t = t[..., None]
    mixed = np.where(angle < 1e-3, (1 - t) * a + t * b, (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / s)
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Skull:
    """Distance from ``centre`` (3,) to the outermost skin, and the hairline, over directions."""

    centre: Array
    radius_map: Array  # elevations × azimuths
    hairline: Array  # (azimuths,) elevation in radians
    smooth_map: Array

    def radius(self, d: Array, smooth: bool = True) -> Array:
        """(…,) cm in directions (…, 3)."""
        azimuth, elevation = angles(d)
        at = np.stack([(elevation + np.pi / 2) / _STEP, (azimuth % (2 * np.pi)) / _STEP])
        table = self.smooth_map if smooth else self.radius_map
        padded = np.concatenate([table, table[:, :1]], axis=1)
        flat = map_coordinates(padded, at.reshape(2, -1), order=1, mode="nearest")
        return flat.reshape(azimuth.shape)

    def hairline_at(self, azimuth: Array) -> Array:
        """Elevation (…,) of the hairline."""
        at = np.asarray(azimuth) % (2 * np.pi) / _STEP
        return np.interp(at, np.arange(len(self.hairline) + 1), np.append(self.hairline, self.hairline[0]))

    def point(self, d: Array, height: Array | float) -> Array:
        """(…, 3) cm, ``height`` above the skin."""
        return self.centre + d * (self.radius(d) + height)[..., None]


def skull(points: Array, triangles: NDArray[np.int64], landmarks: Array) -> Skull:
    """From a head's skin at rest without ears, mouth and eyes."""
    middle = landmarks[27]
    centre = np.array([0.0, middle[1] + 1.6, middle[2] - 10.2])
    elevation, azimuth = np.arange(46) * _STEP - np.pi / 2, np.arange(90) * _STEP
    rays = direction(*np.meshgrid(azimuth, elevation))
    radius = _cast(points[triangles] - centre, rays.reshape(-1, 3)).reshape(46, 90)
    y, x = distance_transform_edt(~np.isfinite(radius), return_distances=False, return_indices=True)
    radius = radius[y, x]
    smooth = gaussian_filter(radius, (1.0, 1.0), mode=("nearest", "wrap"))
    fine = np.radians(np.arange(-70, 90, 1.0))
    at = direction(*np.meshgrid(azimuth, fine))
    shape = Skull(centre, radius, np.zeros(90), smooth)
    grown = scalp(shape.point(at, 0.0), landmarks, softness=0.7) > 0.5
    first_bald = np.argmax(~grown[::-1], axis=0)  # from the crown downwards
    line = fine[::-1][first_bald]
    return Skull(centre, radius, gaussian_filter(line, 1.0, mode="wrap"), smooth)


def _cast(corners: Array, rays: Array) -> Array:
    """Distance (R,) from the origin to the farthest of triangles (F, 3, 3) along rays (R, 3); inf where none is hit."""
    matrix = corners.transpose(0, 2, 1)
    solid = np.abs(np.linalg.det(matrix)) > 1e-6
    inverse = np.linalg.inv(matrix[solid]).astype(np.float32)
    farthest = np.full(len(rays), -np.inf)
    for start in range(0, len(rays), 128):
        d = rays[start : start + 128].astype(np.float32).T
        w = [inverse[:, k] @ d for k in range(3)]  # barycentric coordinates over the distance, (F, 128) each
        hit = (w[0] >= -1e-5) & (w[1] >= -1e-5) & (w[2] >= -1e-5)
        nearness = np.where(hit, w[0] + w[1] + w[2], np.inf).min(axis=0)
        farthest[start : start + 128] = np.where(nearness < 1e3, 1 / nearness, -np.inf)
    return np.where(np.isfinite(farthest), farthest, np.inf)
