"""Albedo of hair, clothes and glasses on their cells of the atlas: streaks along the locks, weave, frame colours."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.faces.morphable._atlas import value_noise
from reenact_zoo.faces.morphable._outfit import Cell
from reenact_zoo.faces.morphable._palette import TEXTURE_NAMES, clothes_colour, greyness, hair_colour, ramp

WARDROBE_NAMES = ("hair_curl", "frame_colour")
"""Texture coefficients after ``TEXTURE_NAMES``."""
FRAMES = (
    (0.04, 0.04, 0.045),
    (0.05, 0.045, 0.05),
    (0.22, 0.12, 0.06),
    (0.33, 0.33, 0.35),
    (0.50, 0.39, 0.20),
    (0.07, 0.10, 0.22),
    (0.30, 0.06, 0.08),
)
STRANDS_CM, CURLS_CM, WEAVE_CM = 0.05, 0.16, 0.02
"""Height of the relief of hair and cloth per unit of their patterns."""
GREY = (0.60, 0.59, 0.58)


class WardrobePainter:
    """Paints the cells (left, top, width, height) of one atlas size."""

    def __init__(self, cells: dict[str, Cell], size: int) -> None:
        self.boxes = {name: _box(cell, size) for name, cell in cells.items()}
        patterns = _strands(*_extent(self.boxes["hair"]))
        self.streaks, self.locks, self.curls, self.along = (torch.from_numpy(a).float() for a in patterns)
        self.weave = torch.from_numpy(_weave(*_extent(self.boxes["clothes"]))).float()

    def to(self, device: torch.device | str) -> WardrobePainter:
        """A copy on ``device``."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(other, name, value.to(device))
        return other

    def __call__(self, image: Tensor, texture: Tensor) -> Tensor:
        """(B, 3, size, size) painted otherwise → the same with the cells painted; texture (B, T)."""
        t = _quantiles(texture)
        image = image.clone()
        for name, paint in (("hair", self._hair), ("clothes", self._clothes), ("glasses", self._glasses)):
            top, bottom, left, right = self.boxes[name]
            image[:, :, top:bottom, left:right] = paint(t)
        return image.clamp(0, 1)

    def relief(self, height: Tensor, texture: Tensor) -> Tensor:
        """(B, 1, size, size) heights in cm → the same with those of hair and cloth; the rest of the cells is flat."""
        curl, height = _curl(_quantiles(texture)), height.clone()
        heights = {
            "hair": torch.lerp(STRANDS_CM * (self.streaks + self.locks), CURLS_CM * self.curls, curl),
            "clothes": WEAVE_CM * self.weave,
            "glasses": torch.zeros_like(curl),
        }
        for name, values in heights.items():
            top, bottom, left, right = self.boxes[name]
            height[:, :, top:bottom, left:right] = values
        return height

    def _hair(self, t: dict[str, Tensor]) -> Tensor:
        colour = hair_colour(t | {"hair_greyness": 0 * t["age"], "age": 0 * t["age"]})
        grey = greyness(t)[..., None, None]
        curl = _curl(t)
        contrast = torch.lerp(0.34 * self.streaks + 0.20 * self.locks, 0.42 * self.curls, curl)
        shade = (1 + contrast) * (0.72 + 0.36 * self.along)  # roots lie in the shade, tips are bleached
        image = colour[..., None, None] * shade
        # greying hair is a mixture of white hairs and others
        white = image.new_tensor(GREY)[None, :, None, None] * (1 + 0.7 * contrast)
        image = torch.lerp(image, white, (grey * (0.75 + 1.2 * contrast)).clamp(0, 1))
        warm = image.new_tensor([0.05, 0.0, -0.04])[None, :, None, None]
        return image * (1 + warm * self.locks)

    def _clothes(self, t: dict[str, Tensor]) -> Tensor:
        colour = clothes_colour(t)
        return colour[..., None, None] * (1 - 0.14 * self.weave)

    def _glasses(self, t: dict[str, Tensor]) -> Tensor:
        return ramp(FRAMES, t["frame_colour"])[..., None, None]


def _quantiles(texture: Tensor) -> dict[str, Tensor]:
    return dict(zip(TEXTURE_NAMES + WARDROBE_NAMES, torch.special.ndtr(texture).split(1, dim=-1)))


def _curl(t: dict[str, Tensor]) -> Tensor:
    """(B, 1, 1, 1) in [0, 1]: a fifth of the range of "hair_curl" is curly."""
    return ((t["hair_curl"][..., None, None] - 0.8) / 0.1).clamp(0, 1)


def _box(cell: Cell, size: int) -> tuple[int, int, int, int]:
    left, top, width, height = (round(v * size) for v in cell)
    return top, top + height, left, left + width


def _extent(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return box[1] - box[0], box[3] - box[2]


def _strands(height: int, width: int) -> tuple[np.ndarray, ...]:
    """Signed fine streaks and broad locks, both along v, curls, and v itself; (height, width) each."""
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    bend = 0.010 * value_noise(np.stack([3 * u, 2 * v, 0 * u], -1), 1.0, 81)

    def along(waves: float, stretch: float, seed: int) -> np.ndarray:
        return value_noise(np.stack([(u + bend) * waves, v * stretch, 0 * u], axis=-1), 1.0, seed)

    streaks = 0.6 * along(min(64, width / 2), 2.5, 83) + 0.4 * along(min(128, width), 5.0, 85)
    locks = 0.6 * along(14, 1.2, 87) + 0.4 * along(30, 2.0, 89)
    place = np.stack([u * width, v * height, 0 * u], axis=-1)
    curls = np.abs(value_noise(place, 2.6, 95)) + np.abs(value_noise(place, 5.5, 96)) - 0.75
    return streaks, locks, curls, v


def _weave(height: int, width: int) -> np.ndarray:
    v, u = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    coarse = value_noise(np.stack([u / width * 6, v / height * 8, 0 * u], axis=-1), 1.0, 91)
    fine = value_noise(np.stack([u * 0.9, v * 0.9, 0 * u], axis=-1), 1.0, 93)
    return 0.5 + 0.3 * coarse + 0.4 * fine
