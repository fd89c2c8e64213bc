"""Layers whose weights come from a person's embeddings, and the projection that makes these weights.

A weight and a bias of one sample are an ``Assigned`` pair; the layers of a generator draw their pairs from an iterator,
in the order in which they lie in the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.bilayer.spectral import EPS, SpectralLinear

Assigned = tuple[Tensor, Tensor]
"""Weight (B, out, in) and bias (B, out) of a 1x1 convolution, or scale (B, C, 1) and shift (B, C) of a norm."""


class Adaptive(nn.Module):
    """A layer without parameters of its own, called with (B, C, H, W) and the pairs not drawn yet."""


def run(layers: Iterable[nn.Module], x: Tensor, assigned: Iterator[Assigned]) -> Tensor:
    """Apply layers in turn; adaptive ones draw from ``assigned``."""
    for layer in layers:
        x = layer(x, assigned) if isinstance(layer, Adaptive) else layer(x)
    return x


class AdaptiveConv1x1(Adaptive):
    """1x1 convolution with an own weight for every sample."""

    def forward(self, x: Tensor, assigned: Iterator[Assigned]) -> Tensor:
        """(B, in, H, W) → (B, out, H, W); draws one pair."""
        return _conv1x1(x, *next(assigned))


class AdaptiveBatchNorm(Adaptive):
    """Batch norm without own parameters, then times (1 + scale) plus shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_layer = nn.BatchNorm2d(channels, EPS, affine=False)

    def forward(self, x: Tensor, assigned: Iterator[Assigned]) -> Tensor:
        """(B, C, H, W) → the same shape; draws one pair."""
        scale, shift = next(assigned)
        return self.norm_layer(x) * (scale[..., None] + 1) + shift[..., None, None]


class AdaptiveSpadeBatchNorm(Adaptive):
    """Batch norm, then scale and shift at every pixel: person-specific 1x1 convolutions of a learned map.

    The map takes the place of SPADE's picture of the shape and is the same for everybody.

    Args:
        channels: of what is modulated, and of the map.
        side: of both, in pixels.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.norm_layer = nn.BatchNorm2d(channels, EPS, affine=False)
        self.pixel_feats = nn.Parameter(torch.randn(1, channels, side, side))

    def forward(self, x: Tensor, assigned: Iterator[Assigned]) -> Tensor:
        """(B, C, side, side) → the same shape; draws two pairs."""
        feats = self.pixel_feats.expand(len(x), -1, -1, -1)
        scale, shift = _conv1x1(feats, *next(assigned)), _conv1x1(feats, *next(assigned))
        return self.norm_layer(x) * (scale + 1) + shift


def _conv1x1(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias[..., None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


class Projection(nn.Module):
    """Embeddings of a person → the pairs of all adaptive layers of a generator.

    Group i reads embedding i. For every adaptive layer, each row of pixels (of ``share`` channels together) passes a
    stack of three linear layers and becomes one row of the layer's weight, with the bias behind it.

    Args:
        channels: of the generator: its input's, then every block's output's.
        hidden: widths of the linear layers, one per group.
        side: to which the embeddings are resized; ``share`` * ``side``² numbers are read per row.
        share: embedding channels per output channel of the block.
        norms: pairs that one norm of a block draws.
        convolutional: whether these are 1x1 convolutions (of the block's output channels) or scales and shifts.
    """

    def __init__(
        self, channels: Sequence[int], hidden: Sequence[int], side: int, share: int, norms: int, convolutional: bool
    ) -> None:
        super().__init__()
        self._side, self._share = side, share
        groups = []
        for inputs, outputs, width in zip(channels, channels[1:], hidden, strict=False):
            norm = outputs if convolutional else 1
            reads = [*[norm] * norms, inputs, *[norm] * norms]
            groups.append(nn.ModuleList(_mlp(share * side * side, width, read + 1) for read in reads))
        self.fc_blocks = nn.ModuleList(groups)

    def forward(self, embeddings: Sequence[Tensor]) -> list[Assigned]:
        """One (B, c, h, w) per block, sides dividing ``side`` → pairs in the order in which layers draw them."""
        # Group i: second norm and skip of block i, then first norm of block i + 1: in this order layers draw them.
        ordered: list[Assigned] = []
        for group, embedding in zip(self.fc_blocks, embeddings, strict=True):
            assert isinstance(group, nn.ModuleList)
            batch, channels = embedding.shape[:2]
            pixels = F.adaptive_avg_pool2d(embedding, self._side)
            rows = pixels.reshape(batch, channels // self._share, -1)
            ordered += [(out[..., :-1], out[..., -1]) for out in (mlp(rows) for mlp in group)]
        return ordered


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(SpectralLinear(inputs, width), SpectralLinear(width, width), SpectralLinear(width, outputs))
