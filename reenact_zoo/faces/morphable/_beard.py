"""Beards: the skin of jaw, chin and upper lip once more, lifted by the length of the hair where it grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._atlas import value_noise
from reenact_zoo.faces.morphable._masks import inside_polygon, lip_outline, step, to_polyline
from reenact_zoo.faces.morphable._wardrobe import Part
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

BEARDS = (  # name, share
    ("none", 0.80),
    ("full", 0.10),
    ("goatee", 0.05),
    ("moustache", 0.05),
)


def beard(
    body: Array, triangles: Ints, regions: Ints, landmarks: Array, bones: Array, cell: tuple[float, float, float, float]
) -> Part:
    """From the body at rest (V, 3), its triangles, their regions and the vertices' bones (V, 3)."""
    skin = triangles[np.isin(regions, (Region.SKIN, Region.NECK))]
    grows = _density(body, landmarks, "full") > 0.02
    faces = skin[grows[skin].any(axis=1)]
    used, local = np.unique(faces, return_inverse=True)
    points, normal = body[used], _normals(body, triangles)[used]
    sizes = []
    for length in (0.22, 0.75):
        styles = []
        for name, _ in BEARDS:
            density = _density(points, landmarks, name)
            tufts = (
                1
                + 0.35 * value_noise(points * (1.0, 0.45, 1.0), 0.55, 71)
                + 0.35 * value_noise(points * (1, 0.5, 1), 0.22, 75)
            )
            below = 1 + 0.5 * step(points[:, 1], landmarks[57, 1] - 1.0, landmarks[8, 1] - 1.0)
            height = -0.10 + (length * tufts * below + 0.10) * density
            down = np.stack([0 * height, -0.25 * np.maximum(height, 0), 0 * height], axis=1)
            styles.append(points + height[:, None] * normal + down)
        sizes.append(styles)
    low, high = np.array(sizes[0]), np.array(sizes[1])
    count = len(BEARDS)
    u = 0.5 + 0.45 * points[:, 0] / np.abs(points[:, 0]).max()
    v = 0.25 + 0.5 * (points[:, 1].max() - points[:, 1]) / np.ptp(points[:, 1])
    return Part(
        name="beard",
        low=low,
        high=high,
        shares=[share for _, share in BEARDS],
        worn=[name != "none" for name, _ in BEARDS],
        anchors=np.tile(used[None, :, None], (count, 1, 1)),
        weights=np.ones((count, len(used), 1)),
        bones=np.tile(bones[used][None], (count, 1, 1)),
        follows_expression=True,
        triangles=local.reshape(-1, 3),
        uv=np.stack([cell[0] + u * cell[2], cell[1] + v * cell[3]], axis=1),
        region=Region.SKIN,
    )


def _density(p: Array, landmarks: Array, name: str) -> Array:
    """(…,) share of the full length."""
    if name == "none":
        return np.zeros(p.shape[:-1])
    unit = float(np.linalg.norm(landmarks[45] - landmarks[36])) / 10
    mouth, chin, nose = landmarks[48:60].mean(axis=0), landmarks[8], landmarks[33]
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    outline = lip_outline(landmarks)
    distance, _ = to_polyline(p[..., :2], np.concatenate([outline, outline[:1]]))
    free = np.where(inside_polygon(p[..., :2], outline), 0.0, step(distance / unit, 0.10, 0.55))
    ragged = unit * (0.5 * value_noise(p, 0.7 * unit, 73) + 0.5 * value_noise(p * (1, 0.5, 1), 0.25 * unit, 77))
    front = step(z, landmarks[2, 2] - 3.2 * unit, landmarks[2, 2] - 1.8 * unit)
    top = nose[1] - unit * (0.45 + 0.9 * (x / (3.0 * unit)) ** 2) + 0.4 * ragged
    lip = step(x, 3.8 * unit, 2.4 * unit) * step(y, top + 0.3 * unit, top - 0.5 * unit)
    lip = lip * step(y, mouth[1] - 0.8 * unit, mouth[1]) * step(z, landmarks[48, 2] - 1.5 * unit, landmarks[48, 2])
    edge = (
        mouth[1]
        + unit * (-0.4 + 2.6 * step(x, 3.4 * unit, 7.2 * unit) + 3.6 * step(x, 6.7 * unit, 7.8 * unit))
        + ragged
    )
    jaw = step(y, edge + 0.6 * unit, edge - 1.5 * unit) * step(y, chin[1] - 3.4 * unit, chin[1] - 1.0 * unit)
    sides = step(y, landmarks[0, 1] + 0.5 * unit, landmarks[1, 1])
    jaw = jaw * (0.30 + 0.70 * step(x, 7.4 * unit, 4.0 * unit)) * sides
    if name == "moustache":
        jaw = 0 * jaw
    elif name == "goatee":
        jaw = jaw * step(x + ragged, 3.6 * unit, 2.4 * unit)
    return np.clip(np.maximum(jaw, 0.75 * lip), 0, 1) * free * front


def _normals(points: Array, triangles: Ints) -> Array:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    total = np.zeros_like(points)
    for k in range(3):
        np.add.at(total, triangles[:, k], np.cross(b - a, c - a))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
