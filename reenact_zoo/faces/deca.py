"""DECA's coarse coefficients of FLAME: what DCG-GAN conditions on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.faces.face_input import DECA_FACE, FaceInput, FaceNetwork
from reenact_zoo.faces.networks.deca import COEFFICIENTS, DecaEncoder
from reenact_zoo.weights.store import WeightStore


class DecaCoefficients(FaceNetwork):
    """236 coefficients of FLAME with the 50 texture directions; differentiable in the images.

    Order: shape 100, texture 50, expression 50, pose 6 (global 3, jaw 3; axis times angle), camera 3, light 27. The
    camera is that of the crop; ``face.matrices`` says where the crop lies in the image.

    Raises:
        WeightsMissing: deca_model is not at hand (registration; non-commercial).
    """

    name = "coefficients_deca"
    weights: tuple[str, ...] = ("deca_model",)
    size = sum(COEFFICIENTS.values())
    face: ClassVar[FaceInput] = DECA_FACE

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        super().__init__(DecaEncoder(), store, device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 236)."""
        return self._network(self._input(images, landmarks_px))
