"""Deep3DFaceRecon's coefficients: the expression of AED, and the motion descriptor of PIRenderer's line. Unverified.

Neither reference outputs nor the released weights were at hand: layout, alignment and key names are as documented by
the authors, and whoever supplies the file should compare a few outputs with theirs.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.faces.face_input import DEEP3D_FACE_INPUT, FaceInput, FaceNetwork
from reenact_zoo.faces.networks.deep3d import COEFFICIENTS, Deep3DEncoder
from reenact_zoo.weights.store import WeightStore

EXPRESSION = slice(80, 144)
ANGLES = slice(224, 227)
SHIFT = slice(254, 257)


class Deep3DCoefficients(FaceNetwork):
    """257 coefficients: identity 80, expression 64, texture 80, angles 3, light 27, shift 3; unverified.

    Differentiable in the images.

    Raises:
        WeightsMissing: deep3dfacerecon_epoch_20 is not at hand.
    """

    name = "coefficients_deep3d"
    weights: tuple[str, ...] = ("deep3dfacerecon_epoch_20",)
    size = sum(COEFFICIENTS.values())
    face: ClassVar[FaceInput] = DEEP3D_FACE_INPUT

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        super().__init__(Deep3DEncoder(), store, device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 257)."""
        return self._network(self._input(images, landmarks_px))
