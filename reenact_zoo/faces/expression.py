"""What the face does: expression codes."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.head_pose import pose_from_tddfa
from reenact_zoo.faces.tddfa import EXPRESSION, Tddfa
from reenact_zoo.weights.store import WeightStore


def expression_from_tddfa(whitened: Tensor) -> Tensor:
    """(B, 62) network output → (B, 10) expression, whitened: each number in standard deviations of 300W-LP.

    methods.md reads DCG-GAN's ExpMSE1 as this form, since two unrelated faces then differ by about 2.
    """
    return whitened[:, EXPRESSION]


class TddfaFace:
    """3DDFA_V2 (Guo et al., ECCV 2020): 62 whitened numbers (12 pose, 40 shape, 10 expression), then yaw, pitch, roll.

    Raises:
        WeightsMissing: 3ddfa_v2_mb05 or 3ddfa_v2_mean_std is not at hand.
    """

    name = "tddfa"
    weights: tuple[str, ...] = Tddfa.weights
    size = 65

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self._network = Tddfa(store, device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 65), angles in degrees; differentiable in the images."""
        whitened = self._network.whitened(images, landmarks_px)
        return torch.cat([whitened, pose_from_tddfa(self._network.parameters(whitened))], dim=1)
