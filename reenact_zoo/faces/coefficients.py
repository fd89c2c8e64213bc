"""Coefficients of a head model from a picture (E_3D)."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.morphable.base import CoefficientLayout
from reenact_zoo.faces.networks import synthetic_coefficients
from reenact_zoo.faces.synthetic_crop import camera_to_frame, face_crop
from reenact_zoo.weights.store import WeightStore

LAYOUT = CoefficientLayout(shape=40, texture=16, expression=25, pose=9, camera=3, light=27)
"""Of head "ict_reduced", whose file is not needed to estimate coefficients, only to draw them."""


class SyntheticCoefficients:
    """E_3D trained on renders of synthetic people: coefficients of head "ict_reduced"; it knows no real face.

    The network reads a crop and answers as if the crop were the frame; the camera is converted, so that rendering the
    coefficients at the size of the whole picture puts the head where it is seen. Renders are square: in a picture that
    is not, the camera belongs to the square of its width whose centre is the picture's.

    Raises:
        WeightsMissing: synthetic_coefficients is not at hand.
    """

    name = "coefficients_synthetic"
    weights: tuple[str, ...] = ("synthetic_coefficients",)
    size = LAYOUT.total

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self._network = synthetic_coefficients.SyntheticCoefficients()
        (store or WeightStore()).load_into(self._network, self.weights[0])
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 120) float32; differentiable in the images."""
        crops, matrices = face_crop(images.to(self._device), landmarks_px.to(self._device))
        parts = LAYOUT.split(self._network(crops))
        height, width = images.shape[2:]
        camera = camera_to_frame(parts["camera"], _in_square(matrices, height, width), width)
        return LAYOUT.join(**{**parts, "camera": camera})


def _in_square(matrices: Tensor, height: int, width: int) -> Tensor:
    """Matrices of the picture → of the square of its width around its centre (rows move by half the difference)."""
    down = matrices.new_tensor([0.0, (width - height) / 2])  # a row of the picture lies that much lower in the square
    shift = matrices[:, :, 2] - (matrices[:, :, :2] @ down)
    return torch.cat([matrices[:, :, :2], shift[..., None]], dim=2)
