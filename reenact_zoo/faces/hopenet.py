"""Hopenet's head pose: what DCG-GAN's PoseMSE measures."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.faces.face_input import HOPENET_FACE, FaceInput, FaceNetwork
from reenact_zoo.faces.networks.hopenet import Hopenet, degrees
from reenact_zoo.weights.store import WeightStore

# Authors' drawing of the axes: positive yaw points the nose to image left, positive pitch up, positive roll tilts the
# top of the head to image right. Here yaw and roll go the other way; squared differences do not notice.
SIGNS = (-1.0, 1.0, -1.0)


class HopenetPose(FaceNetwork):
    """Yaw, pitch and roll in degrees; differentiable in the images.

    The three angles are Hopenet's own, ``SIGNS`` apart, because the published figures are made of them. Its order of
    rotations is another than this project's.

    Raises:
        WeightsMissing: hopenet_robust_alpha1 is not at hand.
    """

    name = "pose_hopenet"
    weights: tuple[str, ...] = ("hopenet_robust_alpha1",)
    size = 3
    face: ClassVar[FaceInput] = HOPENET_FACE

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        super().__init__(Hopenet(), store, device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 3) degrees."""
        bins = self._network(self._input(images, landmarks_px))
        angles = torch.stack([degrees(logits) for logits in bins], 1)
        return angles * angles.new_tensor(SIGNS)
