"""68 landmarks as the expectation over heat maps (Sun et al., ECCV 2018), trained on renders; knows no real face."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.networks.synthetic_blocks import Residual, conv, expected_points, standardised

POINTS = 68
CELLS = 16  # side of the heat maps


class Located(NamedTuple):
    """What the network says of every crop."""

    points: Tensor
    """(B, 68, 2) in [-1, 1] of the crop, x before y."""
    confidence: Tensor
    """(B,) in [0, 1]: that the crop shows a face about where it should be."""


class SyntheticLandmarks(nn.Module):
    """(B, 3, 64, 64) RGB in [0, 1], ``synthetic_crop.box_crop`` (or ``face_crop`` of known points) → ``Located``."""

    def __init__(self) -> None:
        super().__init__()
        self.at_32 = nn.Sequential(conv(3, 16, 2), Residual(16))
        self.at_16 = nn.Sequential(conv(16, 40, 2), Residual(40))
        self.at_8 = nn.Sequential(conv(40, 96, 2), Residual(96), conv(96, 96))
        self.to_16, self.up_16 = nn.Conv2d(96, 40, 1), conv(40, 64)
        self.maps = nn.Conv2d(64, POINTS, 1)
        self.certain = nn.Linear(96, 1)

    def raw(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Heat maps (B, 68, 16 * 16), each summing to 1, and the logit of the confidence (B,)."""
        b = self.at_16(self.at_32(standardised(crops, by_channel=True)))
        c = self.at_8(b)
        doubled = F.interpolate(self.to_16(c), scale_factor=2, mode="nearest")
        return self.maps(self.up_16(b + doubled)).flatten(2).float().softmax(-1), self.certain(c.mean((2, 3)))[
            :, 0
        ].float()

    def points(self, maps: Tensor) -> Tensor:
        """Expectation (B, 68, 2) of heat maps (B, 68, 16 * 16)."""
        return expected_points(maps.unflatten(2, (CELLS, CELLS)))

    def forward(self, crops: Tensor) -> Located:
        """See the class."""
        maps, logit = self.raw(crops)
        return Located(self.points(maps), logit.sigmoid())
