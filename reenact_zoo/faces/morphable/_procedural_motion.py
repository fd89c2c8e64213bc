"""Shape and expression directions of the procedural head: soft pushes on its rest points, a hinged jaw, closing lids.

The 53 expressions carry the names of ICT-FaceKit (those of ARKit, with both sides apart), so that one motion model
drives every head. Numbers are ours: cm at full activation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._masks import step
from reenact_zoo.faces.morphable._procedural_mesh import EYE_CENTRE, EYE_LOWER, EYE_UPPER, LIP_LINE

Array = NDArray[np.float64]

JAW_HINGE = np.array([0.0, -0.4, 2.0])
JAW_OPEN_DEG = 17.0

Push = tuple[str, float, float, float, float, tuple[float, float, float]]
"""(where: all, upper or lower lip side; centre x, y; radii x, y; displacement): a Gaussian in the frontal plane."""

# One entry per expression that has a left and a right form; written for the person's left (x > 0).
SIDED: dict[str, list[Push]] = {
    "browDown": [("all", 3.0, 5.8, 2.2, 1.0, (-0.15, -0.55, 0.0)), ("all", 1.2, 5.6, 0.8, 0.9, (-0.15, -0.2, 0.1))],
    "browInnerUp": [("all", 1.4, 6.0, 1.3, 1.1, (0.05, 0.75, 0.0))],
    "browOuterUp": [("all", 4.5, 5.9, 1.6, 1.1, (0.0, 0.75, 0.0))],
    "cheekPuff": [("all", 4.2, -2.2, 1.9, 1.9, (0.4, 0.0, 0.6))],
    "cheekSquint": [("all", 3.8, 1.4, 1.7, 1.0, (0.0, 0.5, 0.25))],
    "eyeLookIn": [("lid", 3.15, 3.5, 1.2, 0.8, (-0.10, 0.0, 0.0))],
    "eyeLookOut": [("lid", 3.15, 3.5, 1.2, 0.8, (0.10, 0.0, 0.0))],
    "mouthDimple": [("all", 2.5, -3.5, 0.9, 0.9, (0.40, 0.08, -0.45))],
    "mouthFrown": [("all", 2.5, -3.6, 1.1, 1.0, (0.05, -0.70, -0.1))],
    "mouthLowerDown": [("lower", 1.1, -4.0, 1.1, 0.9, (0.0, -0.65, 0.0))],
    "mouthPress": [
        ("upper", 1.3, -3.1, 1.2, 0.5, (0.0, -0.10, -0.22)),
        ("lower", 1.3, -3.9, 1.2, 0.5, (0.0, 0.15, -0.22)),
    ],
    "mouthSmile": [("all", 2.5, -3.5, 1.3, 1.2, (0.60, 0.70, -0.45)), ("all", 3.9, -0.4, 1.6, 1.3, (0.10, 0.30, 0.30))],
    "mouthStretch": [("all", 2.5, -3.5, 1.2, 1.2, (0.75, -0.25, -0.45))],
    "mouthUpperUp": [("upper", 1.1, -2.8, 1.1, 0.9, (0.0, 0.55, 0.05))],
    "noseSneer": [("all", 1.3, -0.3, 1.0, 1.0, (0.12, 0.42, 0.0)), ("upper", 1.5, -2.4, 0.9, 0.8, (0.0, 0.25, 0.0))],
}
SINGLE: dict[str, list[Push]] = {
    "mouthFunnel": [
        ("upper", 0.0, -2.9, 1.7, 0.8, (0.0, 0.45, 0.60)),
        ("lower", 0.0, -3.9, 1.7, 0.8, (0.0, -0.50, 0.60)),
        ("all", 2.4, -3.5, 0.9, 1.0, (-0.65, 0.0, 0.35)),
        ("all", -2.4, -3.5, 0.9, 1.0, (0.65, 0.0, 0.35)),
    ],
    "mouthPucker": [
        ("all", 0.0, -3.4, 1.8, 1.1, (0.0, 0.0, 0.65)),
        ("all", 2.2, -3.5, 1.1, 1.0, (-0.95, 0.0, 0.30)),
        ("all", -2.2, -3.5, 1.1, 1.0, (0.95, 0.0, 0.30)),
    ],
    "mouthLeft": [("all", 0.0, -3.5, 2.6, 1.6, (0.85, 0.0, 0.0))],
    "mouthRight": [("all", 0.0, -3.5, 2.6, 1.6, (-0.85, 0.0, 0.0))],
    "mouthRollLower": [("lower", 0.0, -4.0, 2.0, 0.7, (0.0, 0.28, -0.50))],
    "mouthRollUpper": [("upper", 0.0, -2.9, 2.0, 0.7, (0.0, -0.28, -0.50))],
    "mouthShrugLower": [("all", 0.0, -4.6, 1.9, 1.4, (0.0, 0.45, 0.25))],
    "mouthShrugUpper": [("upper", 0.0, -2.8, 1.8, 0.9, (0.0, 0.30, 0.20))],
}
EXPRESSION_NAMES = tuple(
    sorted(
        [
            f"{name}_{side}"
            for name in (*SIDED, "eyeBlink", "eyeLookDown", "eyeLookUp", "eyeSquint", "eyeWide")
            for side in "LR"
        ]
        + [*SINGLE, "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose"]
    )
)
LIDS = {  # part of the opening that the upper lid comes down, the lower lid comes up
    "eyeBlink": (0.90, 0.10),
    "eyeLookDown": (0.50, -0.12),
    "eyeLookUp": (-0.22, 0.10),
    "eyeSquint": (0.22, 0.28),
    "eyeWide": (-0.24, -0.08),
}


@dataclass(frozen=True)
class Body:
    """Rest vertices (V, 3) with what the motions must know about them.

    Attributes:
        below: (V,) 1 on the lower lip's side of the line between the lips, 0 on the upper's.
        jaw: (V,) how much of the jaw's motion a vertex takes.
        soft: (V,) how much of the pushes it takes: 1 on the skin, less inside the mouth, 0 on eyeballs and teeth.
        anchor: (V, 3) point at which pushes are evaluated: the vertex itself on the skin.
        lid: (V,) +1 left, -1 right, on the skin around the eye's opening; 0 elsewhere.
        lid_scale: (V,) ring around the opening: 1 at the edge, 2.15 at the outermost.
        upper: (V,) True above the corners.
    """

    points: Array
    below: Array
    jaw: Array
    soft: Array
    anchor: Array
    lid: Array
    lid_scale: Array
    upper: NDArray[np.bool_]


def below_lips(p: Array, extra: Array) -> Array:
    """1 below the line between the lips, 0 above, sharp in the middle and soft beyond the corners."""
    line = np.interp(p[:, 0], LIP_LINE[:, 0], LIP_LINE[:, 1])
    width = 0.04 + 1.5 * np.clip(np.abs(p[:, 0]) / 2.6, 0, 1) ** 4
    return step((line - p[:, 1] + extra) / width, -1.0, 1.0)


def jaw_weight(p: Array, below: Array) -> Array:
    """Part of the jaw's motion at skin points: fades to the hinge and down the neck."""
    return below * step(p[:, 2], 2.0, 6.5) * step(p[:, 1] + 0.15 * (10 - p[:, 2]), -11.0, -7.6)


def rotate_jaw(p: Array, degrees: float) -> Array:
    """Displacement of points when the jaw turns open about its hinge."""
    angle = np.radians(degrees)
    y, z = (p - JAW_HINGE)[:, 1], (p - JAW_HINGE)[:, 2]
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([0 * y, y * c - z * s - y, y * s + z * c - z], axis=1)


def _push(body: Body, entry: Push, mirror: float = 1.0) -> Array:
    where, x, y, sx, sy, move = entry
    p = body.anchor
    front = np.clip((p[:, 2] - 2.0) / 4.0, 0, 1)
    weight = np.exp(-(((p[:, 0] - mirror * x) / sx) ** 2) - ((p[:, 1] - y) / sy) ** 2) * front * body.soft
    if where == "upper":
        weight = weight * (1 - body.below)
    elif where == "lower":
        weight = weight * body.below
    elif where == "lid":
        weight = weight * (body.lid == mirror)
    return weight[:, None] * (np.array(move) * (mirror, 1, 1))


def _close_lid(body: Body, side: float, upper_part: float, lower_part: float) -> Array:
    """Lid edges move along y by their parts of the opening's height, outer rings less; spheres are respected later."""
    x = body.points[:, 0] * side
    top, bottom = np.interp(x, *EYE_UPPER.T), np.interp(x, *EYE_LOWER[::-1].T)
    fade = step(body.lid_scale, 2.1, 1.0) ** 1.3
    amount = np.where(body.upper, -upper_part, lower_part) * np.maximum(top - bottom, 0) * fade
    amount = np.where(body.lid == side, amount, 0.0)
    return np.stack([0 * amount, amount, 0 * amount], axis=1)


def expression_directions(body: Body) -> Array:
    """(53, V, 3) in the order of ``EXPRESSION_NAMES``."""
    table: dict[str, Array] = {}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        for name, pushes in SIDED.items():
            table[f"{name}_{side}"] = sum((_push(body, entry, sign) for entry in pushes), np.zeros_like(body.points))
        for name, (upper, lower) in LIDS.items():
            table[f"{name}_{side}"] = _close_lid(body, sign, upper, lower)
    for name, pushes in SINGLE.items():
        table[name] = sum((_push(body, entry) for entry in pushes), np.zeros_like(body.points))
    jaw = body.jaw[:, None]
    opened = jaw * rotate_jaw(body.points, JAW_OPEN_DEG)
    table["jawOpen"] = opened
    for name, move in (("jawForward", (0, 0, 0.8)), ("jawLeft", (0.9, 0, 0)), ("jawRight", (-0.9, 0, 0))):
        table[name] = jaw * np.array(move)
    p = body.anchor
    lips = body.soft * np.exp(-((p[:, 0] / 3.0) ** 4) - ((p[:, 1] + 3.6) / 1.1) ** 2)
    table["mouthClose"] = -0.96 * lips[:, None] * body.below[:, None] * opened
    return np.stack([table[name] for name in EXPRESSION_NAMES])


# (centre x, y, radii x, y, displacement), mirrored to both sides where x > 0; per standard deviation.
SHAPES: dict[str, list[tuple[float, float, float, float, tuple[float, float, float]]]] = {
    "jaw_width": [(5.0, -5.0, 3.0, 3.0, (0.38, 0.0, 0.0))],
    "chin_length": [(0.0, -7.0, 4.0, 2.6, (0.0, -0.42, 0.0))],
    "chin_forward": [(0.0, -6.5, 2.2, 1.8, (0.0, 0.0, 0.36))],
    "cheekbones": [(4.8, 1.0, 2.2, 1.9, (0.25, 0.0, 0.18))],
    "cheek_fullness": [(4.3, -2.2, 2.0, 2.2, (0.30, 0.0, 0.32))],
    "nose_length": [(0.0, -0.6, 1.8, 1.6, (0.0, -0.28, 0.0))],
    "nose_projection": [(0.0, 0.5, 1.1, 1.8, (0.0, 0.0, 0.34))],
    "nose_width": [(1.1, -0.5, 0.8, 0.9, (0.22, 0.0, 0.0))],
    "nose_bridge": [(0.0, 2.7, 0.9, 1.5, (0.0, 0.0, 0.26))],
    "eye_distance": [(3.15, 3.6, 2.2, 2.2, (0.20, 0.0, 0.0))],
    "eye_height": [(3.15, 3.6, 2.6, 1.9, (0.0, 0.20, 0.0))],
    "brow_height": [(3.2, 6.0, 2.6, 1.0, (0.0, 0.26, 0.0))],
    "brow_ridge": [(3.0, 5.6, 2.6, 1.0, (0.0, 0.0, 0.22))],
    "mouth_width": [(2.5, -3.5, 1.3, 1.6, (0.28, 0.0, -0.05))],
    "mouth_height": [(0.0, -3.4, 3.2, 1.6, (0.0, 0.24, 0.0))],
    "lip_fullness": [(0.0, -2.6, 1.9, 0.5, (0.0, 0.14, 0.14)), (0.0, -4.35, 1.7, 0.5, (0.0, -0.15, 0.12))],
    "forehead": [(0.0, 9.0, 5.0, 3.0, (0.0, 0.0, 0.35))],
}
SHAPE_NAMES = ("head_width", "face_length", "neck_width", *SHAPES)


def shape_directions(points: Array, evaluate_at: Array, neck: Array) -> Array:
    """(20, V, 3) per standard deviation; ``evaluate_at`` is the vertex, or for an eyeball's vertices its centre."""
    p = evaluate_at
    head = (1 - neck)[:, None]
    rows = [
        head * np.stack([0.030 * p[:, 0], 0 * p[:, 0], 0 * p[:, 0]], axis=1),
        head * np.stack([0 * p[:, 0], 0.032 * (p[:, 1] - 3.5), 0 * p[:, 0]], axis=1),
        (neck * step(p[:, 1], -14.5, -11.5))[:, None] * np.stack([0.06 * p[:, 0], 0 * p[:, 0], 0.03 * p[:, 2]], axis=1),
    ]
    front = np.clip((p[:, 2] - 2.0) / 4.0, 0, 1)
    for pushes in SHAPES.values():
        total = np.zeros_like(points)
        for x, y, sx, sy, move in pushes:
            for mirror in (1.0, -1.0) if x else (1.0,):
                weight = np.exp(-(((p[:, 0] - mirror * x) / sx) ** 2) - ((p[:, 1] - y) / sy) ** 2) * front
                total += weight[:, None] * (np.array(move) * (mirror, 1, 1))
        rows.append(total)
    return np.stack(rows)


def eye_centre(side: float) -> Array:
    """Centre (3,) of the eyeball on one side: +1 left, -1 right."""
    return EYE_CENTRE * (side, 1, 1)
