"""Layers that the networks of ``flow_renderer`` share; two- and three-dimensional ones differ by ``dim`` alone."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.nn.modulation import instance_norm
from reenact_zoo.types import InputError

SLOPE = 0.1
CONV: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


def positive(name: str, **numbers: int) -> None:
    """InputError that names the first of the numbers below 1."""
    for field, number in numbers.items():
        if number < 1:
            raise InputError(f"flow_renderer: {name}.{field} must be at least 1, not {number}")


def group_norm(channels: int, group: int) -> nn.GroupNorm:
    """About ``group`` neighbouring channels are normalised together; 1 is instance norm. No running statistics."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // group)), channels)


class ConvNorm(nn.Sequential):
    """Convolution, group norm, ReLU: (B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, group: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            group_norm(outputs, group),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Norm, ReLU and 3x3 (3x3x3) convolution, twice, added to the input (He et al., ECCV 2016)."""

    def __init__(self, channels: int, group: int, dim: int = 2, kernel: int | tuple[int, ...] = 3) -> None:
        super().__init__()
        padding = kernel // 2 if isinstance(kernel, int) else tuple(side // 2 for side in kernel)
        layers: list[nn.Module] = []
        for last in (False, True):
            conv = CONV[dim](channels, channels, kernel, padding=padding, bias=last)  # type: ignore[arg-type]
            layers += [group_norm(channels, group), nn.ReLU(inplace=True), conv]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, [D,] H, W) → the same shape."""
        result: Tensor = x + self.layers(x)
        return result


class AdaptiveNorm(nn.Module):
    """AdaIN (Huang and Belongie, ICCV 2017): normalised maps, scaled and shifted by what a code says; then leaky ReLU.

    A plain ReLU can die here for good: early residual flows are noise, a code that shifts every channel below 0 is the
    quickest way out, and no gradient leads back (seen after 400 updates).

    Args:
        channels: of the maps.
        code: length of the code.
        group: channels normalised together; 1 is the paper's instance norm.
    """

    def __init__(self, channels: int, code: int, group: int) -> None:
        super().__init__()
        self.group = group
        self.read = nn.Linear(code, 2 * channels)
        nn.init.zeros_(self.read.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, [D,] H, W), (B, code) → the same shape, float32."""
        scale, shift = self.read(code)[(...,) + (None,) * (x.ndim - 2)].chunk(2, dim=1)
        return F.leaky_relu(instance_norm(x, self.group) * (1 + scale) + shift, SLOPE)


class Expand(nn.Sequential):
    """Sub-pixel convolution (Shi et al., CVPR 2016), norm and ReLU: (B, inputs, H, W) → (B, outputs, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int, group: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, 4 * outputs, 3, padding=1, bias=False),
            nn.PixelShuffle(2),
            group_norm(outputs, group),
            nn.ReLU(inplace=True),
        )
