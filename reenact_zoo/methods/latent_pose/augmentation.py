"""What is done to the driving image in training, so that the pose embedding cannot carry who is shown.

Burkov et al., CVPR 2020: the shape of the face changes by scaling both axes apart, its looks by noise, blur and colour.
Ranges are those of the released code; random numbers are torch's own, which training seeds for every update.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 0.2  # each axis by 0.8 to 1.2
SHIFT = 0.1  # of the half side: 5 % of the side
CHANCE = 0.5  # of scaling, and of shifting
CHANCE_OF_EACH = 0.25  # of each change of the pixels; the released code picks up to 5 of its 10
NOISE = 0.05  # largest standard deviation of grey noise


def shifted_together(*images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Every (B, C, H, W) moved alike, rows by their own shift (B, 2) in [-1, 1] coordinates; edges are mirrored."""
    first = images[0]
    shift = _uniform(first, (2,), -SHIFT, SHIFT) * _chosen(first, CHANCE)[:, 0, 0]
    ones = torch.ones_like(shift)
    return [_moved(image, ones, shift) for image in images], shift


def pose_view(images: Tensor) -> Tensor:
    """Driving images (B, 3, H, W) in [0, 1] with another face shape, sharpness and colour, in [0, 1]."""
    scale = 1 + _uniform(images, (2,), -SCALE, SCALE) * _chosen(images, CHANCE)[:, 0, 0]
    images = _moved(images, scale, torch.zeros_like(scale))
    for change in _CHANGES:
        images = torch.where(_chosen(images, CHANCE_OF_EACH), change(images), images)
    return images.clamp(0, 1)


def _moved(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Enlarged about the centre by scale (B, 2) and moved by shift (B, 2) in [-1, 1], x before y."""
    matrix = torch.cat([torch.diag_embed(1 / scale), (-shift / scale)[..., None]], dim=2)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _uniform(images: Tensor, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """(B, *shape) in [low, high)."""
    return low + (high - low) * torch.rand(len(images), *shape, device=images.device)


def _chosen(images: Tensor, chance: float) -> Tensor:
    """(B, 1, 1, 1) bool."""
    return _uniform(images, (1, 1, 1), 0, 1) < chance


def _sharpness(images: Tensor) -> Tensor:
    """From blurred by a 3x3 mean to sharpened by as much."""
    detail = images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1)
    return images + _uniform(images, (1, 1, 1), -1, 1) * detail


def _noise(images: Tensor) -> Tensor:
    return images + _uniform(images, (1, 1, 1), 0, NOISE) * torch.randn_like(images[:, :1])


def _brightness(images: Tensor) -> Tensor:
    return images + _uniform(images, (3, 1, 1), -10 / 255, 10 / 255)


def _gain(images: Tensor) -> Tensor:
    return images * _uniform(images, (1, 1, 1), 0.5, 1.5)


def _contrast(images: Tensor) -> Tensor:
    return 0.5 + (images - 0.5) * _uniform(images, (1, 1, 1), 0.75, 1.25)


def _saturation(images: Tensor) -> Tensor:
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * _uniform(images, (1, 1, 1), 0.7, 1.3)


_CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (_sharpness, _noise, _brightness, _gain, _contrast, _saturation)
