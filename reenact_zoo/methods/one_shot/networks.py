"""Networks of One-shot Face Reenactment (Zhang et al., BMVC 2019, arXiv:1908.03251).

An encoder squeezes the source into one vector; a decoder rebuilds the source from it, and the maps on its way feed a
second decoder, which the driving shape modulates at every level. With ``widths(256)`` these are the released networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.nn.modulation import InstanceNorm, Pyramid, Spade, instance_norm, map_pyramid
from reenact_zoo.types import InputError

Concat = Literal["all", "none", "16", "32", "64", "128"]

LEVELS = ("16", "32", "64", "128")  # feature levels by their side at 256 pixels; elsewhere H/16, H/8, H/4, H/2
NUM_MAPS = 9


@dataclass(frozen=True)
class Widths:
    """Channels of the three networks for one image size.

    Attributes:
        image_size: side of the images, a power of two.
        encoder: after each strided convolution, from H/2 down to 2 pixels.
        latent: length of the appearance code.
        features: of the appearance decoder at H/16, H/8, H/4 and H/2.
        stem: of the reenacting decoder from 2 pixels up to H/16.
        streams: what it hands on after its blocks at H/16, H/8, H/4 and H/2.
        norm_group: channels that are normalised together, everywhere; 1 (instance norm) in the released network.
    """

    image_size: int
    encoder: tuple[int, ...]
    latent: int
    features: tuple[int, ...]
    stem: int
    streams: tuple[int, ...]
    norm_group: int = 1


def widths(
    image_size: int = 256, base: int = 64, cap: int = 1024, latent: int | None = None, norm_group: int = 1
) -> Widths:
    """Widths that double with every halving, from ``base`` up to ``cap``; (256, 64, 1024) is the released network.

    Args:
        image_size: 32, 64, 128, 256, 512, …
        base: width at the largest size.
        cap: largest width of a layer, not counting concatenated maps.
        latent: length of the appearance code; ``cap`` where omitted.
        norm_group: channels that are normalised together.

    Raises:
        InputError: ``image_size`` is not a power of two of 32 or more, or ``cap`` is smaller than ``base``.
    """
    halvings = image_size.bit_length() - 1
    if image_size < 32 or image_size != 1 << halvings:
        raise InputError(f"one_shot: image_size must be 32, 64, 128, 256 or 512, not {image_size}")
    if not 2 <= base <= cap:
        raise InputError(f"one_shot: base_width {base} must be 2 or more and at most cap_width {cap}")

    def times(factor: int) -> int:
        return min(factor * base, cap)

    return Widths(
        image_size,
        encoder=tuple(times(2**i) for i in range(halvings - 1)),
        latent=latent or cap,
        features=(times(16), times(8), times(4), times(2)),
        stem=min(8 * base, cap // 2),
        streams=(times(4), times(2), base, base),
        norm_group=norm_group,
    )


class AppearanceEncoder(nn.Module):
    """Image → appearance code: strided 3x3 convolutions down to one pixel."""

    def __init__(self, sizes: Widths) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip((3, *sizes.encoder), sizes.encoder)):
            layers += [nn.Conv2d(before, after, 3, 2, 1)]
            layers += [InstanceNorm(sizes.norm_group)] if i > 0 else []
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.mean = nn.Conv2d(sizes.encoder[-1], sizes.latent, 3, 2, 1)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] → code (B, Z, 1, 1), the mean of its distribution."""
        return self.mean(self.layers(images))

    @staticmethod
    def sample(mean: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A code around ``mean`` (B, Z, 1, 1) with unit variance; the released code draws one also when testing."""
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return mean + noise

    @staticmethod
    def divergence(mean: Tensor) -> Tensor:
        """Scalar that the released code calls KL and leaves out of its loss.

        Its variance is the constant 1, which it takes for the logarithm too: hence e - 2 per channel where 0 is due.
        """
        return 0.5 * (mean.square() + (math.e - 2)).sum(1).mean()


def _doubling(before: int, after: int, norm_group: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(before, after, 4, 2, 1), InstanceNorm(norm_group), nn.ReLU(inplace=True)]


class AppearanceDecoder(nn.Module):
    """Appearance code → the image it was made from, and the maps on the way."""

    def __init__(self, sizes: Widths) -> None:
        super().__init__()
        first, group = sizes.features[0], sizes.norm_group
        trunk: list[nn.Module] = []
        for i in range(len(sizes.encoder) + 1 - 4):  # from one pixel to H/16
            trunk += _doubling(first if i else sizes.latent, first, group)
        self.trunk = nn.Sequential(*trunk)
        self.levels = nn.ModuleList(
            nn.Sequential(*_doubling(before, after, group)) for before, after in zip(sizes.features, sizes.features[1:])
        )
        self.to_image = nn.ConvTranspose2d(sizes.features[-1], 3, 4, 2, 1)
        initialise(self)

    def forward(self, code: Tensor) -> tuple[list[Tensor], Tensor]:
        """Code (B, Z, 1, 1) → maps at H/16, H/8, H/4, H/2, and the image (B, 3, H, W) in [-1, 1]."""
        maps = [self.trunk(code)]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return maps, self.to_image(maps[-1]).float().tanh()


class SpadeBlock(nn.Module):
    """Two modulated 1x1 convolutions, plus a modulated one as the way round; both ways change what they carry."""

    def __init__(self, channels: int, maps: int, norm_group: int = 1) -> None:
        super().__init__()
        self.norm_group = norm_group
        self.spade1, self.spade2, self.spade_around = (Spade(channels, maps, group=norm_group) for _ in range(3))
        self.conv1, self.conv2, self.conv_around = (nn.Conv2d(channels, channels, 1) for _ in range(3))

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """Map x (B, C, H, W), maps (B, M, H, W) → (B, C, H, W)."""
        normalised = instance_norm(x, self.norm_group)
        inner = self.conv1(F.relu(self.spade1.modulate(normalised, maps)))
        inner = self.conv2(F.relu(self.spade2(inner, maps)))
        return inner + self.conv_around(F.relu(self.spade_around.modulate(normalised, maps)))


class SpadeLevel(nn.Module):
    """A block, a 1x1 convolution to fewer channels (none where ``outputs`` is None), and doubling of the size."""

    def __init__(self, channels: int, outputs: int | None, maps: int, norm_group: int = 1) -> None:
        super().__init__()
        self.block = SpadeBlock(channels, maps, norm_group)
        self.narrow = nn.Identity() if outputs is None else nn.Conv2d(channels, outputs, 1)
        self.up = nn.ConvTranspose2d(outputs or channels, outputs or channels, 4, 2, 1)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """Map x (B, C, H, W), maps (B, M, H, W) → (B, outputs, 2 H, 2 W)."""
        return self.up(self.narrow(self.block(x, maps)))


class SpadeDecoder(nn.Module):
    """Appearance code and features, modulated by the driving shape → the reenacted image.

    Args:
        sizes: channels of every level.
        maps: channels of the shape maps.
        concat: feature levels that are concatenated, by their side at 256 pixels: "16" is H/16, "128" is H/2.
        pyramid: how the shape maps are made smaller; the released code uses "nearest".

    Raises:
        InputError: unknown ``concat``.
    """

    def __init__(
        self, sizes: Widths, maps: int = NUM_MAPS, concat: Concat = "all", pyramid: Pyramid = "nearest"
    ) -> None:
        super().__init__()
        if concat not in ("all", "none", *LEVELS):
            raise InputError(f"one_shot: concat must be all, none, {', '.join(LEVELS)}, not '{concat}'")
        self.used = tuple(concat in ("all", level) for level in LEVELS)
        self.pyramid: Pyramid = pyramid
        stem, group = sizes.stem, sizes.norm_group
        doublings = len(sizes.encoder) + 1 - 4  # from one pixel to H/16; the first two have no block
        before_seed = (sizes.latent, stem)[:doublings]
        self.seed = nn.Sequential(*(nn.ConvTranspose2d(channels, stem, 4, 2, 1) for channels in before_seed))
        self.coarse = nn.ModuleList(SpadeLevel(stem, None, maps, group) for _ in range(doublings - 2))
        self.levels = nn.ModuleList(
            SpadeLevel(before + (feature if used else 0), after, maps, group)
            for before, after, feature, used in zip((stem, *sizes.streams), sizes.streams, sizes.features, self.used)
        )
        self.to_image = nn.Conv2d(sizes.streams[-1], 3, 3, padding=1)
        initialise(self)

    def forward(self, maps: Tensor, code: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Shape maps (B, M, H, W) in [0, 1], code (B, Z, 1, 1), four feature maps → image (B, 3, H, W) in [-1, 1]."""
        pictures = map_pyramid(maps, len(self.coarse) + 4, self.pyramid)[::-1]  # smallest first
        x = self.seed(code)
        for level, picture in zip(self.coarse, pictures):
            x = level(x, picture)
        for level, picture, feature, used in zip(self.levels, pictures[-4:], features, self.used):
            x = level(torch.cat((x, feature), dim=1) if used else x, picture)
        return self.to_image(x).float().tanh()


def initialise(module: nn.Module, deviation: float | None = None) -> None:
    """Fresh weights in place: normal with variance 1 / (inputs that a value sums over), biases 0, Spade at identity.

    Args:
        module: whose convolutions to fill.
        deviation: one for all weights, biases all 0; the released code has 0.02, which suits its widths: in a network
            of 24 channels the signal would sink below the epsilon of the norms.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            taps = layer.kernel_size[0] * layer.kernel_size[1] // (layer.stride[0] ** 2 if layer.transposed else 1)
            nn.init.normal_(layer.weight, std=deviation or (layer.in_channels * taps) ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if deviation is None:
        for layer in module.modules():
            if isinstance(layer, Spade):
                layer.start_at_identity()
