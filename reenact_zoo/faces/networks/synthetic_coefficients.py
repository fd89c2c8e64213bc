"""E_3D of the synthetic people: a face crop to the coefficients of the reduced head; it knows no real face."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reenact_zoo.faces.networks.synthetic_blocks import Points, ResidualTrunk, tapped

OUTPUTS = 120
"""shape 40, texture 16, expression 25, pose 9, camera 3, light 27: the layout of ``load_head("ict_reduced")``."""
_LAST, _HIDDEN = 96, 192


class SyntheticCoefficients(nn.Module):
    """(B, 3, 64, 64) RGB in [0, 1], ``synthetic_crop.face_crop`` → (B, 120) coefficients of head "ict_reduced".

    The camera is the crop's: as if the crop were the frame. ``synthetic_crop.camera_to_frame`` turns it into the
    frame's. Colours are not standardised, because albedo and light are among the answers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(last=_LAST)
        self.points = Points(40, 96)  # shape and expression are displacements of points
        self.head = nn.Sequential(
            nn.Linear(_LAST * 16 + 2 * 68, _HIDDEN), nn.ReLU(inplace=True), nn.Linear(_HIDDEN, OUTPUTS, bias=True)
        )
        self.register_buffer("mean", torch.zeros(OUTPUTS))  # of the training people, set before training
        self.register_buffer("std", torch.ones(OUTPUTS))

    def coefficients_and_points(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 120) and landmarks (B, 68, 2) in [-1, 1] of the crop: what training compares."""
        features, points = tapped(self.trunk, self.points, (crops - 0.5) * 4)
        return self.head(features).float() * self.std + self.mean, points

    def forward(self, crops: Tensor) -> Tensor:
        """See the class."""
        return self.coefficients_and_points(crops)[0]
