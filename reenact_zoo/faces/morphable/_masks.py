"""Where each pigment lies on a head at rest: soft masks in [0, 1] from positions, regions and the 68 landmarks.

Lengths are in units of the head itself (``unit`` = a tenth of the distance between the outer eye corners, about
0.9 cm), so that the same drawing fits every head model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from reenact_zoo.faces.morphable._atlas import TexelMap, spots, value_noise
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]


def step(x: Array, low: float, high: float) -> Array:
    """Smooth step: 0 below ``low``, 1 above ``high`` (or the reverse where low > high)."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def to_polyline(points: Array, line: Array) -> tuple[Array, Array]:
    """Distance (…,) of points (…, D) to a polyline (n, D), and where along it in [0, 1] the nearest point lies."""
    nearest = np.full(points.shape[:-1], np.inf)
    along = np.zeros(points.shape[:-1])
    for i, (a, b) in enumerate(itertools.pairwise(line)):
        away = points - a
        t = np.clip((away @ (b - a)) / max(float((b - a) @ (b - a)), 1e-9), 0, 1)
        away -= t[..., None] * (b - a)
        distance = _length(away)
        closer = distance < nearest
        nearest = np.where(closer, distance, nearest)
        along = np.where(closer, (i + t) / (len(line) - 1), along)
    return nearest, along


def _length(vectors: Array) -> Array:
    """``np.linalg.norm`` over the last axis, which is short: column by column is several times faster."""
    squares = [vectors[..., k] ** 2 for k in range(vectors.shape[-1])]
    return np.sqrt(squares[0] + squares[1] if len(squares) == 2 else squares[0] + (squares[1] + squares[2]))


def smooth_line(points: Array, count: int = 24) -> Array:
    """Catmull-Rom curve through points (n, D) → (count, D)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    at = np.linspace(0, len(points) - 1, count)
    i = np.minimum(at.astype(int), len(points) - 2)
    t = (at - i)[:, None]
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)


def only_where(
    chosen: NDArray[np.bool_], draw: Callable[..., dict[str, Array]], p: Array, *others: Any, skin: Array
) -> dict[str, Array]:
    """Masks of ``draw(p, *others, skin)`` on the chosen texels, 0 elsewhere: most of the atlas is no face."""
    masks = draw(p[chosen], *others, skin[chosen])
    result = {name: np.zeros(p.shape[:-1]) for name in masks}
    for name, values in masks.items():
        result[name][chosen] = values
    return result


def face_texels(p: Array, landmarks: Array, skin: Array) -> NDArray[np.bool_]:
    """Skin from below the chin to the hairline, in front of the ears."""
    unit = _unit(landmarks)
    front = (p[..., 2] > landmarks[36, 2] - 5 * unit) & (p[..., 1] > landmarks[8, 1] - unit)
    return front & (p[..., 1] < landmarks[27, 1] + 8 * unit) & (skin > 0)


def brow_distance(position: Array, landmarks: Array, side: str) -> tuple[Array, Array]:
    """Signed fit of the brow on one side: below 1 inside (…,), and the place along it from the nose outwards."""
    indices = [22, 23, 24, 25, 26] if side == "left" else [21, 20, 19, 18, 17]
    line = smooth_line(landmarks[indices][:, :2])
    unit = _unit(landmarks)
    line[:, 1] -= 0.10 * unit  # the landmarks run along the upper edge
    distance, along = to_polyline(position[..., :2], line)
    half = unit * (0.42 - 0.24 * along**2)  # tapers towards the temple
    return np.where(position[..., 2] > landmarks[indices][:, 2].min() - 1.5 * unit, distance / half, np.inf), along


def _unit(landmarks: Array) -> float:
    return float(np.linalg.norm(landmarks[45] - landmarks[36])) / 10


def collar_height(p: Array, landmarks: Array) -> Array:
    """Height (…,) in cm above the plane of a round collar, which lies lower at the throat than at the nape."""
    unit, chin = _unit(landmarks), landmarks[8]
    return p[..., 1] - (chin[1] - 4.1 * unit - 0.34 * (p[..., 2] + 3 * unit))


def face_masks(texels: TexelMap, landmarks: Array, eye_centres: Array, eye_radius: Array) -> dict[str, Array]:
    """Every mask ``Painter`` composes but those of brows and lines, each (T, T); noises are signed."""
    p, region, unit = texels.position, texels.region, _unit(landmarks)

    def of(*kinds: Region) -> Array:
        return np.isin(region, kinds).astype(np.float64)

    eyes, inside = of(Region.EYE_LEFT, Region.EYE_RIGHT), of(Region.TEETH, Region.MOUTH_INTERIOR)
    below = step(collar_height(p, landmarks) / unit, 0.08, -0.08)
    cloth = (1 - eyes) * (1 - inside) * below
    skin = (1 - eyes) * (1 - inside) * (1 - cloth)
    ears = gaussian_filter(of(Region.EAR_LEFT, Region.EAR_RIGHT), len(p) / 200)
    masks = {"skin": skin}
    masks |= _skin_masks(p, landmarks, unit, skin)
    face = face_texels(p, landmarks, skin)
    for draw in (_face_masks, _lid_masks, _lip_masks):
        masks |= only_where(face, draw, p, landmarks, unit, skin=skin)
    masks |= _hair_masks(p, landmarks, unit, skin * (1 - ears))
    masks |= _mouth_masks(texels, landmarks, unit)
    masks |= _eye_masks(texels, eye_centres, eye_radius)
    masks["clothes"] = cloth
    masks["weave"] = cloth * (0.5 + 0.5 * value_noise(p * (1, 0.25, 1), 0.25 * unit, 7))
    return masks


def _blob(p: Array, centre: Array, radius: float) -> Array:
    return np.exp(-(((p - centre) ** 2).sum(axis=-1)) / radius**2)


def _skin_masks(p: Array, landmarks: Array, unit: float, skin: Array) -> dict[str, Array]:
    return {
        "fine": skin * value_noise(p, 0.22 * unit, 1),
        "coarse": skin * (value_noise(p, 1.5 * unit, 2) + 0.5 * value_noise(p, 0.6 * unit, 5)),
        "blood": skin * (0.7 * value_noise(p, 1.1 * unit, 8) + 0.6 * value_noise(p, 0.42 * unit, 9)),
    }


def _face_masks(p: Array, landmarks: Array, unit: float, skin: Array) -> dict[str, Array]:
    cheeks = [0.5 * (landmarks[a] + landmarks[b]) for a, b in ((41, 48), (46, 54))]
    blush = sum(_blob(p, c, 2.6 * unit) for c in cheeks) + 0.8 * _blob(p, landmarks[30], 1.3 * unit)
    eye_middles = [landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)]
    sockets = [m - np.array([0, 0.35 * unit, 0]) for m in eye_middles]
    around = sum(_blob(p * (1, 1.25, 1), m * (1, 1.25, 1), 1.9 * unit) for m in sockets)
    middle = landmarks[27:36].mean(axis=0)
    forehead = landmarks[27] + (0, 4.0 * unit, 0)
    fine = value_noise(p, 0.22 * unit, 1)
    face = _blob(p * (1, 0.8, 0), middle * (1, 0.8, 0), 6.5 * unit) * step(p[..., 2], 0.0, 4 * unit)
    return {
        "pores": skin * face * (0.6 * fine + 0.4 * value_noise(p, 0.38 * unit, 4)),
        "freckles": skin * spots(p, 0.34 * unit, 3) * _blob(p, middle, 5.5 * unit),
        "forehead": skin * _blob(p, forehead, 4.5 * unit),
        "blush": 0.5 * skin * np.clip(blush, 0, 1),
        "around_eyes": skin * np.clip(around, 0, 1),
        "creases": skin * _creases(p, landmarks, unit),
        "lashes": skin * _lashes(p, landmarks, unit),
        **{f"mole_{k}": skin * mole for k, mole in enumerate(_moles(p, landmarks, unit))},
    }


def _moles(p: Array, landmarks: Array, unit: float) -> list[Array]:
    """Dark round dots of 2 to 5 mm at places where they stand out: (triangle of landmarks, radius in units)."""
    places = (
        ((54, 46, 14), 0.20),
        ((41, 48, 31), 0.16),
        ((33, 51, 53), 0.17),
        ((57, 8, 10), 0.20),
        ((21, 22, 19), 0.15),
        ((48, 4, 6), 0.22),
        ((16, 45, 14), 0.18),
        ((31, 41, 39), 0.13),
    )
    moles = []
    for corners, radius in places:
        away = (p[..., :2] - landmarks[list(corners), :2].mean(axis=0)) / (radius * unit)
        front = p[..., 2] > landmarks[list(corners), 2].min() - 1.5 * unit
        moles.append(front * step((away**2).sum(axis=-1), 1.3, 0.5))
    return moles


def _lid_masks(p: Array, landmarks: Array, unit: float, skin: Array) -> dict[str, Array]:
    """Upper lids up to their fold and beyond, the line along the lashes, the red inner corners."""
    lids, rim, corners = np.zeros(p.shape[:-1]), np.zeros(p.shape[:-1]), np.zeros(p.shape[:-1])
    for upper, inner in (((36, 37, 38, 39), 39), ((45, 44, 43, 42), 42)):
        line = smooth_line(landmarks[list(upper)])
        distance, along = to_polyline(p[..., :2], line[:, :2])
        lids = np.maximum(lids, _above(p, line) * step(distance / unit, 1.0, 0.25) * (0.35 + 0.65 * (1 - along)))
        rim = np.maximum(rim, step(distance / unit, 0.24, 0.08))
        corners = np.maximum(corners, _blob(p, landmarks[inner], 0.34 * unit))
    front = skin * step(p[..., 2], landmarks[36, 2] - 1.5 * unit, landmarks[36, 2] - 0.5 * unit)
    return {"lids": front * lids, "liner": front * rim, "caruncle": front * corners}


def _above(p: Array, line: Array) -> Array:
    order = np.argsort(line[:, 0])
    return (p[..., 1] > np.interp(p[..., 0], line[order, 0], line[order, 1])).astype(np.float64)


def _creases(p: Array, landmarks: Array, unit: float) -> Array:
    """The fold of the upper lids and the nostrils, darker because light does not reach them."""
    total = np.zeros(p.shape[:-1])
    for corner in (36, 42):
        lid = smooth_line(landmarks[corner : corner + 4])
        fold, along = to_polyline(p[..., :2], lid[:, :2] + (0, 0.38 * unit))
        total += 0.45 * np.exp(-((fold / (0.10 * unit)) ** 2)) * np.sin(np.pi * along) ** 0.5
    for wing, base in ((31, 32), (35, 34)):
        nostril = 0.35 * landmarks[wing] + 0.65 * landmarks[base] + (0, 0.18 * unit, -0.1 * unit)
        total += _blob(p * (1, 1.5, 1), nostril * (1, 1.5, 1), 0.42 * unit)
    front = step(p[..., 2], landmarks[36, 2] - 1.5 * unit, landmarks[36, 2] - 0.5 * unit)
    return np.clip(total, 0, 1) * front


def _hair_masks(p: Array, landmarks: Array, unit: float, skin: Array) -> dict[str, Array]:
    grain = 0.5 + 0.5 * value_noise(p, 0.13 * unit, 13)
    dots = 0.5 + 0.5 * value_noise(p, 0.19 * unit, 14)
    mouth = landmarks[48:60].mean(axis=0)
    chin = step(np.abs(p[..., 0]), 3.4 * unit, 2.6 * unit) * step(p[..., 1], mouth[1] + unit, mouth[1])
    lip = step(p[..., 1], mouth[1] - 0.2 * unit, mouth[1] + 0.2 * unit) * step(
        np.abs(p[..., 0]), 3.4 * unit, 2.6 * unit
    )
    return {
        "scalp": skin * scalp(p, landmarks, softness=0.7) * (0.82 + 0.18 * grain),
        "beard": skin * _beard(p, landmarks, unit) * (0.50 + 0.50 * dots),
        "beard_chin": np.maximum(chin, lip),
        "beard_lip": lip,
    }


def _lashes(p: Array, landmarks: Array, unit: float) -> Array:
    """Dark rims of the lids, stronger above: what lashes look like from a conversation's distance."""
    total = np.zeros(p.shape[:-1])
    for upper, lower in (((36, 37, 38, 39), (36, 41, 40, 39)), ((42, 43, 44, 45), (42, 47, 46, 45))):
        for corners, strength, width in ((upper, 1.0, 0.18), (lower, 0.5, 0.11)):
            distance, along = to_polyline(p, smooth_line(landmarks[list(corners)]))
            total = np.maximum(
                total, strength * np.exp(-((distance / (width * unit)) ** 2)) * (0.4 + 0.6 * np.sin(np.pi * along))
            )
    return total


def scalp(p: Array, landmarks: Array, softness: float) -> Array:
    """Where hair grows on the skull: above a hairline that drops from the forehead to the temples and the nape."""
    unit = _unit(landmarks)
    middle, brow = landmarks[27], landmarks[17:27, 1].mean()
    x, y, z = np.moveaxis(p, -1, 0)
    depth = (middle[2] - z) / unit  # 0 at the root of the nose, about 20 at the back of the head
    wave = 0.35 * value_noise(p, 1.6 * unit, 17)
    forehead = brow + unit * (
        5.8 - 0.25 * np.exp(-((x / (1.5 * unit)) ** 2)) - 0.6 * step(np.abs(x), 3.5 * unit, 6.5 * unit) + wave
    )
    temple = brow + unit * (0.2 + wave)
    nape = landmarks[2, 1] - unit * 1.0
    line = forehead + (temple - forehead) * step(depth, 5.2, 7.0)
    line = line + (landmarks[0, 1] - 0.5 * unit - temple) * step(depth, 8.2, 9.2)
    line = line + (nape - landmarks[0, 1] + 0.5 * unit) * step(depth, 11.5, 14.0)
    return step((y - line) / unit, -softness, softness)


def _beard(p: Array, landmarks: Array, unit: float) -> Array:
    y, nose, mouth, chin = p[..., 1], landmarks[33, 1], landmarks[48:60].mean(axis=0), landmarks[8, 1]
    low = step(y, chin - 2.2 * unit, chin - 0.3 * unit)
    aside = np.abs(p[..., 0]) / unit
    cheek = mouth[1] + unit * (0.2 + 1.8 * step(aside, 3.2, 6.2) + 3.0 * step(aside, 6.2, 7.8))  # up to the sideburns
    moustache = np.exp(-((p[..., 0] / (2.6 * unit)) ** 4)) * step(y, nose - 0.1 * unit, nose - 0.7 * unit)
    jaw = step(y, cheek + 0.8 * unit, cheek - 0.8 * unit)
    front = step(p[..., 2], landmarks[0, 2] - 0.8 * unit, landmarks[2, 2] + 0.4 * unit)
    return np.clip(np.maximum(jaw, moustache), 0, 1) * low * front


def inside_polygon(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """Whether points (…, 2) lie inside a closed polygon (n, 2), by counting crossings."""
    x, y = points[..., 0], points[..., 1]
    result = np.zeros(points.shape[:-1], dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0)):
        if y0 == y1:
            continue
        result ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return result


def lip_outline(landmarks: Array) -> Array:
    """Closed outline (n, 2) of the red of the lips, frontal view."""
    upper = smooth_line(landmarks[48:55, :2])
    lower = smooth_line(np.concatenate([landmarks[54:60, :2], landmarks[48:49, :2]]))
    return np.concatenate([upper[:-1], lower[:-1]])


def _lip_masks(p: Array, landmarks: Array, unit: float, skin: Array) -> dict[str, Array]:
    outline = lip_outline(landmarks)
    closed = np.concatenate([outline, outline[:1]])
    distance, _ = to_polyline(p[..., :2], closed)
    signed = np.where(inside_polygon(p[..., :2], outline), -distance, distance)
    front = step(p[..., 2], landmarks[48, 2] - 2.0 * unit, landmarks[48, 2] - 1.0 * unit)
    inner = 0.5 * (landmarks[[60, 61, 62, 63, 64]] + landmarks[[60, 67, 66, 65, 64]])
    line, along = to_polyline(p[..., :2], smooth_line(inner[:, :2]))
    return {
        "lips": skin * front * step(signed, 0.12 * unit, -0.14 * unit),
        "lip_furrows": value_noise(p * (1.0, 0.22, 0.4), 0.22 * unit, 19),
        "lip_line": 0.6 * skin * front * np.exp(-((line / (0.09 * unit)) ** 2)) * (0.5 + 0.5 * np.sin(np.pi * along)),
    }


def _mouth_masks(texels: TexelMap, landmarks: Array, unit: float) -> dict[str, Array]:
    p = texels.position
    teeth = (texels.region == Region.TEETH).astype(np.float64)
    inner = (texels.region == Region.MOUTH_INTERIOR).astype(np.float64)
    depth = (landmarks[62, 2] - p[..., 2]) / unit  # light falls off behind the lips
    return {
        "gums": inner,
        "tongue": np.zeros_like(inner),
        "teeth": teeth,
        "cavity": inner * (0.15 + 0.80 * step(depth, 1.0, 7.0)) + teeth * (0.05 + 0.60 * step(depth, 1.5, 6.0)),
    }


def _eye_masks(texels: TexelMap, centres: Array, radius: Array) -> dict[str, Array]:
    """Where the eyeballs are, the angle in degrees from the eye's own axis, and the fibres of the iris."""
    p = texels.position
    eyes = np.isin(texels.region, (Region.EYE_LEFT, Region.EYE_RIGHT)).astype(np.float64)
    side = (texels.region == Region.EYE_RIGHT).astype(int)
    local = p - centres[side]
    lateral = np.linalg.norm(local[..., :2], axis=-1) / radius[side]
    angle = np.degrees(np.arctan2(lateral, local[..., 2] / radius[side]))
    around = np.arctan2(local[..., 1], local[..., 0])
    ring = np.stack([6 * np.cos(around), 6 * np.sin(around), 0.05 * angle], axis=-1)
    vessels = np.stack([4 * np.cos(around), 4 * np.sin(around), 0.04 * angle], axis=-1)
    return {
        "sclera": eyes,
        "veins": eyes * step(angle, 26.0, 62.0) * (0.6 + 0.4 * value_noise(vessels, 0.5, 24)),
        "eye_angle": np.where(eyes > 0, angle, 180.0),
        "iris_rays": eyes * (0.5 + 0.5 * value_noise(ring, 0.7, 23)),
    }
