"""The layer that moves: made for every frame by a small network from the pose alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from reenact_zoo.methods.bilayer.adaptive import AdaptiveBatchNorm, Assigned, Projection, run
from reenact_zoo.methods.bilayer.embedders import SIDE
from reenact_zoo.methods.bilayer.residual import SLOPE, ResBlock
from reenact_zoo.methods.bilayer.spectral import EPS, SpectralConv2d
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.ops.warp import warp

SHARE = 2  # it has half the channels of the texture generator


@dataclass(frozen=True)
class Layers:
    """What is drawn for a pose.

    Attributes:
        offsets: (B, 2, H, W) in [-1, 1]; added to every pixel's own place they say where in the texture it looks.
        flow: (B, H, W, 2), that place.
        low: (B, 3, H, W) in [-1, 1], the coarse picture.
        mask_logits: (B, 1, H, W), above 0 where the person is.
    """

    offsets: Tensor
    flow: Tensor
    low: Tensor
    mask_logits: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, 1, H, W) share of the person in [0, 1]."""
        return self.mask_logits.sigmoid()

    def high(self, texture: Tensor) -> Tensor:
        """(B, 3, H, W): the texture moved; what lies outside of it is 0."""
        return warp(texture, self.flow)


class InferenceGenerator(nn.Module):
    """Grows offsets, coarse picture and mask from the pose's map.

    Args:
        channels: of the pose's map, then of every block's output.
        hidden: widths of the projection's linear layers, one per block.
        projection_side: see ``Projection``.
    """

    identity_grid: Tensor

    def __init__(self, channels: Sequence[int], hidden: Sequence[int], projection_side: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            first = AdaptiveBatchNorm(inputs) if blocks else nn.BatchNorm2d(inputs, EPS)
            norms = (first, AdaptiveBatchNorm(outputs))
            blocks.append(ResBlock(inputs, outputs, "up", norms, efficient=True, adaptive_skip=True))
        side = SIDE * 2 ** len(blocks)
        last = channels[-1]
        blocks += [AdaptiveBatchNorm(last), nn.LeakyReLU(SLOPE)]
        heads = [
            nn.Sequential(SpectralConv2d(last, 2, 3), nn.Tanh()),
            nn.Sequential(SpectralConv2d(last, 3, 3), nn.Tanh()),
            nn.Sequential(SpectralConv2d(last, 1, 3)),
        ]
        self.gen_inf = nn.ModuleDict({"blocks": nn.ModuleList(blocks), "heads": nn.ModuleList(heads)})
        self.prj_inf = Projection(channels, hidden, projection_side, share=SHARE, norms=1, convolutional=False)
        self.register_buffer("identity_grid", identity_grid(side, side)[None])

    def personal(self, embeddings: Sequence[Tensor]) -> list[Assigned]:
        """Weights of the adaptive layers for these persons; made once, used for every pose."""
        return self.prj_inf(embeddings)

    def forward(self, pose: Tensor, personal: Sequence[Assigned]) -> Layers:
        """Map (B, C, 4, 4) of ``KeypointsEmbedder`` and B persons' weights → what is drawn."""
        x, assigned = pose, iter(personal)
        for block in self.gen_inf["blocks"].children():
            x = block(x, assigned) if isinstance(block, ResBlock) else run([block], x, assigned)
        offsets, low, mask = (head(x).float() for head in self.gen_inf["heads"].children())
        return Layers(offsets, self.identity_grid + offsets.permute(0, 2, 3, 1), low, mask)
