"""Triangulates the procedural head: skin with holes for eyes and mouth, eyeballs, mouth, teeth, ears.

The skin is meshed in the plane (unrolled azimuth, row): points on loops around eyes and mouth plus a grid that is fine
in the face, joined by Delaunay; triangles inside the openings are dropped. The same plane is the uv atlas.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from reenact_zoo.faces.morphable._masks import inside_polygon, smooth_line
from reenact_zoo.faces.morphable._surface import BOTTOM, TOP, azimuth_of, relief, skull
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

EYE_CENTRE = np.array([3.15, 3.50, 7.95])  # the person's left eye
EYE_RADIUS = 1.42
CORNEA = (0.62, 0.90)  # distance of its centre from the eye's, radius: the cornea stands out by 1 mm
UNROLL = 8.0  # cm per radian of azimuth in the plane
MOUTH_GAP = 0.36  # the lips are meshed apart by this much and closed afterwards

EYE_UPPER = np.array([(1.84, 3.26), (2.30, 3.66), (2.75, 3.88), (3.30, 3.97), (3.87, 3.85), (4.25, 3.62), (4.48, 3.42)])
EYE_LOWER = np.array([(4.48, 3.42), (4.20, 3.14), (3.82, 3.01), (3.25, 2.96), (2.73, 3.00), (2.25, 3.12), (1.84, 3.26)])
LIP_UPPER = np.array(
    [(-2.5, -3.5), (-1.7, -2.82), (-0.73, -2.46), (0, -2.56), (0.73, -2.46), (1.7, -2.82), (2.5, -3.5)]
)
LIP_LOWER = np.array(
    [(2.5, -3.5), (1.8, -4.08), (1.03, -4.38), (0, -4.48), (-1.03, -4.38), (-1.8, -4.08), (-2.5, -3.5)]
)
LIP_LINE = np.array([(-2.5, -3.5), (-1.7, -3.42), (-0.8, -3.38), (0, -3.44), (0.8, -3.38), (1.7, -3.42), (2.5, -3.5)])


@dataclass
class Mesh:
    """Parts glued together as they are made; vertices know which ring of an opening they are on."""

    points: list[Array] = field(default_factory=list)
    uv: list[Array] = field(default_factory=list)
    triangles: list[Ints] = field(default_factory=list)
    regions: list[Ints] = field(default_factory=list)
    parts: dict[str, slice] = field(default_factory=dict)

    def add(self, name: str, points: Array, uv: Array, triangles: Ints, region: Region) -> int:
        """Append a part whose triangles count from its own first vertex; returns that vertex's number."""
        first = sum(len(p) for p in self.points)
        self.points.append(points)
        self.uv.append(uv)
        self.triangles.append(triangles + first)
        self.regions.append(np.full(len(triangles), int(region), dtype=np.int64))
        self.parts[name] = slice(first, first + len(points))
        return first


@dataclass(frozen=True)
class Skin:
    """The meshed skin: rest points (N, 3), plane points (N, 2), triangles, and the vertex loops of the openings."""

    points: Array
    plane: Array
    triangles: Ints
    eye_rings: dict[int, Ints]  # side (+1 left, -1 right) → (rings, n) vertices, the innermost ring first
    mouth_upper: Ints  # (rings, n) from the line between the lips to the edge of their red, corners included
    mouth_lower: Ints


def _to_plane(x: Array, y: Array) -> Array:
    return np.stack([UNROLL * azimuth_of(x, y), y], axis=-1)


def eye_loop(scale: float, count: int = 28) -> Array:
    """(count, 2) frontal points around the left eye; scale 1 is the edge of the lids."""
    upper, lower = smooth_line(EYE_UPPER, count // 2 + 1), smooth_line(EYE_LOWER, count // 2 + 1)
    loop = np.concatenate([upper[:-1], lower[:-1]])
    middle = loop.mean(axis=0)
    return middle + (loop - middle) * np.array([1 + (scale - 1) * 0.75, 1 + (scale - 1) * 1.35])


EYE_SCALES = (1.0, 1.10, 1.25, 1.5, 1.8, 2.15)
LIP_STEPS = (0.0, 0.25, 0.6, 1.0, 1.35)


def lip_ring(step: float, upper: bool, count: int = 23) -> Array:
    """(count, 2) frontal points from right to left corner; step 0 is the line between the lips, 1 the red's edge."""
    line = smooth_line(LIP_LINE, count)
    edge = smooth_line(LIP_UPPER if upper else LIP_LOWER[::-1], count)
    ring = line + (edge - line) * step
    t = np.linspace(-1, 1, count)
    ring[:, 0] += 0.55 * max(step - 1, 0) * t**5  # rings beyond the red enclose the corners
    return ring


def lip_line(x: Array) -> Array:
    """Height of the line between the closed lips at x."""
    line = smooth_line(LIP_LINE, 201)
    return np.interp(x, line[:, 0], line[:, 1])


def mouth_shift(x: Array, distance: Array, sign: Array | float) -> Array:
    """How far a point moves to close the mouth, given its distance from and its side of the line between the lips."""
    profile = np.clip(1 - (x / 2.5) ** 2, 0, 1)
    return -0.5 * MOUTH_GAP * profile * sign * np.exp(-((distance / 1.6) ** 2))


def skin() -> Skin:
    """Mesh of the skin at rest; about 3,300 vertices."""
    plane: list[Array] = []
    frontal: list[Array] = []  # where the mouth is closed; NaN where the plane is the whole truth
    count = 0
    eye_rings: dict[int, Ints] = {}
    for side in (1, -1):
        loops = [eye_loop(scale) * (side, 1) for scale in EYE_SCALES]
        eye_rings[side] = count + np.arange(sum(map(len, loops))).reshape(len(loops), -1)
        for loop in loops:
            plane.append(_to_plane(*loop.T))
            frontal.append(loop)
            count += len(loop)
    lips: list[Ints] = []
    for upper in (True, False):
        rows: list[Ints] = []
        for step in LIP_STEPS:
            ring = lip_ring(step, upper)
            sign = 1.0 if upper else -1.0
            shift = mouth_shift(ring[:, 0], ring[:, 1] - lip_line(ring[:, 0]), sign)
            index = count + np.arange(len(ring))
            if step <= 1.0 and (lips or rows):  # all rings up to the red's edge share the two corners
                first = lips[0][0] if lips else rows[0]
                index = np.concatenate([first[:1], count + np.arange(len(ring) - 2), first[-1:]])
                ring, shift = ring[1:-1], shift[1:-1]
            plane.append(_to_plane(ring[:, 0], ring[:, 1] - shift))
            frontal.append(ring)
            rows.append(index)
            count += len(ring)
        lips.append(np.stack(rows))
    grid = _grid(np.concatenate(plane))
    plane.append(grid)
    frontal.append(np.full_like(grid, np.nan))
    points2 = np.concatenate(plane)
    triangles = Delaunay(points2).simplices.astype(np.int64)
    triangles = _without_openings(_counter_clockwise(triangles, points2), points2, eye_rings, lips)
    return Skin(_lift(points2, np.concatenate(frontal)), points2, triangles, eye_rings, lips[0], lips[1])


def _grid(taken: Array) -> Array:
    """Points fine in the face and coarse behind it, none near the loops that are already there."""
    u, v = np.meshgrid(np.linspace(-7.6, 7.6, 37), np.arange(-8.4, 7.6, 0.42))
    fine = np.stack([u.ravel(), v.ravel()], axis=1)
    edge = np.pi * UNROLL
    columns = np.linspace(-edge, edge, 45)
    rows = np.concatenate(
        [np.linspace(BOTTOM, -8.5, 12), np.arange(-7.6, 12.8, 1.15), np.array([13.3, 13.9, 14.2, TOP])]
    )
    u, v = np.meshgrid(columns, rows)
    coarse = np.stack([u.ravel(), v.ravel()], axis=1)
    coarse = coarse[(np.abs(coarse[:, 0]) > 7.9) | (coarse[:, 1] > 7.9) | (coarse[:, 1] < -8.7)]
    points = np.concatenate([fine, coarse])
    gap = np.sqrt(((points[:, None] - taken[None]) ** 2).sum(-1).min(axis=1))
    covered = np.zeros(len(points), dtype=bool)
    for side in (1, -1):
        covered |= inside_polygon(points, _to_plane(*(eye_loop(EYE_SCALES[-1]) * (side, 1)).T))
    outer = np.concatenate([lip_ring(LIP_STEPS[-1], True), lip_ring(LIP_STEPS[-1], False)[::-1]])
    covered |= inside_polygon(points, _to_plane(*outer.T))
    return points[~covered & (gap > 0.24)]


def _counter_clockwise(triangles: Ints, points: Array) -> Ints:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    return np.where(turn[:, None] > 0, triangles, triangles[:, ::-1])


def _without_openings(triangles: Ints, points: Array, eyes: dict[int, Ints], lips: list[Ints]) -> Ints:
    middle = points[triangles].mean(axis=1)
    drop = np.zeros(len(triangles), dtype=bool)
    for rings in eyes.values():
        drop |= inside_polygon(middle, points[rings[0]])
    drop |= inside_polygon(middle, points[np.concatenate([lips[0][0], lips[1][0][::-1][1:-1]])])
    return triangles[~drop]


def _lift(plane: Array, frontal: Array) -> Array:
    """Plane points → rest points with the mouth closed."""
    base = skull(plane[:, 0] / UNROLL, plane[:, 1])
    known = ~np.isnan(frontal[:, 0])
    front = np.abs(plane[:, 0]) < 0.5 * np.pi * UNROLL
    x, y = base[:, 0], base[:, 1]
    near = front & ~known & (np.abs(x) < 2.5) & (np.abs(y + 3.45) < 5)
    side = np.sign(y - lip_line(x))
    for _ in range(8):  # invert y_plane = y - shift(y)
        y = np.where(near, base[:, 1] + mouth_shift(x, y - lip_line(x), side), y)
    base[:, 1] = np.where(known, frontal[:, 1], y)
    base[:, 0] = np.where(known, frontal[:, 0], x)
    base[:, 2] += np.where(front, relief(base), 0.0)
    return _over_eyes(base)


def _over_eyes(points: Array) -> Array:
    """Lids lie on the eyeballs: what is in front of a ball comes forward to its surface plus the lid's thickness."""
    for side in (1, -1):
        away = points - EYE_CENTRE * (side, 1, 1)
        room = (EYE_RADIUS + 0.12) ** 2 - (away[:, :2] ** 2).sum(axis=1)
        surface = EYE_CENTRE[2] + np.sqrt(np.maximum(room, 0))
        near = (room > 0) & (away[:, 2] > 0)
        points[:, 2] = np.where(near, np.maximum(points[:, 2], surface), points[:, 2])
    return points


def grid_triangles(rows: int, columns: int) -> Ints:
    """Two triangles per cell of a (rows, columns) grid, counter-clockwise when rows go down and columns right."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int64)


def eyeball(side: int) -> tuple[Array, Array, Ints]:
    """Front two thirds of an eyeball with a cornea; points, uv in [0, 1]² (both eyes share it), triangles."""
    angles, turns = np.radians(np.concatenate([[0.5], np.linspace(5, 40, 9), np.linspace(50, 115, 7)])), 24
    around = np.linspace(0, 2 * np.pi, turns + 1)
    tilt, turn = np.meshgrid(angles, around, indexing="ij")
    direction = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], axis=-1)
    offset, radius = CORNEA
    along = direction[..., 2] * offset
    far = along + np.sqrt(np.maximum(along**2 - offset**2 + radius**2, 0))  # where the ray leaves the cornea's sphere
    points = direction * np.maximum(EYE_RADIUS, far)[..., None]
    points = points.reshape(-1, 3) + EYE_CENTRE * (side, 1, 1)
    spread = ((tilt / angles[-1]) ** 0.7)[..., None] * np.stack([np.cos(turn), -np.sin(turn)], axis=-1)
    return points, 0.5 + 0.47 * spread.reshape(-1, 2), grid_triangles(len(angles), turns + 1)
