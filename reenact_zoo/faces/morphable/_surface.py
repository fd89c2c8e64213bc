"""The skin of the procedural head as a function: azimuth and row → a point on a head, neck and shoulders.

The numbers are our own, rounded by hand to the proportions of an average adult (cm).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float64]

AXIS_Z = 1.0  # the vertical axis of the skull passes through (0, ·, AXIS_Z)

# row: half width, front z, back z of the horizontal section; features of the face are added afterwards
SECTIONS = np.array(
    [
        (14.4, 0.02, 1.02, 0.98),
        (13.6, 3.3, 5.3, -3.2),
        (12.4, 5.2, 7.6, -5.6),
        (11.0, 6.5, 8.9, -7.0),
        (9.0, 7.3, 9.9, -8.2),
        (7.0, 7.6, 10.4, -8.6),
        (5.0, 7.6, 10.5, -8.7),
        (3.0, 7.5, 10.2, -8.5),
        (1.0, 7.3, 10.3, -7.7),
        (-1.0, 7.05, 10.6, -6.8),
        (-3.0, 6.75, 10.9, -6.1),
        (-5.0, 6.3, 10.9, -5.8),
        (-7.0, 5.6, 10.5, -5.8),
        (-8.0, 5.2, 9.6, -5.9),
        (-9.0, 4.7, 7.2, -6.0),
        (-10.0, 4.5, 5.6, -6.3),
        (-12.0, 4.9, 4.7, -7.1),
        (-13.5, 7.2, 4.3, -8.0),
        (-15.0, 11.4, 4.2, -8.8),
        (-17.0, 13.5, 4.8, -9.2),
        (-19.5, 14.2, 5.6, -9.4),
    ]
)[::-1]
TOP, BOTTOM = float(SECTIONS[-1, 0]), float(SECTIONS[0, 0])
JAW_RISE = 3.2  # how much higher the jaw line lies under the ear than under the chin
FLATNESS = 2.3  # exponent of the section's superellipse: 2 is an ellipse, more is a flatter face

# Squared radii are interpolated, so that the crown closes like a sphere instead of a cone.
_WIDTH, _FRONT, _BACK = (
    PchipInterpolator(SECTIONS[:, 0], radius**2)
    for radius in (SECTIONS[:, 1], SECTIONS[:, 2] - AXIS_Z, AXIS_Z - SECTIONS[:, 3])
)


def section(row: Array) -> tuple[Array, Array, Array]:
    """Half width, front and back radius (cm, from the axis) of a row."""
    width, front, back = (np.sqrt(np.maximum(f(np.clip(row, BOTTOM, TOP)), 1e-6)) for f in (_WIDTH, _FRONT, _BACK))
    return width, front, back


def _power(value: Array, exponent: float) -> Array:
    return np.sign(value) * np.abs(value) ** exponent


def skull(azimuth: Array, row: Array) -> Array:
    """(…,) radians (0 towards +z, positive towards +x) and rows → (…, 3) cm, without nose, eyes and mouth."""
    width, front, back = section(row)
    c, s = np.cos(azimuth), np.sin(azimuth)
    exponent = 2 / FLATNESS
    x = width * _power(s, exponent)
    z = AXIS_Z + np.where(c > 0, front, back) * _power(c, exponent)
    y = row + JAW_RISE * s**2 * np.exp(-(((row + 7.5) / 3) ** 2))
    return np.stack([x, y, z], axis=-1)


def azimuth_of(x: Array, row: Array) -> Array:
    """Azimuth in the front half whose skull point has the given x."""
    ratio = np.clip(x / section(row)[0], -1, 1)
    return np.arcsin(_power(ratio, FLATNESS / 2))


def _bump(p: Array, x: float, y: float, sx: float, sy: float) -> Array:
    """Gaussian in the frontal plane, mirrored to both sides when x is not 0."""
    dx = np.abs(p[..., 0]) - x if x else p[..., 0]
    return np.exp(-((dx / sx) ** 2) - ((p[..., 1] - y) / sy) ** 2)


_RIDGE = PchipInterpolator(
    [-2.2, -1.6, -1.15, -0.7, -0.1, 0.5, 1.4, 2.6, 3.7, 4.8, 6.0],
    [0.0, 0.06, 0.45, 1.75, 2.5, 2.55, 1.95, 1.25, 0.65, 0.3, 0.0],
)
_RIDGE_WIDTH = PchipInterpolator([-2.2, -1.0, -0.2, 1.0, 2.6, 4.0, 6.0], [1.1, 1.15, 1.05, 0.8, 0.66, 0.8, 1.3])


def relief(p: Array) -> Array:
    """What nose, sockets, brows, cheeks, lips and chin add to z (…,) at skull points (…, 3)."""
    y = np.clip(p[..., 1], -2.2, 6.0)
    z = _RIDGE(y) * np.exp(-((np.abs(p[..., 0]) / _RIDGE_WIDTH(y)) ** 2.4))
    z += 1.05 * _bump(p, 1.25, -0.45, 0.48, 0.62)  # wings of the nose
    z += 0.42 * _bump(p, 3.0, 5.6, 2.0, 0.75)  # brow ridge
    z -= 0.75 * _bump(p, 3.1, 3.7, 1.7, 1.1) + 0.55 * _bump(p, 1.55, 3.5, 0.55, 0.8)  # sockets
    z += 0.35 * _bump(p, 4.7, 1.2, 1.5, 1.2)  # cheekbones
    z += 0.50 * _bump(p, 0.0, -3.3, 2.2, 1.8)  # teeth behind the lips
    z -= 0.16 * _bump(p, 0.0, -1.9, 0.3, 0.5)  # philtrum
    z += 0.42 * _bump(p, 0.0, -2.95, 1.7, 0.42) + 0.40 * _bump(p, 0.0, -3.95, 1.5, 0.45)  # lips
    z -= 0.28 * _bump(p, 0.0, -3.42, 2.4, 0.16) + 0.35 * _bump(p, 2.75, -3.5, 0.5, 0.5)  # line between them, corners
    z -= 0.45 * _bump(p, 0.0, -4.95, 1.6, 0.5)  # fold above the chin
    z += 0.45 * _bump(p, 0.0, -6.4, 1.5, 1.1)  # chin
    return z * np.clip((p[..., 2] - 3.0) / 3.0, 0, 1)
