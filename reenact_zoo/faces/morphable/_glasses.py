"""Glasses: two rims, a bridge and two temples of thin tubes in several shapes; the lenses are open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._wardrobe import Part, grid_triangles
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

AROUND, SIDES = 28, 5  # points of a rim, corners of a tube
SHAPES = (  # share, half width, half height, exponent of the superellipse, lift of the outer corner, tube radius (cm)
    (0.80, 0.0, 0.0, 2.0, 0.0, 0.0),  # none
    (0.05, 2.35, 2.15, 2.0, 0.0, 0.09),
    (0.06, 2.75, 1.75, 3.6, 0.1, 0.14),
    (0.04, 2.85, 2.15, 2.7, 0.1, 0.22),
    (0.03, 2.75, 1.85, 2.4, 0.45, 0.19),
    (0.02, 2.65, 1.45, 3.0, 0.0, 0.07),
)


def glasses(landmarks: Array, numbers: Ints, eyes: Array, cell: tuple[float, float, float, float]) -> Part:
    """For a head with these landmarks (68, 3), their vertex ``numbers`` and eye centres (2, 3)."""
    tubes = [_styled(landmarks, eyes, shape, size) for shape in SHAPES[1:] for size in (0.93, 1.07)]
    low, high = np.array([tubes[0], *tubes[::2]]), np.array([tubes[0], *tubes[1::2]])
    triangles, offset = [], 0
    for points, closed in ((AROUND, True), (AROUND, True), (5, False), (6, False), (6, False)):
        # rings across, corners of the tube fastest
        rings = grid_triangles(points + 1 if closed else points, SIDES, closed=True)
        triangles.append(offset + np.where(rings < points * SIDES, rings, rings - points * SIDES))
        offset += points * SIDES
    side = np.clip(np.abs(low[..., 0]) / np.abs(landmarks[0, 0]), 0, 1)
    anchors = np.stack([np.full(side.shape, numbers[27]), np.where(low[..., 0] > 0, numbers[16], numbers[0])], axis=-1)
    count = low.shape[1]
    uv = np.tile([[cell[0] + 0.5 * cell[2], cell[1] + 0.5 * cell[3]]], (count, 1))
    return Part(
        name="glasses",
        low=low,
        high=high,
        shares=[shape[0] for shape in SHAPES],
        worn=[shape[1] > 0 for shape in SHAPES],
        anchors=anchors,
        weights=np.stack([1 - side, side], axis=-1),
        bones=np.broadcast_to(np.array([0.0, 0.0, 1.0]), (*low.shape[:2], 3)).copy(),
        follows_expression=False,
        triangles=np.concatenate(triangles),
        uv=uv,
        region=Region.GLASSES,
    )


def _styled(landmarks: Array, eyes: Array, shape: tuple[float, ...], size: float) -> Array:
    _, wide, high, exponent, lift, radius = shape
    wide, high = size * wide, size * high
    front = landmarks[27, 2] + 0.35
    y0 = eyes[:, 1].mean() - 0.15 - 0.3 * (high - 1.8)
    x0 = max(0.5 * np.abs(eyes[:, 0]).sum() + 0.1, wide + 0.85)

    def plane(x: Array, y: Array) -> Array:
        """The rims' surface bends back at the sides and leans in below."""
        return np.stack([x, y, front - 0.026 * x**2 + 0.10 * (y - y0)], axis=-1)

    parts = []
    turn = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    for side in (1.0, -1.0):
        c, s = np.cos(turn), np.sin(turn)
        x = wide * np.sign(c) * np.abs(c) ** (2 / exponent)
        y = high * np.sign(s) * np.abs(s) ** (2 / exponent) + lift * np.clip(x / wide, 0, 1) * np.clip(s, 0, 1)
        line = plane(side * (x0 + x), y0 + y)
        line = line if side > 0 else line[::-1]
        parts.append(_tube(line, radius, closed=True))
    inner = x0 - wide
    bx = np.linspace(-inner, inner, 5)
    parts.append(_tube(plane(bx, y0 + 0.35 * high + 0.25 * (1 - (bx / inner) ** 2)), radius, closed=False))
    for side, ear in ((1.0, landmarks[16]), (-1.0, landmarks[0])):
        hinge = plane(np.array(side * (x0 + wide)), np.array(y0 + 0.4 * high + lift))
        out = np.abs(ear[0]) + 0.35
        path = np.array(
            [
                hinge,
                hinge + np.array([side * 0.35, 0.0, -0.6]),
                (side * max(out, abs(hinge[0]) + 0.2), hinge[1], ear[2] + 1.2),
                (side * (out + 0.3), hinge[1] + 0.2, ear[2] - 2.6),
                (side * (out + 0.35), hinge[1] - 0.2, ear[2] - 4.4),
                (side * (out + 0.1), hinge[1] - 1.6, ear[2] - 5.4),
            ]
        )
        parts.append(_tube(path, max(radius, 0.1), closed=False))
    return np.concatenate(parts)


def _tube(line: Array, radius: float, closed: bool) -> Array:
    """(n * SIDES, 3): rings around a polyline, numbered so that the outside is counter-clockwise."""
    if closed:
        tangent = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    else:
        tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    reference = np.where(np.abs(tangent[:, 2:]) < 0.8, [[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]])
    across = np.cross(tangent, reference)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(tangent, across)
    turn = -np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    ring = np.cos(turn)[:, None] * across[:, None] + np.sin(turn)[:, None] * other[:, None]
    return (line[:, None] + radius * ring).reshape(-1, 3)
