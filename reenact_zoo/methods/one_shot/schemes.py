"""Landmark schemes: which points of a detector form which curve of the face.

Curves have the names and the order of Zhang et al., "One-shot Face Reenactment" (BMVC 2019): "left" is the left side of
the picture. A scheme that lacks the lower edges of the brows or the irises gets them made from the points it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from reenact_zoo.types import InputError

CURVES = (
    "contour", "left_brow_top", "right_brow_top", "bridge", "nose_tip",
    "left_eye_top", "left_eye_bottom", "right_eye_top", "right_eye_bottom",
    "outer_lip_top", "inner_lip_top", "inner_lip_bottom", "outer_lip_bottom",
    "left_brow_bottom", "right_brow_bottom", "left_iris", "right_iris",
)  # fmt: skip

PARTS = {
    "left_brow": ("left_brow_top", "left_brow_bottom"),
    "right_brow": ("right_brow_top", "right_brow_bottom"),
    "left_eye": ("left_eye_top", "left_eye_bottom"),
    "right_eye": ("right_eye_top", "right_eye_bottom"),
    "nose": ("bridge", "nose_tip"),
    "lower_lip": ("inner_lip_bottom", "outer_lip_bottom"),
    "upper_lip": ("outer_lip_top", "inner_lip_top"),  # last: the corners of the mouth move with it
}

IRIS_POINTS = 20
IRIS_RADIUS = 0.25  # eye widths
BROW_THICKNESS = 0.18  # lengths of the nose, which neither expression nor yaw changes much


@dataclass(frozen=True)
class Scheme:
    """Which points form which curve.

    Attributes:
        name: key in ``SCHEMES``.
        points: how many landmarks the detector gives.
        curves: name → indices into ``complete(landmarks)``, along the curve.
        made_brows: the lower edges of the brows are made.
        made_irises: the irises are made circles.
        pupils: points that mark the pupils, None where circles go to the middle of the eye.
    """

    name: str
    points: int
    curves: Mapping[str, tuple[int, ...]]
    made_brows: bool = False
    made_irises: bool = False
    pupils: tuple[int, int] | None = None

    def complete(self, landmarks: Tensor) -> Tensor:
        """Landmarks (B, N, 2) → (B, N', 2): the same, then what had to be made."""
        if landmarks.ndim != 3 or landmarks.shape[1:] != (self.points, 2):
            raise InputError(
                f"scheme {self.name!r} needs landmarks of shape (B, {self.points}, 2), got {tuple(landmarks.shape)}; "
                f"choose the scheme of your landmark detector ({', '.join(SCHEMES)})"
            )
        made = [landmarks]
        if self.made_brows:
            made += [self._brow_bottom(landmarks, "left"), self._brow_bottom(landmarks, "right")]
        if self.made_irises:
            made += [self._iris(landmarks, 0), self._iris(landmarks, 1)]
        return torch.cat(made, 1)

    def inner(self) -> tuple[int, ...]:
        """Points of all curves but the contour, as far as the detector gave them; shared points count twice."""
        return tuple(i for name in CURVES[1:] for i in self.curves[name] if i < self.points)

    def part(self, name: str) -> tuple[int, ...]:
        """Points of one of ``PARTS``, as far as the detector gave them; shared points count twice."""
        return tuple(i for curve in PARTS[name] for i in self.curves[curve] if i < self.points)

    def _brow_bottom(self, landmarks: Tensor, side: str) -> Tensor:
        """Four points under all of the brow's points but the outer one, towards the eye."""
        top = landmarks[:, list(self.curves[f"{side}_brow_top"])]
        eye = landmarks[:, list(self.curves[f"{side}_eye_top"] + self.curves[f"{side}_eye_bottom"])].mean(1)
        nose = landmarks[:, self.curves["bridge"][0]] - landmarks[:, list(self.curves["nose_tip"])].mean(1)
        down = eye - top.mean(1)
        length = BROW_THICKNESS * nose.norm(dim=-1, keepdim=True)
        inner = top[:, 1:] if side == "left" else top[:, :-1]
        return inner + (length * down / down.norm(dim=-1, keepdim=True).clamp(min=1e-6))[:, None]

    def _iris(self, landmarks: Tensor, side: int) -> Tensor:
        name = ("left", "right")[side]
        top, bottom = self.curves[f"{name}_eye_top"], self.curves[f"{name}_eye_bottom"]
        around = list(top + bottom[1:-1]) if self.pupils is None else [self.pupils[side]]
        middle = landmarks[:, around].mean(1)
        radius = IRIS_RADIUS * (landmarks[:, top[-1]] - landmarks[:, top[0]]).norm(dim=-1)
        angle = torch.arange(IRIS_POINTS, dtype=landmarks.dtype, device=landmarks.device) * (2 * math.pi / IRIS_POINTS)
        circle = torch.stack((angle.cos(), angle.sin()), -1)
        return middle[:, None] + radius[:, None, None] * circle


def scheme_named(name: str) -> Scheme:
    """The scheme of that name.

    Raises:
        InputError: there is none.
    """
    if name not in SCHEMES:
        raise InputError(f"no landmark scheme {name!r}; there are {', '.join(SCHEMES)}")
    return SCHEMES[name]


def _span(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


def _curves(*curves: tuple[int, ...]) -> Mapping[str, tuple[int, ...]]:
    return MappingProxyType(dict(zip(CURVES, curves, strict=True)))


_IBUG = _curves(
    _span(0, 16), _span(17, 21), _span(22, 26), _span(27, 30), _span(31, 35),
    (36, 37, 38, 39), (39, 40, 41, 36), (42, 43, 44, 45), (45, 46, 47, 42),
    _span(48, 54), _span(60, 64), (60, 67, 66, 65, 64), (48, 59, 58, 57, 56, 55, 54),
    (17, *_span(68, 71)), (*_span(72, 75), 26), _span(76, 95), _span(96, 115),
)  # fmt: skip
_WFLW = _curves(
    _span(0, 32), _span(33, 37), _span(42, 46), _span(51, 54), _span(55, 59),
    _span(60, 64), (64, 65, 66, 67, 60), _span(68, 72), (72, 73, 74, 75, 68),
    _span(76, 82), _span(88, 92), (88, 95, 94, 93, 92), (76, 87, 86, 85, 84, 83, 82),
    (33, 41, 40, 39, 38), (50, 49, 48, 47, 46), _span(98, 117), _span(118, 137),
)  # fmt: skip
_OSFR = _curves(
    _span(0, 32), _span(33, 37), _span(38, 42), _span(43, 46), (80, 82, 47, 48, 49, 50, 51, 83, 81),
    (52, 53, 72, 54, 55), (55, 56, 73, 57, 52), (58, 59, 75, 60, 61), (61, 62, 76, 63, 58),
    _span(84, 90), _span(96, 100), (96, 103, 102, 101, 100), (84, 95, 94, 93, 92, 91, 90),
    (33, 64, 65, 66, 67), (68, 69, 70, 71, 42), _span(106, 125), _span(126, 145),
)  # fmt: skip

SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "68": Scheme("68", 68, _IBUG, made_brows=True, made_irises=True),
        "98": Scheme("98", 98, _WFLW, made_irises=True, pupils=(96, 97)),
        "osfr_146": Scheme("osfr_146", 146, _OSFR),
    }
)
"""iBUG 300-W points, WFLW points, and the 106 + 2 × 20 points of the authors' detector."""
