"""Losses of ``one_shot``; images are in [0, 1] except where the released code's weights ask for [-1, 1].

L_G = lambda_appearance |D(z) - S| + lambda_pixel |w (G - GT)| + features + identity + sum_k (D_k(G) - 1)^2, w = 0.5 + W
L_D = sum_k ((D_k(GT) - 1)^2 + D_k(G)^2) / 2                                           (Zhang et al., BMVC 2019)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.methods.one_shot.schemes import scheme_named

PIXEL_FLOOR = 0.5  # weight of a pixel in no region


def weighted_pixel(made: Tensor, truth: Tensor, importance: Tensor) -> Tensor:
    """Mean |w (made - truth)| of images in [-1, 1], w = 0.5 + W; W (B, 1, H, W) of ``regions.weight_map``."""
    return ((PIXEL_FLOOR + importance) * (made - truth).abs()).mean()


def fooling(scores: Sequence[Tensor]) -> Tensor:
    """Least-squares term of the generator, summed over scales."""
    return torch.stack([(score - 1).square().mean() for score in scores]).sum()


def telling_apart(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Least-squares loss of the discriminators, summed over scales."""
    terms = [((r - 1).square().mean() + m.square().mean()) / 2 for r, m in zip(real, made, strict=True)]
    return torch.stack(terms).sum()


def total_variation(mask: Tensor) -> Tensor:
    """Mean absolute difference of neighbours of a mask (B, 1, H, W), both directions summed."""
    return mask.diff(dim=2).abs().mean() + mask.diff(dim=3).abs().mean()


def appearance(reconstruction: Tensor, source: Tensor) -> Tensor:
    """|D(z) - S| of images in [-1, 1]."""
    return F.l1_loss(reconstruction, source)


def as_68(landmarks: Tensor, scheme: str) -> Tensor:
    """Landmarks of any scheme → (B, 68, 2) in which what aligns a face is right: eyes, nose tip, mouth corners."""
    if scheme == "68":
        return landmarks
    curves = scheme_named(scheme).curves
    points = landmarks.new_zeros(len(landmarks), 68, 2)
    for side, first in (("left", 36), ("right", 42)):
        eye = landmarks[:, list(curves[f"{side}_eye_top"] + curves[f"{side}_eye_bottom"])].mean(1, keepdim=True)
        points[:, first : first + 6] = eye
    lip = curves["outer_lip_top"]
    for place, index in ((30, curves["bridge"][-1]), (48, lip[0]), (54, lip[-1])):
        points[:, place] = landmarks[:, index]
    return points
