"""Identity embedders trained on renders of synthetic people with CosFace's loss (Wang et al., CVPR 2018).

They know no real face; a cosine of theirs is not comparable with one of a CosFace or ArcFace network.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.networks.synthetic_blocks import TRUNK_FEATURES, PlainTrunk, ResidualTrunk, standardised

DIMENSIONS = 128


class _Embedding(nn.Module):
    """(B, 3, 64, 64) RGB in [0, 1], ``synthetic_crop.identity_crop`` → (B, 128) float32 of unit length."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(nn.Linear(TRUNK_FEATURES, DIMENSIONS, bias=False), nn.BatchNorm1d(DIMENSIONS))

    def forward(self, crops: Tensor) -> Tensor:
        """See the class."""
        return F.normalize(self.head(self.trunk(standardised(crops, by_channel=False))).float())


class SyntheticIdentityTrain(_Embedding):
    """Entry "synthetic_identity_train", residual: for losses and conditioning."""

    def __init__(self) -> None:
        super().__init__(ResidualTrunk())


class SyntheticIdentityJudge(_Embedding):
    """Entry "synthetic_identity_judge", plain with gates: for metrics."""

    def __init__(self) -> None:
        super().__init__(PlainTrunk())
