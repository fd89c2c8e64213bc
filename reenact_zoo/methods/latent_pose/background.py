"""A picture without its head: what lies around the head is continued over the place where it was."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

MARGIN = 32  # the hole grows by this part of the side: a segmentation ends inside the hair


def without_head(images: Tensor, segmentation: Tensor) -> Tensor:
    """Images (B, 3, H, W) with what ``segmentation`` (B, 1, H, W) in [0, 1] covers replaced by its surroundings.

    Far inside the hole the colours are those of a wide neighbourhood; where it covers everything they are black.
    """
    margin = max(1, min(images.shape[2:]) // MARGIN)
    hole = F.max_pool2d(segmentation, 2 * margin + 1, 1, margin)
    return _completed(images, 1 - hole)


def _completed(images: Tensor, known: Tensor) -> Tensor:
    """Fill (B, 3, H, W) where ``known`` (B, 1, H, W) is below 1 from pictures of half, a quarter … of the size."""
    if min(images.shape[2:]) < 2:
        return images
    weight = F.avg_pool2d(known, 2)
    half = F.avg_pool2d(images * known, 2) / weight.clamp_min(1e-6)
    coarse = _completed(half, (4 * weight).clamp_max(1))  # one known pixel of four is enough to know their mean
    wide = F.interpolate(coarse, size=images.shape[2:], mode="bilinear", align_corners=False)
    return wide.lerp(images, known.expand_as(images))
