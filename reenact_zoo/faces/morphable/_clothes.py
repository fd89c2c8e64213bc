"""Shoulders in clothes: rings from the collar outwards over chest, back and shoulders, with several collars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._masks import collar_height, step
from reenact_zoo.faces.morphable._wardrobe import Part, bind, grid_triangles
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

AROUND, COLLAR, DOWN = 56, 6, 9
COLLARS = (  # name, share
    ("crew", 0.48),
    ("turtleneck", 0.12),
    ("shirt", 0.22),
    ("hood", 0.18),
)


def clothes(body: Array, usable: Ints, landmarks: Array, cell: tuple[float, float, float, float]) -> Part:
    """For a head at rest; ``usable`` are the vertices of neck and torso."""
    turn = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    neck, axis = _neck(body[usable], landmarks, turn)
    points = np.array([_styled(name, neck, axis, turn) for name, _ in COLLARS])
    anchors, weights = bind(points, body, usable)
    rows = COLLAR + DOWN
    v, u = np.meshgrid(np.linspace(0, 1, rows), 1 - np.abs(1 - 4 * turn / (2 * np.pi) % 2), indexing="ij")
    uv = np.stack([u.ravel(), v.ravel()], axis=1)
    return Part(
        name="clothes",
        low=points,
        high=points,
        shares=[share for _, share in COLLARS],
        worn=[True] * len(COLLARS),
        anchors=anchors,
        weights=weights,
        bones=np.broadcast_to(np.array([1.0, 0.0, 0.0]), (*points.shape[:2], 3)).copy(),
        follows_expression=False,
        triangles=grid_triangles(rows, AROUND, closed=True),
        uv=uv * (0.9 * cell[2], 0.9 * cell[3]) + (cell[0] + 0.05 * cell[2], cell[1] + 0.05 * cell[3]),
        region=Region.CLOTHES,
    )


def _neck(points: Array, landmarks: Array, turn: Array) -> tuple[Array, Array]:
    """Where the round collar lies on the neck (AROUND, 3), and the neck's axis there."""
    near = points[np.abs(collar_height(points, landmarks)) < 1.1]
    axis = 0.5 * (near.min(axis=0) + near.max(axis=0))
    azimuth = np.arctan2(near[:, 0], near[:, 2] - axis[2])
    distance = np.hypot(near[:, 0], near[:, 2] - axis[2])
    gap = np.abs((azimuth[None] - turn[:, None] + np.pi) % (2 * np.pi) - np.pi)
    radius = (distance * np.exp(-((gap / 0.25) ** 2))).sum(axis=1) / np.exp(-((gap / 0.25) ** 2)).sum(axis=1)
    radius = 0.5 * (radius + radius[(-np.arange(AROUND)) % AROUND])
    ring = np.stack([radius * np.sin(turn), 0 * turn, axis[2] + radius * np.cos(turn)], axis=1)
    ring[:, 1] = -collar_height(ring, landmarks)
    return ring, axis


def _styled(name: str, neck: Array, axis: Array, turn: Array) -> Array:
    """(rows * AROUND, 3), from the inside of the collar outwards and down."""
    out = np.stack([np.sin(turn), 0 * turn, np.cos(turn)], axis=1)
    up = np.array([0.0, 1.0, 0.0])
    front, back = step(np.cos(turn), 0.2, 0.95), step(-np.cos(turn), -0.2, 0.7)
    ones = np.ones_like(turn)
    profile = {  # (outwards, upwards) of each ring of the collar, cm
        "crew": [(-0.5, -0.8), (0.12, 0.15), (0.40, 0.30), (0.62, 0.05), (0.66, -0.45), (0.75, -0.75)],
        "turtleneck": [(-0.4, 1.2), (0.25, 3.1), (0.60, 3.2), (0.75, 2.4), (0.72, 0.8), (0.9, -0.6)],
        "shirt": [(-0.3, -0.5), (0.35, 2.2), (0.55, 2.4), (1.1, 1.1), (1.75, -0.7), (1.2, -0.9)],
        "hood": [(-0.4, -0.9), (0.5, 0.4), (1.3, 1.1), (2.3, 0.7), (2.7, -0.6), (1.9, -1.6)],
    }[name]
    rings = []
    for number, (outwards, upwards) in enumerate(profile):
        o, u = outwards * ones, upwards * ones
        if name == "shirt":  # open at the throat, with two points
            gap = step(np.abs((turn + np.pi) % (2 * np.pi) - np.pi), 0.42, 0.05)
            u = u - (1.9 * gap if number in (1, 2, 3) else 0)
            if number == 4:
                point = np.exp(-(((np.abs((turn + np.pi) % (2 * np.pi) - np.pi) - 0.45) / 0.20) ** 2))
                u, o = u - 1.8 * point, o + 0.5 * point
        if name == "hood" and 1 <= number <= 4:
            o, u = o + 2.2 * back * (number > 1), u + 2.6 * back
            u = u - 1.6 * front
        rings.append(neck + o[:, None] * out + u[:, None] * up)
    wide, ahead, behind = 21.0, 8.5, 8.0
    s, c = np.sin(turn), np.cos(turn)
    limit = 1 / np.sqrt((s / wide) ** 2 + (c / np.where(c > 0, ahead, behind)) ** 2)
    start = rings[-1]
    radius = np.hypot(start[:, 0], start[:, 2] - axis[2])
    limit = np.maximum(limit, radius + 2.5)
    for t in np.linspace(0, 1, DOWN + 1)[1:]:
        q = 0.5 * np.pi * t
        reach = radius + (limit - radius) * np.sin(q)
        drop = 15.0 * (1 - np.cos(q)) ** 0.85 + 0.5 * t
        folds = 0.12 * np.sin(9 * turn + 4 * t) * np.sin(np.pi * t)
        x, z = (reach + folds) * s, axis[2] + (reach + folds) * c
        rings.append(np.stack([x, start[:, 1] - drop, z - 0.8 * t], axis=1))
    return np.concatenate(rings)
