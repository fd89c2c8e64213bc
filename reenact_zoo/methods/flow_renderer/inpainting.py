"""Inpainting of what the head uncovered: a U-Net of gated convolutions (Yu et al., ICCV 2019, arXiv:1806.03589)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.flow_renderer.blocks import group_norm, positive
from reenact_zoo.types import InputError

INPUTS = 3 + 1 + 1  # canvas, blank, matte


@dataclass
class InpaintingSizes:
    """How wide inpainting is; the defaults are for 64 pixels.

    Attributes:
        unshuffle: so many pixels along each axis become channels before the first convolution.
        widths: channels from there on, halving the side each time.
        dilations: of the convolutions on the smallest maps.
        norm_group: channels normalised together; 1 is instance norm.
    """

    unshuffle: int = 2
    widths: list[int] = field(default_factory=lambda: [24, 40, 64])
    dilations: list[int] = field(default_factory=lambda: [1, 2, 4])
    norm_group: int = 16

    @classmethod
    def tiny(cls) -> InpaintingSizes:
        """Small and quick enough for tests."""
        return cls(unshuffle=4, widths=[8, 8], dilations=[2], norm_group=4)

    @classmethod
    def paper(cls) -> InpaintingSizes:
        """At 256 pixels."""
        return cls(unshuffle=1, widths=[48, 96, 192], dilations=[2, 4, 8, 16], norm_group=1)

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        positive("inpainting", unshuffle=self.unshuffle, norm_group=self.norm_group)
        if len(self.widths) < 2 or min(self.widths) < 1 or min([1, *self.dilations]) < 1:
            raise InputError("flow_renderer: inpainting needs two or more widths, and dilations of at least 1")


class GatedConv(nn.Module):
    """A convolution whose features, normalised, are multiplied by a gate in [0, 1] that a second one finds."""

    def __init__(self, inputs: int, outputs: int, group: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 2 * outputs, 3, stride, dilation, dilation)
        self.norm = group_norm(outputs, group)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        features, gate = self.conv(x).chunk(2, dim=1)
        return F.elu(self.norm(features)) * torch.sigmoid(gate)


class Inpainting(nn.Module):
    """See the module."""

    def __init__(self, image_size: int, sizes: InpaintingSizes) -> None:
        super().__init__()
        group, widths, self.unshuffle = sizes.norm_group, sizes.widths, sizes.unshuffle
        smallest = sizes.unshuffle * 2 ** (len(widths) - 1)
        if image_size % smallest:
            raise InputError(
                f"flow_renderer: image_size {image_size} must be divisible by {smallest} for inpainting's widths"
            )
        self.first = GatedConv(INPUTS * sizes.unshuffle**2, widths[0], group)
        self.downs = nn.ModuleList(GatedConv(i, o, group, stride=2) for i, o in pairwise(widths))
        self.dilated = nn.ModuleList(GatedConv(widths[-1], widths[-1], group, dilation=d) for d in sizes.dilations)
        self.ups = nn.ModuleList(GatedConv(i + o, o, group) for o, i in list(pairwise(widths))[::-1])
        self.to_pixels = nn.Conv2d(widths[0], 3 * sizes.unshuffle**2, 3, padding=1)

    def forward(self, canvas: Tensor, blank: Tensor, matte: Tensor) -> Tensor:
        """Fill a picture.

        Args:
            canvas: (B, 3, H, W) RGB in [0, 1]: rendered foreground over known background, black where neither is.
            blank: (B, 1, H, W) in [0, 1]: how much of a pixel is neither.
            matte: (B, 1, H, W) in [0, 1]: of the rendered foreground.

        Returns:
            (B, 3, H, W) RGB in [0, 1], everywhere; composition takes from it what is blank.
        """
        pixels = F.pixel_unshuffle(torch.cat((2 * canvas - 1, blank, matte), dim=1), self.unshuffle)
        skips = [self.first(pixels.contiguous(memory_format=torch.channels_last))]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for block in self.dilated:
            x = x + block(x)
        for up in self.ups:
            x = up(torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()), dim=1))
        return torch.sigmoid(F.pixel_shuffle(self.to_pixels(x).float(), self.unshuffle))
