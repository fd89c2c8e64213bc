"""Who the person is, read off one picture, and which pose is wanted, read off 68 points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from reenact_zoo.methods.bilayer.residual import SLOPE, ResBlock
from reenact_zoo.methods.bilayer.spectral import SpectralConv2d, SpectralLinear

POINTS = 68
SIDE = 4  # of the map from which the generators grow
EMBEDDING_SIDE = 8
POSE_LAYERS = 4


class IdentityEmbedder(nn.Module):
    """Source picture and its drawn landmarks → one embedding for every block of the generators.

    Args:
        width, cap: channels at the largest size, and at most; doubled with every halving.
        halvings: down to ``EMBEDDING_SIDE``.
        outputs: channels of the embeddings, in the order of the generator's blocks.
    """

    def __init__(self, width: int, cap: int, halvings: int, outputs: Sequence[int]) -> None:
        super().__init__()
        widths = [min(width * 2**i, cap) for i in range(halvings + 1)]
        down = (ResBlock(a, b, "down") for a, b in pairwise(widths))
        across = (ResBlock(a, b) for a, b in zip([widths[-1], *outputs], outputs, strict=False))
        self.net = nn.ModuleDict(
            {
                "enc": nn.Sequential(SpectralConv2d(6, width, 3), *down),
                "dec_blocks": nn.ModuleList(across),
            }
        )

    def forward(self, image: Tensor, drawing: Tensor) -> list[Tensor]:
        """(B, 3, H, W) twice, in [-1, 1] → embeddings (B, C_i, 8, 8)."""
        x: Tensor = self.net["enc"](torch.cat((image, drawing), 1))
        embeddings = []
        for block in self.net["dec_blocks"].children():
            assert isinstance(block, ResBlock)
            embeddings.append(block.features(x))
            x = block.rest(x, embeddings[-1])
        return embeddings


class KeypointsEmbedder(nn.Module):
    """Landmarks → the small map from which the inference generator grows.

    Args:
        width: of the hidden layers.
        channels: of the map.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(POSE_LAYERS - 1):
            layers += [SpectralLinear(width if i else 2 * POINTS, width), nn.LeakyReLU(SLOPE)]
        self.net = nn.ModuleDict({"mlp": nn.Sequential(*layers, SpectralLinear(width, channels * SIDE * SIDE))})
        self._channels = channels

    def forward(self, landmarks: Tensor) -> Tensor:
        """(B, 68, 2) → (B, channels, 4, 4)."""
        code: Tensor = self.net["mlp"](landmarks.flatten(1))
        return code.unflatten(1, (self._channels, SIDE, SIDE))
