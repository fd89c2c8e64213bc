"""ArcFace's IResNet: the identity of CSIM and of identity losses."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.face_input import ARCFACE_FACE, FaceInput, FaceNetwork
from reenact_zoo.faces.networks.arcface import IResNet
from reenact_zoo.weights.store import WeightStore


class ArcFaceIdentity(FaceNetwork):
    """Embedding of the aligned face; differentiable in the images.

    Alignment: five points, ArcFace's template, 112 x 112, RGB, (x - 0.5) / 0.5.

    Args:
        store: where the weights lie.
        device: where the network runs.
        depth: "r50" or "r18", both trained on MS1MV3.

    Raises:
        WeightsMissing: arcface_r50_ms1mv3 (or arcface_r18_ms1mv3) is not at hand.
    """

    size = 512
    face: ClassVar[FaceInput] = ARCFACE_FACE

    def __init__(
        self,
        store: WeightStore | None = None,
        device: str | torch.device = "cpu",
        depth: Literal["r18", "r50"] = "r50",
    ) -> None:
        self.name = f"identity_arcface_{depth}"
        self.weights = (f"arcface_{depth}_ms1mv3",)
        super().__init__(IResNet(depth), store, device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 512) of unit length."""
        return F.normalize(self._network(self._input(images, landmarks_px)))
