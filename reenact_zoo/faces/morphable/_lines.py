"""Lines of age and of habit: where they run over a head at rest, how dark and how deep they are in a person."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.morphable._atlas import value_noise
from reenact_zoo.faces.morphable._masks import smooth_line, step, to_polyline
from reenact_zoo.faces.morphable._palette import rise

Array = NDArray[np.float64]

# family: coefficient, age quantile at which the lines begin, darkness, depth in units
FAMILIES = {
    "forehead": ("lines_forehead", 0.45, 0.20, 0.035),
    "frown": ("lines_forehead", 0.55, 0.22, 0.035),
    "crow": ("lines_eyes", 0.45, 0.22, 0.030),
    "bags": ("lines_eyes", 0.35, 0.22, 0.050),
    "nasolabial": ("lines_mouth", 0.20, 0.24, 0.085),
    "marionette": ("lines_mouth", 0.60, 0.22, 0.060),
}


def line_fields(p: Array, landmarks: Array, unit: float, skin: Array) -> dict[str, Array]:
    """One mask (T, T) per family: 1 in the middle of its lines."""
    wobble = np.stack([value_noise(p, 1.3 * unit, 41 + k) for k in range(2)], axis=-1)
    flat = p[..., :2] + 0.10 * unit * wobble
    front = skin * step(p[..., 2], landmarks[36, 2] - 2.2 * unit, landmarks[36, 2] - 1.0 * unit)
    families = {
        "forehead": _forehead(landmarks, unit),
        "frown": _mirrored([[(0.62, 0.25), (0.45, 1.0), (0.5, 1.7)]], landmarks[27, :2] + (0, 1.4 * unit), unit),
        "crow": _crow(landmarks, unit),
        "bags": _bags(landmarks, unit),
        "nasolabial": _nasolabial(landmarks, unit),
        "marionette": _marionette(landmarks, unit),
    }
    widths = {"nasolabial": 0.30, "bags": 0.24, "marionette": 0.22}
    return {
        f"line_{name}": front * _drawn(flat, lines, widths.get(name, 0.15) * unit) for name, lines in families.items()
    }


def _drawn(points: Array, lines: list[Array], width: float) -> Array:
    total = np.zeros(points.shape[:-1])
    for line in lines:
        near = ((points > line.min(axis=0) - 3 * width) & (points < line.max(axis=0) + 3 * width)).all(axis=-1)
        distance, along = to_polyline(points[near], smooth_line(line, 14))
        fade = np.sin(np.pi * np.clip(0.06 + 0.88 * along, 0, 1)) ** 0.6
        total[near] = np.maximum(total[near], np.exp(-((distance / width) ** 2)) * fade)
    return total


def _mirrored(shapes: list[list[tuple[float, float]]], origin: Array, unit: float) -> list[Array]:
    """Lines given in units from an origin on the middle of the face, and their mirror images."""
    lines = [origin + unit * np.array(shape) for shape in shapes]
    return lines + [np.array([[-1.0, 1.0]]) * (line - (origin[0], 0)) + (origin[0], 0) for line in lines]


def _forehead(landmarks: Array, unit: float) -> list[Array]:
    brow = landmarks[17:27, 1].mean()
    x = unit * np.array([-4.6, -3.0, -1.2, 0.0, 1.2, 3.0, 4.6])
    sag = unit * np.array([-0.5, 0.10, 0.05, -0.18, 0.05, 0.10, -0.5])
    return [np.stack([x * k, brow + sag + h * unit], axis=1) for h, k in ((1.5, 0.85), (2.5, 1.0), (3.5, 0.9))]


def _crow(landmarks: Array, unit: float) -> list[Array]:
    corner = np.array([0.0, landmarks[45, 1]])
    outer = landmarks[45, 0] / unit
    fans = [
        [(outer + 0.45, 0.25), (outer + 1.0, 0.55), (outer + 1.6, 1.0)],
        [(outer + 0.5, -0.05), (outer + 1.1, -0.05), (outer + 1.8, 0.10)],
        [(outer + 0.4, -0.40), (outer + 0.9, -0.75), (outer + 1.4, -1.2)],
    ]
    return _mirrored(fans, corner, unit)


def _bags(landmarks: Array, unit: float) -> list[Array]:
    lines = []
    for lower, way in (((42, 47, 46, 45), 1), ((39, 40, 41, 36), -1)):
        lid = landmarks[list(lower), :2]
        drop = np.array([[0.1 * way, -0.55], [0, -1.05], [0, -1.05], [-0.2 * way, -0.7]])
        lines.append(lid + unit * drop)
    return lines


def _nasolabial(landmarks: Array, unit: float) -> list[Array]:
    lines = []
    for wing, corner, way in ((35, 54, 1), (31, 48, -1)):
        top, end = landmarks[wing, :2], landmarks[corner, :2]
        lines.append(
            np.array(
                [
                    top + unit * np.array([0.55 * way, 0.75]),
                    top + unit * np.array([1.05 * way, -0.1]),
                    0.5 * (top + end) + unit * np.array([1.05 * way, 0.0]),
                    end + unit * np.array([0.85 * way, -0.2]),
                ]
            )
        )
    return lines


def _marionette(landmarks: Array, unit: float) -> list[Array]:
    lines = []
    for corner, way in ((54, 1), (48, -1)):
        end = landmarks[corner, :2]
        lines.append(end + unit * np.array([[0.25 * way, -0.25], [0.5 * way, -1.1], [0.45 * way, -2.0]]))
    return lines


def line_strength(t: dict[str, Tensor], family: str) -> Tensor:
    """(B, 1) in [0, 1]: rises with age from the family's beginning, by habit sooner or later."""
    coefficient, begin, _, _ = FAMILIES[family]
    return rise(t["age"] + 0.5 * (t[coefficient] - 0.5), begin, begin + 0.55)
