"""CosFace's sphere20: the identity that DCG-GAN's CosSim measures."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.face_input import COSFACE_FACE, FaceInput, FaceNetwork
from reenact_zoo.faces.networks.cosface import Sphere20
from reenact_zoo.weights.store import WeightStore


class CosFaceIdentity(FaceNetwork):
    """Embedding of the aligned face and of its mirror image, concatenated; differentiable in the images.

    Alignment: five points, ArcFace's template without 8 columns on either side, 112 x 96, RGB, (x - 0.5) / 0.5.

    Raises:
        WeightsMissing: cosface_sphere20 is not at hand.
    """

    name = "identity_cosface"
    weights: tuple[str, ...] = ("cosface_sphere20",)
    size = 1024
    face: ClassVar[FaceInput] = COSFACE_FACE

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        super().__init__(Sphere20(), store, device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 1024) of unit length."""
        faces = self._input(images, landmarks_px)
        return F.normalize(torch.cat([self._network(faces), self._network(faces.flip(3))], 1))
