"""The background behind the head, guessed once per source: smoothly filled in from around the head region."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.methods.landmark_warp.mesh import HeadRegion

HEAD = 1.2  # radius up to which head and hair are taken out; 1 is the outline of the head region


def background(image: Tensor, region: HeadRegion) -> Tensor:
    """Images (B, 3, H, W) with the head region filled smoothly from its surroundings."""
    height, width = image.shape[-2:]
    known = (_radius(region, height, width) > HEAD).to(image)
    filled = _pull_push(image, known)
    return torch.lerp(filled, image, known)


def lay_behind(reenacted: Tensor, plate: Tensor, weight: Tensor) -> Tensor:
    """Blend the plate into reenacted (B, 3, H, W) by weight (B, H, W)."""
    if not bool((weight > 0).any()):
        return reenacted
    if plate.shape != reenacted.shape:
        plate = F.interpolate(plate, reenacted.shape[-2:], mode="bilinear", align_corners=False)
    return torch.lerp(reenacted, plate, weight.unsqueeze(1))


def _radius(region: HeadRegion, height: int, width: int) -> Tensor:
    """(B, 1, H, W) distance from the head's centre in units of the outline."""
    y, x = np.mgrid[:height, :width].astype(np.float64).reshape(2, -1)
    grid = np.broadcast_to(np.stack((x, y), -1), (len(region.centre), height * width, 2))
    return torch.from_numpy(region.radius(grid)).float().reshape(-1, 1, height, width)


def _pull_push(image: Tensor, known: Tensor) -> Tensor:
    """Fill unknown pixels by averages over ever larger cells (Gortler et al., SIGGRAPH 1996)."""
    if min(image.shape[-2:]) <= 1 or bool((known > 0).all()):
        return image
    weight = F.avg_pool2d(known, 2, ceil_mode=True)
    coarse = F.avg_pool2d(image * known, 2, ceil_mode=True) / weight.clamp(min=1e-6)
    coarse = _pull_push(coarse, (weight > 0).to(image))
    below = F.interpolate(coarse, image.shape[-2:], mode="bilinear", align_corners=False)
    return torch.lerp(below, image, known)
