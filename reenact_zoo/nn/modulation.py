"""Normalisation by map, and modulation by pictures of a shape (SPADE; Park et al., CVPR 2019, arXiv:1903.07291)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pyramid = Literal["nearest", "area"]

IDENTITY_SCALE = 1.0  # what a fresh Spade multiplies by where its maps are zero


def instance_norm(x: Tensor, group: int = 1, eps: float = 1e-5) -> Tensor:
    """(B, C, H, W) → float32 with mean 0 and variance 1 in every map; without parameters or running statistics.

    A map of one pixel comes back as it is: its deviation is 0, and normalising would delete it with its gradient.

    Args:
        x: maps.
        group: about how many neighbouring channels are normalised together (group norm; Wu and He, ECCV 2018). On maps
            of 2x2 or 4x4 pixels a norm by channel leaves of few channels hardly more than signs: brightness and colour
            are lost.
        eps: added to the variance.
    """
    x = x.float()
    if group == 1 and x.shape[-2] * x.shape[-1] == 1:
        return x
    channels = x.shape[1]
    # One group per channel is the same sum as instance norm, with kernels for channels-last on the CPU.
    return F.group_norm(x, math.gcd(channels, max(1, channels // group)), eps=eps)


class InstanceNorm(nn.Module):
    """``instance_norm`` as a layer."""

    def __init__(self, group: int = 1) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape, float32."""
        return instance_norm(x, self.group)


class Spade(nn.Module):
    """Normalised maps times a scale plus a shift, both read off shape maps at every pixel.

    Args:
        channels: of what is modulated.
        maps: channels of the shape maps.
        hidden: width of a 3x3 convolution with ReLU before scale and shift; 0: they are read off directly, as in
            Zhang et al. (BMVC 2019). Park et al. use 128.
        group: channels normalised together, see ``instance_norm``.
    """

    def __init__(self, channels: int, maps: int, hidden: int = 0, group: int = 1) -> None:
        super().__init__()
        self.group = group
        first = [nn.Conv2d(maps, hidden, 3, padding=1), nn.ReLU(inplace=True)] if hidden else []
        # One convolution for both halves; adding 1 to the scale, as Park et al. do, is its bias at the start.
        self.read = nn.Sequential(*first, nn.Conv2d(hidden or maps, 2 * channels, 3, padding=1))
        self.start_at_identity()

    def start_at_identity(self) -> None:
        """Scale 1 and shift 0 where there is nothing on the maps."""
        bias = self.read[-1].bias
        assert isinstance(bias, Tensor)
        with torch.no_grad():
            bias.zero_()
            bias[: len(bias) // 2] = IDENTITY_SCALE

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """Map x (B, C, H, W), maps (B, M, H, W) → (B, C, H, W)."""
        return self.modulate(instance_norm(x, self.group), maps)

    def modulate(self, normalised: Tensor, maps: Tensor) -> Tensor:
        """As ``forward`` for x that is normalised already, which several modulations of it can share."""
        scale, shift = self.read(maps).chunk(2, dim=1)
        return normalised * scale + shift


def map_pyramid(maps: Tensor, levels: int, how: Pyramid = "nearest") -> list[Tensor]:
    """(B, M, H, W) → ``levels`` pictures of it at H/2, H/4, …, largest first.

    Args:
        maps: sides divisible by 2 ** levels.
        levels: how often to halve.
        how: "nearest" takes the pixels with even indices, which moves shapes by half a pixel at each level and drops
            thin ones; "area" averages 2x2 pixels.
    """
    pictures = []
    for _ in range(levels):
        maps = maps[..., ::2, ::2] if how == "nearest" else F.avg_pool2d(maps, 2)
        pictures.append(maps)
    return pictures
