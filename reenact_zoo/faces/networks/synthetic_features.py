"""Four levels of features for perceptual losses where ImageNet weights are not at hand; trained on renders."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.networks.synthetic_blocks import conv

WIDTHS = (16, 32, 64, 96)


class SyntheticFeatures(nn.Module):
    """(B, 3, H, W) RGB in [0, 1] → four maps with 16, 32, 64, 96 channels at 1, 1/2, 1/4, 1/8 of the size.

    Stacked like VGG (Simonyan and Zisserman, ICLR 2015): two 3x3 convolutions, then 2x2 max pooling. It was trained at
    64x64 head crops to name the class of every pixel, to tell people apart and to undo noise and blur; sides must be at
    least 8.
    """

    channels = WIDTHS

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(conv(inputs, outputs), conv(outputs, outputs))
            for inputs, outputs in zip((3, *WIDTHS), WIDTHS)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class."""
        x, maps = (images - 0.5) * 4, []
        for number, level in enumerate(self.levels):
            x = level(x if number == 0 else F.max_pool2d(x, 2))
            maps.append(x)
        return maps
