"""Head rotation and expression from a face crop, trained on renders of synthetic people; they know no real face."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reenact_zoo.faces.networks.synthetic_blocks import (
    TRUNK_FEATURES,
    PlainTrunk,
    ResidualTrunk,
    rotation_from_six,
    standardised,
)
from reenact_zoo.ops.rotation import euler_from_matrix

CODE = 20  # leading dimensions of the expression's effect on the face's vertices
HIDDEN = 128


class _Motion(nn.Module):
    """(B, 3, 64, 64) RGB in [0, 1], ``synthetic_crop.face_crop`` → (B, 3 + CODE).

    First yaw, pitch, roll of the head in degrees (``ops.rotation``), then the expression code z in % of face width:
    |z_a - z_b| is the root mean square over the face's vertices of the displacement between two expressions.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(nn.Linear(TRUNK_FEATURES, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 6 + CODE))
        self.register_buffer("rest", torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def rotation_and_code(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 3) rotation matrices and (B, CODE): what training compares."""
        out = self.head(self.trunk(standardised(crops, by_channel=True))).float()
        return rotation_from_six(out[:, :6] + self.rest), out[:, 6:]

    def forward(self, crops: Tensor) -> Tensor:
        """See the class."""
        rotation, code = self.rotation_and_code(crops)
        return torch.cat([euler_from_matrix(rotation), code], 1)


class SyntheticMotionTrain(_Motion):
    """Entry "synthetic_motion_train", residual: for losses and conditioning."""

    def __init__(self) -> None:
        super().__init__(ResidualTrunk())


class SyntheticMotionJudge(_Motion):
    """Entry "synthetic_motion_judge", plain with gates: for metrics."""

    def __init__(self) -> None:
        super().__init__(PlainTrunk())
