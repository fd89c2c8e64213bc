"""The appearance network A: the source's foreground as a volume of features. No depth goes in, and none is asked for.

The picture is encoded in two dimensions and its channels are cut into slices of a volume, as in Wang et al. (CVPR 2021,
arXiv:2011.15126); that the slices come to lie at the depth that they show is learned through the warp alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.flow_renderer.blocks import ConvNorm, Residual, positive
from reenact_zoo.types import InputError


@dataclass
class VolumeSizes:
    """The feature volume (C, D, h, w); the defaults are for 64 pixels.

    Attributes:
        channels: C.
        depth: D; 1 is the ablation with a two-dimensional flow.
        stride: image pixels per voxel, a power of two; stride 4 at 64 pixels is too blurred.
        depth_span: depth of the volume as a part of its width; a head is a third of a frame deep.
    """

    channels: int = 16
    depth: int = 8
    stride: int = 2
    depth_span: float = 1.0

    @classmethod
    def tiny(cls) -> VolumeSizes:
        """Small and quick enough for tests."""
        return cls(channels=4, depth=4, stride=4)

    @classmethod
    def paper(cls) -> VolumeSizes:
        """32x16x64x64 at 256 pixels."""
        return cls(channels=32, depth=16, stride=4)

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        positive("volume", channels=self.channels, depth=self.depth, stride=self.stride)
        if self.stride & (self.stride - 1):
            raise InputError(f"flow_renderer: volume.stride must be a power of two, not {self.stride}")
        if self.depth_span <= 0:
            raise InputError(f"flow_renderer: volume.depth_span must be above 0, not {self.depth_span}")

    @property
    def flat(self) -> int:
        """Channels of the flattened volume, C · D."""
        return self.channels * self.depth

    def side(self, image_size: int) -> int:
        """Height and width of the volume of pictures of that size."""
        if image_size % self.stride:
            raise InputError(f"flow_renderer: image_size {image_size} must be divisible by volume.stride {self.stride}")
        return image_size // self.stride

    def shape(self, image_size: int) -> tuple[int, int, int]:
        """(D, h, w)."""
        side = self.side(image_size)
        return self.depth, side, side


@dataclass
class AppearanceSizes:
    """How wide A is; the defaults are for 64 pixels.

    Attributes:
        unshuffle: so many pixels along each axis become channels before the first convolution.
        kernel: of the first convolution.
        widths: channels from the first convolution on, halving the side each time until it is the volume's.
        context: channels of a level at half the volume's side that sees more of the picture; 0 for none.
        blocks: residual blocks at the volume's side.
        blocks_3d: residual blocks of the volume.
        features: channels of the two-dimensional features that refinement gets warped.
        norm_group: channels normalised together; 1 is instance norm.
    """

    unshuffle: int = 2
    kernel: int = 3
    widths: list[int] = field(default_factory=lambda: [48])
    context: int = 96
    blocks: int = 1
    blocks_3d: int = 0
    features: int = 16
    norm_group: int = 16

    @classmethod
    def tiny(cls) -> AppearanceSizes:
        """Small and quick enough for tests."""
        return cls(unshuffle=4, widths=[16], context=0, blocks_3d=1, features=4, norm_group=4)

    @classmethod
    def paper(cls) -> AppearanceSizes:
        """As Wang et al. at 256 pixels."""
        return cls(
            unshuffle=1, kernel=7, widths=[64, 128, 256], context=0, blocks=0, blocks_3d=6, features=64, norm_group=1
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        positive("appearance", unshuffle=self.unshuffle, kernel=self.kernel, norm_group=self.norm_group)
        if not self.widths or min(self.widths) < 1 or self.features < 1:
            raise InputError("flow_renderer: appearance.widths and appearance.features must be numbers of channels")

    def check(self, volume: VolumeSizes) -> None:
        """The side that the widths lead to must be the volume's."""
        reached = self.unshuffle * 2 ** (len(self.widths) - 1)
        if reached != volume.stride:
            raise InputError(
                f"flow_renderer: appearance.unshuffle {self.unshuffle} with {len(self.widths)} widths leads to stride "
                f"{reached}, volume.stride is {volume.stride}; add or remove a width per factor of two"
            )


@dataclass(frozen=True)
class AppearanceCode:
    """What A reads off a source: volume (B, C, D, h, w) and two-dimensional features (B, F, h, w)."""

    volume: Tensor
    features: Tensor


class Appearance(nn.Module):
    """A; see the module."""

    def __init__(self, volume: VolumeSizes, sizes: AppearanceSizes) -> None:
        super().__init__()
        sizes.check(volume)
        group, last = sizes.norm_group, sizes.widths[-1]
        self.unshuffle, self.channels = sizes.unshuffle, volume.channels
        first = ConvNorm(3 * sizes.unshuffle**2, sizes.widths[0], group, sizes.kernel)
        downs = [ConvNorm(before, after, group, stride=2) for before, after in pairwise(sizes.widths)]
        self.trunk = nn.Sequential(first, *downs)
        self.context: nn.Module | None = None
        if sizes.context:
            self.context = nn.Sequential(
                ConvNorm(last, sizes.context, group, stride=2),
                ConvNorm(sizes.context, sizes.context, group),
                nn.Conv2d(sizes.context, last, 1),
            )
        self.blocks = nn.Sequential(*(Residual(last, group) for _ in range(sizes.blocks)))
        self.to_features = nn.Conv2d(last, sizes.features, 1)
        self.to_volume = nn.Conv2d(last, volume.flat, 1)
        kernel = (3 if volume.depth > 1 else 1, 3, 3)
        self.blocks_3d = nn.Sequential(*(Residual(volume.channels, group, 3, kernel) for _ in range(sizes.blocks_3d)))

    def forward(self, foreground: Tensor) -> AppearanceCode:
        """Foreground (B, 3, H, W) RGB in [0, 1] on black → volume and features."""
        x = F.pixel_unshuffle(2 * foreground - 1, self.unshuffle)
        x = self.trunk(x.contiguous(memory_format=torch.channels_last))
        if self.context is not None:
            x = x + F.interpolate(self.context(x), scale_factor=2, mode="bilinear", align_corners=False)
        x = self.blocks(x)
        volume = self.to_volume(x).contiguous().unflatten(1, (self.channels, -1))
        return AppearanceCode(self.blocks_3d(volume), self.to_features(x))
