"""Region labels of the skin's triangles and skinning weights of neck and head, from the head at rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._masks import (
    brow_distance,
    collar_height,
    inside_polygon,
    lip_outline,
    scalp,
    smooth_line,
    step,
)
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def bone_weights(points: Array, pivots: Array) -> Array:
    """(V, 3) weights of torso, neck and head: the neck goes from the collar to a plane under chin and skull."""
    root, top = pivots
    y, z = points[:, 1], points[:, 2]
    under_head = y - (top[1] - 3.7) + 0.45 * z  # the plane falls towards the chin
    head = step(under_head, -2.8, 0.9)
    above_collar = y - (root[1] - 0.6) + 0.27 * z
    free = step(above_collar, -1.8, 2.2)
    free = np.maximum(free, head)
    return np.stack([1 - free, free - head, head], axis=1)


def label_skin(points: Array, triangles: Ints, regions: Ints, landmarks: Array) -> Ints:
    """Refine triangles labelled SKIN into lips, brows, nose, hair, neck and clothes; other labels stay."""
    result = regions.copy()
    skin = np.flatnonzero(regions == Region.SKIN)
    middle = points[triangles[skin]].mean(axis=1)
    label = np.full(len(skin), int(Region.SKIN))
    unit = float(np.linalg.norm(landmarks[45] - landmarks[36])) / 10
    neck, clothes = _neck_and_clothes(middle, landmarks, unit)
    label[neck] = Region.NECK
    label[clothes] = Region.CLOTHES
    label[(scalp(middle, landmarks, softness=0.7) > 0.5) & ~clothes] = Region.HAIR
    label[_nose(middle, landmarks, unit)] = Region.NOSE
    for side, region in (("left", Region.BROW_LEFT), ("right", Region.BROW_RIGHT)):
        fit, _ = brow_distance(middle, landmarks, side)
        label[fit < 1.0] = region
    front = middle[:, 2] > landmarks[48, 2] - 1.2 * unit
    lips = inside_polygon(middle[:, :2], lip_outline(landmarks)) & front
    line = smooth_line(0.5 * (landmarks[[60, 61, 62, 63, 64]] + landmarks[[60, 67, 66, 65, 64]])[:, :2])
    upper = middle[:, 1] > np.interp(middle[:, 0], line[:, 0], line[:, 1])
    label[lips & upper], label[lips & ~upper] = Region.LIPS_UPPER, Region.LIPS_LOWER
    result[skin] = label
    return result


def _neck_and_clothes(p: Array, landmarks: Array, unit: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Below jaw and nape; clothes from a collar that is lowest at the throat."""
    chin, ear = landmarks[8], landmarks[[2, 14]].mean(axis=0)
    depth = np.clip((chin[2] - p[:, 2]) / (chin[2] - ear[2]), 0, None)
    jaw = chin[1] + (ear[1] - chin[1]) * np.minimum(depth, 1.6) ** 1.3
    behind = p[:, 2] < ear[2] - 5 * unit
    neck = (p[:, 1] < jaw - 0.75 * unit) & (p[:, 2] < chin[2] - 1.0 * unit) & (~behind | (p[:, 1] < landmarks[4, 1]))
    return neck, collar_height(p, landmarks) < 0


def _nose(p: Array, landmarks: Array, unit: float) -> NDArray[np.bool_]:
    root, base = landmarks[27], landmarks[33]
    half = np.interp(p[:, 1], [base[1], landmarks[30, 1], root[1]], [1.9 * unit, 1.9 * unit, 0.75 * unit])
    inside = (p[:, 1] < root[1]) & (p[:, 1] > base[1] - 0.25 * unit) & (np.abs(p[:, 0]) < half)
    return inside & (p[:, 2] > landmarks[31, 2] - 1.2 * unit)
