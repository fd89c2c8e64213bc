"""Pre-activation residual block with spectral norm, which every convolutional network of the method is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import Tensor, nn

from reenact_zoo.methods.bilayer.adaptive import AdaptiveConv1x1, Assigned, run
from reenact_zoo.methods.bilayer.spectral import SpectralConv2d

SLOPE = 0.2  # of the leaky ReLU, everywhere
NOTHING: Iterator[Assigned] = iter(())  # for blocks without adaptive layers

Resize = Literal["none", "up", "down"]


class ResBlock(nn.Module):
    """block(block_feats(x)) + skip(x); ``block_feats`` ends after the first convolution and its activation.

    Args:
        inputs, outputs: channels.
        resize: nearest-neighbour doubling, mean over 2x2, or neither.
        norms: before the first and after the first convolution; None for a block without norms.
        efficient: double after the first convolution rather than before it.
        adaptive_skip: the skip's 1x1 convolution has person-specific weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        resize: Resize = "none",
        norms: tuple[nn.Module, nn.Module] | None = None,
        efficient: bool = False,
        adaptive_skip: bool = False,
    ) -> None:
        super().__init__()
        up: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")] if resize == "up" else []
        down: list[nn.Module] = [nn.AvgPool2d(2)] if resize == "down" else []
        first, second = ([norms[0]], [norms[1]]) if norms else ([], [])
        early, late = ([], up) if efficient else (up, [])
        conv = SpectralConv2d(inputs, outputs, 3)
        self.block_feats = nn.Sequential(*first, nn.LeakyReLU(SLOPE), *early, conv, *second, nn.LeakyReLU(SLOPE))
        self.block = nn.Sequential(*late, SpectralConv2d(outputs, outputs, 3), *down)
        mixed = AdaptiveConv1x1() if adaptive_skip else SpectralConv2d(inputs, outputs, 1)
        changes = inputs != outputs or resize != "none"
        self.skip = nn.Sequential(*up, mixed, *down) if changes else nn.Sequential()

    def features(self, x: Tensor, assigned: Iterator[Assigned] = NOTHING) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H', W'), what is inside the block after its first convolution."""
        return run(self.block_feats, x, assigned)

    def rest(self, x: Tensor, features: Tensor, assigned: Iterator[Assigned] = NOTHING) -> Tensor:
        """Output (B, outputs, H', W') of the block from its input and its ``features``."""
        return self.block(features) + run(self.skip, x, assigned)

    def forward(self, x: Tensor, assigned: Iterator[Assigned] = NOTHING) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H', W')."""
        return self.rest(x, self.features(x, assigned), assigned)
