"""Losses of ``latent_pose``; the foreground and the true one are compared on black (Burkov et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def dice(segmentation: Tensor, matte: Tensor) -> Tensor:
    """-log(2 sum(s m) / (sum(s^2) + sum(m^2))) of two (B, 1, H, W) in [0, 1], sums over the whole batch."""
    overlap = 2 * (segmentation * matte).sum() / (segmentation.square().sum() + matte.square().sum()).clamp_min(1e-6)
    return -overlap.clamp_min(1e-6).log()


def fooling(scores: Tensor) -> Tensor:
    """The generator's side of the hinge loss: -mean of the scores (B,) of what it made."""
    return -scores.mean()


def telling_apart(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's hinge loss of scores (B,): real ones above 1, made ones below -1."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def matching(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's maps, averaged over blocks; no gradient to the real ones."""
    return torch.stack([F.l1_loss(m, r.detach()) for m, r in zip(made, real, strict=True)]).mean()
