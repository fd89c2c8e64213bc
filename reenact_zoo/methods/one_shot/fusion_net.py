"""FusionNet: a U-Net that decides, pixel by pixel, between the generated image and the warped source.

Zhang et al. (BMVC 2019, arXiv:1908.03251) describe it and did not release it: the structure here is ours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.one_shot.networks import NUM_MAPS, initialise
from reenact_zoo.nn.modulation import InstanceNorm


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), InstanceNorm(), nn.LeakyReLU(0.2, inplace=True))


class FusionNet(nn.Module):
    """Generated image, warped source and driving shape → how much of the warped source to take.

    The fused image is ``m * warped + (1 - m) * generated``, the formula of the released fixed blend.

    Args:
        base: width at full size; it doubles with every halving. 32 suits 256 pixels, 8 suits 64.
        maps: channels of the shape maps.
        levels: how often the size is halved.
    """

    def __init__(self, base: int = 32, maps: int = NUM_MAPS, levels: int = 3) -> None:
        super().__init__()
        sizes = [base * 2**i for i in range(levels + 1)]
        self.first = _conv(6 + maps, base)
        self.downs = nn.ModuleList(_conv(before, after, 2) for before, after in pairwise(sizes))
        self.ups = nn.ModuleList(_conv(after + before, before) for before, after in zip(sizes[-2::-1], sizes[:0:-1]))
        self.to_mask = nn.Conv2d(base, 1, 3, padding=1)
        initialise(self)
        nn.init.normal_(self.to_mask.weight, std=1e-3)  # starts undecided: m is 0.5 everywhere, within 0.02

    def forward(self, generated: Tensor, warped: Tensor, maps: Tensor) -> Tensor:
        """Two images (B, 3, H, W) in [-1, 1], maps (B, M, H, W) in [0, 1] → mask m (B, 1, H, W) in (0, 1), float32.

        H and W are divisible by 2 ** levels.
        """
        return self.logits(generated, warped, maps).sigmoid()

    def logits(self, generated: Tensor, warped: Tensor, maps: Tensor) -> Tensor:
        """As ``forward`` before the sigmoid."""
        passed = [self.first(torch.cat((generated, warped, maps), dim=1))]
        for down in self.downs:
            passed.append(down(passed[-1]))
        x = passed.pop()
        for up in self.ups:
            x = up(torch.cat((F.interpolate(x, scale_factor=2.0, mode="nearest"), passed.pop()), dim=1))
        return self.to_mask(x).float()
