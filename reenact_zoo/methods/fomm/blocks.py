"""Parts of the networks; names of submodules are the released ones, so that released weights load as they are."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Module):
    """Convolution, batch norm, ReLU; the size stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H, W)."""
        return F.relu(self.norm(self.conv(x)))


class Down(Conv):
    """``Conv``, then averages of 2x2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H/2, W/2)."""
        return F.avg_pool2d(super().forward(x), 2)


class Up(Conv):
    """Every pixel twice in both directions, then ``Conv``."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', 2H, 2W)."""
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class Residual(nn.Module):
    """Norm, ReLU and convolution, twice, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        inner = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(inner)))


class Hourglass(nn.Module):
    """Encoder and decoder with a skip at every size, the input itself the last one.

    Args:
        inputs: channels of what comes in.
        base: channels of the last decoder block; doubled at every halving.
        cap: channels at most.
        depth: how often the size is halved.

    Attributes:
        num_outputs: channels of what comes out: ``base`` and the inputs.
    """

    def __init__(self, inputs: int, base: int, cap: int, depth: int) -> None:
        super().__init__()
        widths = [min(cap, base * 2**level) for level in range(depth + 1)]
        down = [Down(before, after) for before, after in pairwise([inputs, *widths[1:]])]
        # All but the deepest see a skip of their own width beside what comes from below
        up = [Up(widths[k + 1] * (1 if k == depth - 1 else 2), widths[k]) for k in reversed(range(depth))]
        self.encoder = nn.ModuleDict({"down_blocks": nn.ModuleList(down)})
        self.decoder = nn.ModuleDict({"up_blocks": nn.ModuleList(up)})
        self.num_outputs = widths[0] + inputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, num_outputs, H, W); sides divisible by 2 ** depth."""
        skips = [x]
        for block in cast(nn.ModuleList, self.encoder["down_blocks"]):
            skips.append(block(skips[-1]))
        x = skips.pop()
        for block in cast(nn.ModuleList, self.decoder["up_blocks"]):
            x = torch.cat((block(x), skips.pop()), 1)
        return x


class Shrink(nn.Module):
    """Pictures at 1 / factor of the side.

    Args:
        factor: how much smaller.
        released: blur by a Gaussian and take every ``factor``-th pixel from the first one on, as the released code
            does; that moves the picture by (factor - 1) / 2 pixels. Else: averages of ``factor`` x ``factor`` pixels.
    """

    weight: Tensor

    def __init__(self, factor: int, released: bool) -> None:
        super().__init__()
        self.factor, self.released = factor, released and factor > 1
        if self.released:
            self.register_buffer("weight", blur_kernel(factor).expand(3, 1, -1, -1).clone())

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 3, H / factor, W / factor)."""
        if self.released:
            return F.conv2d(images, self.weight, stride=self.factor, padding=self.weight.shape[-1] // 2, groups=3)
        return F.avg_pool2d(images, self.factor) if self.factor > 1 else images


def blur_kernel(factor: int) -> Tensor:
    """Gaussian of deviation (factor - 1) / 2 cut off at four deviations, of sum 1: (side, side)."""
    sigma = (factor - 1) / 2
    reach = round(4 * sigma)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = torch.outer(line, line)
    return (kernel / kernel.sum()).float()
