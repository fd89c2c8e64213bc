"""A head made by code alone: no file, no scan, the same on every machine; 20 shape and 53 named expression directions.

It has the interface, the coefficient meanings and the texture of the ``ict`` head and serves tests and machines
without a network. Proportions are an average adult's, set by hand; expression names are those of ICT-FaceKit.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from reenact_zoo.faces.morphable import _procedural_mesh as build
from reenact_zoo.faces.morphable import _procedural_motion as motion
from reenact_zoo.faces.morphable._dense import DenseHead, HeadArrays
from reenact_zoo.faces.morphable._landmarks import contour_candidates
from reenact_zoo.faces.morphable._regions import bone_weights, label_skin
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

SKIN_BOTTOM = 0.74  # the atlas' v at which the skin ends and the small parts begin
PIVOTS = np.array([(0.0, -11.0, -3.5), (0.0, -1.5, -0.5)])

LID_GAP = 0.09  # thickness of a lid, cm

# Where the 68 points lie at rest, frontal view, cm; mirrored where only one side is written.
CONTOUR = [
    (-7.35, 3.6),
    (-7.2, 1.5),
    (-6.95, -0.5),
    (-6.5, -2.4),
    (-5.7, -4.4),
    (-4.4, -6.1),
    (-3.1, -7.1),
    (-1.6, -7.75),
    (0.0, -7.9),
]
BROW = [(-5.8, 5.05), (-4.9, 5.6), (-3.75, 5.85), (-2.45, 5.8), (-1.3, 5.6)]
NOSE = [(0.0, 3.7), (0.0, 2.6), (0.0, 1.5), (0.0, 0.4), (-1.25, -1.1), (-0.62, -1.25), (0.0, -1.35)]


class ProceduralHead(DenseHead):
    """See the module; ``shape_names`` says what each shape coefficient does."""

    name = "procedural"
    shape_names = motion.SHAPE_NAMES

    def __init__(self) -> None:
        super().__init__(_arrays())


@functools.lru_cache(maxsize=1)
def _arrays() -> HeadArrays:
    skin, mesh = build.skin(), build.Mesh()
    mesh.add("skin", skin.points, _skin_uv(skin.plane), skin.triangles, Region.SKIN)
    for number, side in enumerate((1, -1)):
        name, region = ("left", Region.EYE_LEFT) if side > 0 else ("right", Region.EYE_RIGHT)
        points, uv, triangles = build.eyeball(side)
        mesh.add(f"eye_{name}", points, _cell(uv, 0.0, 0.25), triangles, region)
        mesh.add(f"rim_{name}", *_lid_rim(skin, side), Region.SKIN)
        mesh.add(f"ear_{name}", *_ear(side, 0.80 + 0.1 * number), Region.EAR_LEFT if side > 0 else Region.EAR_RIGHT)
    for name in ("upper", "lower"):
        rings = skin.mouth_upper if name == "upper" else skin.mouth_lower
        mesh.add(f"mouth_{name}", *_mouth_sheet(skin.points[rings[0]], name == "upper"), Region.MOUTH_INTERIOR)
        mesh.add(f"teeth_{name}", *_teeth(name == "upper"), Region.TEETH)
    return _assemble(mesh, skin)


def _cell(uv: Array, left: float, width: float) -> Array:
    """Unit-square uv → one cell of the strip of small parts at the foot of the atlas."""
    return np.stack([left + width * uv[:, 0], SKIN_BOTTOM + 0.01 + (0.99 - SKIN_BOTTOM) * uv[:, 1]], axis=1)


def _skin_uv(plane: Array) -> Array:
    """Plane → atlas; the face gets most of the texels."""
    edge = np.pi * build.UNROLL + 1e-6
    across = PchipInterpolator([-edge, -8.5, 0.0, 8.5, edge], [0.005, 0.20, 0.5, 0.80, 0.995])
    down = PchipInterpolator([-19.5, -9.5, 7.5, 14.4], [SKIN_BOTTOM - 0.005, 0.64, 0.12, 0.005])
    return np.stack([across(plane[:, 0]), down(plane[:, 1])], axis=1)


def _lid_rim(skin: build.Skin, side: int) -> tuple[Array, Array, Ints]:
    """A strip from the edge of the lids back into the eyeball: the lids' thickness."""
    edge = skin.points[skin.eye_rings[side][0]]
    centre = motion.eye_centre(side)
    away = edge - centre
    sunk = centre + away * (0.93 * build.EYE_RADIUS / np.linalg.norm(away, axis=1, keepdims=True))
    points = np.concatenate([edge, sunk])
    points = np.concatenate([points[: len(edge)], points[:1], points[len(edge) :], points[len(edge) : len(edge) + 1]])
    triangles = build.grid_triangles(2, len(edge) + 1)
    uv = np.tile(_skin_uv(skin.plane[np.append(skin.eye_rings[side][0], skin.eye_rings[side][0][0])]), (2, 1))
    return points, uv, triangles if side > 0 else triangles[:, ::-1]


def _ear(side: int, left: float) -> tuple[Array, Array, Ints]:
    """A flattened, tilted bowl that stands off the skull."""
    rows, columns = 9, 15
    ring, turn = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    size = np.sin(0.5 * np.pi * np.minimum(ring * 1.6, 1.0))
    height = np.where(ring < 0.62, -0.30 + 0.55 * (ring / 0.62) ** 2, 0.25 - 1.1 * (ring - 0.62) / 0.38)
    lobe = 1 - 0.22 * np.clip(-np.sin(turn), 0, 1)
    local = np.stack([height, 3.05 * size * np.sin(turn), 1.55 * size * lobe * np.cos(turn)], axis=-1).reshape(-1, 3)
    tilt, flare = np.radians(14), np.radians(24)
    y, z = (
        local[:, 1] * np.cos(tilt) + local[:, 2] * np.sin(tilt) * -1,
        local[:, 1] * np.sin(tilt) * -1 + local[:, 2] * np.cos(tilt),
    )
    x = local[:, 0] * np.cos(flare) - z * np.sin(flare)
    z = local[:, 0] * np.sin(flare) + z * np.cos(flare)
    points = np.stack([side * (7.75 + x), 1.4 + y, -0.6 + z], axis=1)
    uv = np.stack([0.5 + 0.45 * ring * np.cos(turn), 0.5 - 0.45 * ring * np.sin(turn)], axis=-1).reshape(-1, 2)
    triangles = build.grid_triangles(rows, columns)
    return points, _cell(uv, left, 0.1), triangles[:, ::-1] if side > 0 else triangles


MOUTH_ROWS = ((0.0, 0.0, 1.0), (0.55, 0.10, 0.9), (0.75, 0.85, 0.5), (1.7, 1.15, 0.2), (4.2, 0.9, 0.0), (6.5, 0.0, 0.0))
"""Depth behind the lips, height above the line between them, share of the lips' motion: front to back."""


def _mouth_sheet(line: Array, upper: bool) -> tuple[Array, Array, Ints]:
    sign = 1.0 if upper else -1.0
    rows = []
    for depth, height, _ in MOUTH_ROWS:
        narrow = 1 - 0.05 * depth
        ends = np.clip(1 - (line[:, 0] / line[-1, 0]) ** 4, 0, 1)
        z = line[:, 2] - depth
        rows.append(np.stack([line[:, 0] * narrow, line[:, 1] + sign * height * ends, z], axis=1))
    points = np.concatenate(rows)
    u, v = np.meshgrid(np.linspace(0.02, 0.98, len(line)), np.linspace(0.04, 0.48, len(MOUTH_ROWS)))
    uv = np.stack([u.ravel(), v.ravel() if upper else 1 - v.ravel()], axis=1)
    triangles = build.grid_triangles(len(MOUTH_ROWS), len(line))
    return points, _cell(uv, 0.26, 0.25), triangles if upper else triangles[:, ::-1]


def _teeth(upper: bool) -> tuple[Array, Array, Ints]:
    x = np.linspace(-2.15, 2.15, 29)
    front = 10.75 - 0.36 * x**2 if upper else 10.55 - 0.40 * x**2
    tooth = 0.05 * np.abs(np.sin(np.pi * x / 0.62))  # each tooth is a little round
    top, bottom = (-2.65, -3.72) if upper else (-3.42, -4.45)
    rows = []
    for t, back in ((0.0, -0.15), (0.25, 0.0), (0.7, 0.02), (1.0, -0.06), (1.0, -0.5)):
        part = t if upper else 1 - t
        edge = 0.04 * np.abs(np.sin(np.pi * x / 0.62)) * (t == 1.0) * (-1 if upper else 1)
        rows.append(np.stack([x, top + (bottom - top) * part + edge, front + back + tooth], axis=1))
    u, v = np.meshgrid(np.linspace(0.02, 0.98, len(x)), np.linspace(0.04, 0.46, len(rows)))
    uv = np.stack([u.ravel(), v.ravel() if upper else 1 - v.ravel()], axis=1)
    triangles = build.grid_triangles(len(rows), len(x))
    return np.concatenate(rows), _cell(uv, 0.52, 0.10), triangles if upper else triangles[:, ::-1]


def _assemble(mesh: build.Mesh, skin: build.Skin) -> HeadArrays:
    points, triangles = np.concatenate(mesh.points), np.concatenate(mesh.triangles)
    uv, regions = np.concatenate(mesh.uv), np.concatenate(mesh.regions)
    body = _body(mesh, skin, points)
    eye = np.zeros(len(points), dtype=np.int64)
    for number, name in enumerate(("left", "right"), start=1):
        eye[mesh.parts[f"eye_{name}"]] = number
    landmarks = _landmark_vertices(skin)
    bones = bone_weights(points, PIVOTS)
    bones[eye > 0] = (0, 0, 1)
    at = points.copy()
    for number, side in ((1, 1), (2, -1)):
        at[eye == number] = motion.eye_centre(side)
    regions = label_skin(points, triangles, regions, points[landmarks])
    contour = contour_candidates(points, triangles[regions == Region.SKIN], points[landmarks])
    lids = np.where((body.lid != 0) & (np.arange(len(points)) < len(skin.points)), np.where(body.lid > 0, 1, 2), 0)
    return HeadArrays(
        template=points,
        triangles=triangles,
        uv=uv,
        uv_triangles=triangles,
        regions=regions,
        shape_directions=motion.shape_directions(points, at, 1 - bones[:, 2]).astype(np.float32),
        expression_directions=motion.expression_directions(body).astype(np.float32),
        expression_names=np.array(motion.EXPRESSION_NAMES),
        landmark_vertices=landmarks,
        contour_vertices=contour.vertices,
        contour_weights=contour.weights,
        contour_outward=contour.outward,
        bone_weights=bones,
        pivots=PIVOTS,
        eye_of_vertex=eye,
        lid_of_vertex=lids,
        lid_gap=np.where(lids > 0, LID_GAP, 0.0),
        eye_centres=np.stack([motion.eye_centre(side) for side in (1, -1)]),
        eye_radius=np.full(2, build.EYE_RADIUS),
        cornea=np.array(build.CORNEA),
    )


def _body(mesh: build.Mesh, skin: build.Skin, points: Array) -> motion.Body:
    count, size = len(skin.points), len(points)
    extra = np.zeros(size)
    extra[skin.mouth_lower[:, 1:-1]], extra[skin.mouth_upper[:, 1:-1]] = 0.06, -0.06
    below = motion.below_lips(points, extra)
    soft, anchor, jaw = np.zeros(size), points.copy(), np.zeros(size)
    soft[:count] = 1.0
    jaw[:count] = motion.jaw_weight(points[:count], below[:count])
    lid, scale, upper = np.zeros(size), np.full(size, 9.0), np.zeros(size, dtype=bool)
    for name, side in (("left", 1), ("right", -1)):
        rings = skin.eye_rings[side]
        half = rings.shape[1] // 2
        lid[rings], scale[rings], upper[rings[:, :half]] = side, np.array(build.EYE_SCALES)[:, None], True
        rim = np.arange(size)[mesh.parts[f"rim_{name}"]].reshape(2, -1)
        edge = np.append(rings[0], rings[0][0])
        lid[rim], scale[rim], upper[rim] = side, 1.0, upper[edge]
        soft[rim] = 1.0
        anchor[rim] = points[edge]
    for name in ("upper", "lower"):
        line = skin.mouth_upper[0] if name == "upper" else skin.mouth_lower[0]
        sheet = np.arange(size)[mesh.parts[f"mouth_{name}"]].reshape(len(MOUTH_ROWS), -1)
        share = np.array([row[2] for row in MOUTH_ROWS])[:, None]
        rigid = 0.0 if name == "upper" else 1.0
        soft[sheet], anchor[sheet] = share, points[line][None]
        below[sheet] = below[line][None]
        middle = np.clip(
            1 - (points[line, 0] / points[line[-1], 0]) ** 4, 0, 1
        )  # the sheets stay joined at the corners
        deep = middle * rigid + (1 - middle) * jaw[line]
        jaw[sheet] = share * jaw[line][None] + (1 - share) * deep[None]
        jaw[sheet[-1]] = 0.5
        jaw[mesh.parts[f"teeth_{name}"]] = rigid
    return motion.Body(points, below, jaw, soft, anchor, lid, scale, upper)


def _landmark_vertices(skin: build.Skin) -> Ints:
    """The skin vertex nearest to each of the 68 points, in the frontal view."""
    mirrored = [(-x, y) for x, y in CONTOUR[-2::-1]]
    brow_left = [(-x, y) for x, y in BROW[::-1]]
    nose = NOSE + [(-x, y) for x, y in NOSE[5:3:-1]]
    wanted = np.array(CONTOUR + mirrored + BROW + brow_left + nose)
    front = np.flatnonzero(skin.points[:, 2] > 2.5)
    found = [front[np.argmin(((skin.points[front, :2] - w) ** 2).sum(axis=1))] for w in wanted]
    return np.array([*found, *_eye_landmarks(skin), *_mouth_landmarks(skin)], dtype=np.int64)


def _eye_landmarks(skin: build.Skin) -> list[int]:
    """36-41 the person's right eye from its outer corner over the top; 42-47 the left from its inner corner."""
    ring = {side: skin.eye_rings[side][0] for side in (1, -1)}
    n = len(ring[1])
    places = [round(k * n) for k in (0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)]  # from the inner corner over the top
    inner_first = [int(ring[1][p]) for p in places]
    other = [int(ring[-1][p]) for p in places]
    right = [other[3], other[2], other[1], other[0], other[5], other[4]]
    return right + inner_first


def _mouth_landmarks(skin: build.Skin) -> list[int]:
    def nearest(ring: Ints, x: float) -> int:
        return int(ring[np.argmin(np.abs(skin.points[ring, 0] - x))])

    red = build.LIP_STEPS.index(1.0)
    outer = [nearest(skin.mouth_upper[red], x) for x in (-2.5, -1.7, -0.73, 0.0, 0.73, 1.7, 2.5)]
    outer += [nearest(skin.mouth_lower[red], x) for x in (1.7, 0.9, 0.0, -0.9, -1.7)]
    inner = [nearest(skin.mouth_upper[0], x) for x in (-2.2, -0.9, 0.0, 0.9, 2.2)]
    return outer + inner + [nearest(skin.mouth_lower[0], x) for x in (0.9, 0.0, -0.9)]
