"""The layer that does not move: a texture of one person, made once from the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from reenact_zoo.methods.bilayer.adaptive import AdaptiveSpadeBatchNorm, Projection, run
from reenact_zoo.methods.bilayer.embedders import SIDE
from reenact_zoo.methods.bilayer.residual import SLOPE, ResBlock
from reenact_zoo.methods.bilayer.spectral import EPS, SpectralConv2d


class TextureGenerator(nn.Module):
    """Grows a texture from a learned constant; everything personal comes through the adaptive layers.

    Args:
        channels: of the constant, then of every block's output.
        projection_side: see ``Projection``.
    """

    def __init__(self, channels: Sequence[int], projection_side: int) -> None:
        super().__init__()
        self.gen_tex_input = nn.Parameter(torch.randn(1, channels[0], SIDE, SIDE))
        blocks: list[nn.Module] = []
        side = SIDE
        for inputs, outputs in pairwise(channels):
            first = AdaptiveSpadeBatchNorm(inputs, side) if blocks else nn.BatchNorm2d(inputs, EPS)
            side *= 2
            norms = (first, AdaptiveSpadeBatchNorm(outputs, side))
            blocks.append(ResBlock(inputs, outputs, "up", norms, adaptive_skip=True))
        blocks += [AdaptiveSpadeBatchNorm(channels[-1], side), nn.LeakyReLU(SLOPE)]
        head = nn.Sequential(SpectralConv2d(channels[-1], 3, 3), nn.Tanh())
        self.gen_tex = nn.ModuleDict({"blocks": nn.ModuleList(blocks), "heads": nn.ModuleList([head])})
        self.prj_tex = Projection(channels, channels, projection_side, share=1, norms=2, convolutional=True)

    def forward(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Embeddings of ``IdentityEmbedder`` → textures (B, 3, H, W) in [-1, 1]."""
        assigned = iter(self.prj_tex(embeddings))
        x = self.gen_tex_input.expand(len(embeddings[0]), -1, -1, -1)
        for block in self.gen_tex["blocks"].children():
            x = block(x, assigned) if isinstance(block, ResBlock) else run([block], x, assigned)
        [head] = self.gen_tex["heads"].children()
        return head(x).float()
