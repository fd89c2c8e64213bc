"""The generator: features of the source, warped by the dense motion, dimmed where hidden, drawn anew (section 3.2)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.fomm.blocks import Conv, Down, Residual, Up
from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.dense_motion import DenseMotion, Motion
from reenact_zoo.methods.fomm.motion import Keypoints


class Encoded(NamedTuple):
    """What depends on the source picture alone.

    Attributes:
        features: (B, C, h, w) before the warp.
        small: (B, 3, h', w') the picture as the dense motion network sees it.
    """

    features: Tensor
    small: Tensor


class OcclusionAwareGenerator(nn.Module):
    """Encoder, dense motion, and decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        c = config
        self.convention = Convention(c.preset)
        widths = [min(c.generator_cap, c.generator_width * 2**level) for level in range(c.generator_halvings + 1)]
        self.dense_motion_network = DenseMotion(c)
        self.first = Conv(3, widths[0], 7)
        self.down_blocks = nn.ModuleList(Down(a, b) for a, b in pairwise(widths))
        self.bottleneck = nn.Sequential()
        for index in range(c.generator_blocks):
            self.bottleneck.add_module(f"r{index}", Residual(widths[-1]))
        self.up_blocks = nn.ModuleList(Up(b, a) for a, b in reversed(list(pairwise(widths))))
        self.final = nn.Conv2d(widths[0], 3, 7, padding=3)

    def encode(self, source: Tensor) -> Encoded:
        """Source (B, 3, H, W) RGB in [0, 1]."""
        features = self.first(source)
        for block in self.down_blocks:
            features = block(features)
        return Encoded(features, self.dense_motion_network.down(source))

    def decode(self, features: Tensor, motion: Motion) -> Tensor:
        """Picture (B, 3, H, W) in [0, 1] from warped features."""
        height, width = features.shape[-2:]
        flow, visible = self.convention.resized(motion.flow, height, width), motion.occlusion
        if visible.shape[-2:] != (height, width):
            visible = F.interpolate(visible, (height, width), mode="bilinear", align_corners=False)
        warped = self.convention.sample(_whole_pixels(features), flow)
        x = self.bottleneck(_channels_last(warped) * visible)
        for block in self.up_blocks:
            x = block(x)
        return self.final(x).float().sigmoid()

    def forward(self, encoded: Encoded, source: Keypoints, driving: Keypoints) -> tuple[Tensor, Motion]:
        """The encoded source with ``source`` keypoints, brought to ``driving`` ones."""
        motion = self.dense_motion_network(encoded.small, source, driving)
        return self.decode(encoded.features, motion), motion


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _whole_pixels(x: Tensor) -> Tensor:
    """The same, with a gradient in channels-last order: sampling returns another, and every layer before would copy."""
    if x.requires_grad:
        x = x.view_as(x)
        x.register_hook(_channels_last)
    return x
