"""The RGB head P: a feature volume back to a picture; the same head for source, warped and cycled volumes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reenact_zoo.methods.flow_renderer.appearance import VolumeSizes
from reenact_zoo.methods.flow_renderer.blocks import ConvNorm, Expand, Residual, positive


@dataclass
class HeadSizes:
    """How wide P is; the defaults are for 64 pixels.

    Attributes:
        width: channels at the volume's side; halved at every doubling.
        blocks: residual blocks at the volume's side.
        norm_group: channels normalised together; 1 is instance norm.
    """

    width: int = 48
    blocks: int = 1
    norm_group: int = 16

    @classmethod
    def tiny(cls) -> HeadSizes:
        """Small and quick enough for tests."""
        return cls(width=8, blocks=0, norm_group=4)

    @classmethod
    def paper(cls) -> HeadSizes:
        """At 256 pixels."""
        return cls(width=256, blocks=2, norm_group=1)

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        positive("head", width=self.width, norm_group=self.norm_group)


class RgbHead(nn.Module):
    """P; see the module."""

    def __init__(self, volume: VolumeSizes, sizes: HeadSizes) -> None:
        super().__init__()
        group, width = sizes.norm_group, sizes.width
        layers: list[nn.Module] = [ConvNorm(volume.flat, width, group, 1)]
        layers += [Residual(width, group) for _ in range(sizes.blocks)]
        stride = volume.stride
        while stride > 2:
            layers.append(Expand(width, max(1, width // 2), group))
            width, stride = max(1, width // 2), stride // 2
        # The last doubling goes straight to colours: maps at full size cost most where memory is the limit
        layers += [nn.Conv2d(width, 3 * stride**2, 3, padding=1), nn.PixelShuffle(stride)]
        self.layers = nn.Sequential(*layers)

    def forward(self, volume: Tensor) -> Tensor:
        """Volume (B, C, D, h, w) → foreground (B, 3, H, W) RGB in [0, 1], on black."""
        flat = volume.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        return torch.sigmoid(self.layers(flat).float())
