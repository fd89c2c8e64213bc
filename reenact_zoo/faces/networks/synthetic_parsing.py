"""Face parsing into BiSeNet's 19 classes by a small U-Net, trained on renders; it knows no real face.

Ronneberger et al., MICCAI 2015, with sums in place of concatenations. Classes that no synthetic person wears (earring,
necklace, hat) are never answered.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.networks.synthetic_blocks import Residual, conv, standardised

CLASSES = 19


class SyntheticParsing(nn.Module):
    """(B, 3, 64, 64) RGB in [0, 1], ``synthetic_crop.head_crop`` → logits (B, 19, 64, 64); any multiple of 8 works."""

    def __init__(self) -> None:
        super().__init__()
        self.at_1 = conv(3, 16)
        self.at_2 = nn.Sequential(conv(16, 32, 2), conv(32, 32))
        self.at_4 = nn.Sequential(conv(32, 64, 2), conv(64, 64))
        self.at_8 = nn.Sequential(conv(64, 96, 2), Residual(96))
        self.to_4, self.to_2, self.to_1 = nn.Conv2d(96, 64, 1), nn.Conv2d(64, 32, 1), nn.Conv2d(32, 16, 1)
        self.up_4, self.up_2 = conv(64, 64), conv(32, 32)
        self.classes = nn.Conv2d(16, CLASSES, 3, padding=1)

    def forward(self, crops: Tensor) -> Tensor:
        """See the class."""
        a = self.at_1(standardised(crops, by_channel=True))
        b = self.at_2(a)
        c = self.at_4(b)
        c = self.up_4(c + _doubled(self.to_4(self.at_8(c))))
        b = self.up_2(b + _doubled(self.to_2(c)))
        return self.classes(a + _doubled(self.to_1(b))).float()


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
