"""What the networks see: [-1, 1] instead of [0, 1], and in the official preset brightened and in BGR order."""

from __future__ import annotations

from torch import Tensor

GAMMA = 2.0
"""The released code sees square roots of values and squares what it makes, by 8-bit tables; ours do not round."""

BLACK = 1e-12  # a root has no finite gradient at 0


def to_network(images: Tensor, official: bool = False) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1] → [-1, 1]."""
    if official:
        images = images.clamp(BLACK, 1).pow(1 / GAMMA).flip(1)
    return 2 * images - 1


def from_network(images: Tensor, official: bool = False) -> Tensor:
    """Inverse of ``to_network``."""
    images = (images + 1) / 2
    return images.flip(1).pow(GAMMA) if official else images
