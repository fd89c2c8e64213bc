"""The optional discriminator of the released code: patches of one size, its feature maps used for matching."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.keypoints import gaussians
from reenact_zoo.types import InputError

KERNEL = 4
SMALLEST_MAP = 5  # before the last block, so that two patches or more in each direction are left


class Block(nn.Module):
    """4x4 convolution without padding, instance norm except in the first, leaky ReLU, halving except in the last."""

    def __init__(self, inputs: int, outputs: int, norm: bool, pool: bool, spectral: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, KERNEL)
        self.conv = spectral_norm(conv) if spectral else conv
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else nn.Identity()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', about H/2, about W/2)."""
        x = F.leaky_relu(self.norm(self.conv(x)), 0.2)
        return F.avg_pool2d(x, 2) if self.pool else x


class PatchScores(nn.Module):
    """Blocks, then one number per patch."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        c = config
        inputs = 3 + c.num_keypoints * c.discriminator_sees_keypoints
        widths = [min(c.discriminator_cap, c.discriminator_width * 2 ** (i + 1)) for i in range(c.discriminator_depth)]
        last = c.discriminator_depth - 1
        self.down_blocks = nn.ModuleList(
            Block(before, after, norm=i > 0, pool=i < last, spectral=c.discriminator_spectral)
            for i, (before, after) in enumerate(pairwise([inputs, *widths]))
        )
        conv = nn.Conv2d(widths[-1], 1, 1)
        self.conv = spectral_norm(conv) if c.discriminator_spectral else conv

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, C, H, W) → scores (B, 1, h, w), and the map behind each block."""
        maps = []
        for block in self.down_blocks:
            x = block(x)
            maps.append(x)
        return self.conv(x), maps


class Discriminator(nn.Module):
    """Judges pictures at full size, the only size of the released VoxCeleb configurations.

    Raises:
        InputError: the pictures are too small for so many blocks.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        side = config.image_size
        for _ in range(config.discriminator_depth - 1):
            side = (side - KERNEL + 1) // 2
        if side < SMALLEST_MAP:
            raise InputError(
                f"fomm: {config.discriminator_depth} blocks of the discriminator leave nothing of "
                f"{config.image_size} pixels; use a smaller discriminator_depth"
            )
        self.convention, self.variance = Convention(config.preset), config.keypoint_variance
        self.sees_keypoints = config.discriminator_sees_keypoints
        self.discs = nn.ModuleDict({"1": PatchScores(config)})

    def forward(self, images: Tensor, points: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Pictures (B, 3, H, W) in [0, 1] and driving keypoints (B, K, 2) → scores (B, 1, h, w), feature maps."""
        if self.sees_keypoints:
            grid = self.convention.grid(images.shape[2], images.shape[3], images)
            images = torch.cat((images, gaussians(points, grid, self.variance)), 1)
        found: tuple[Tensor, list[Tensor]] = self.discs["1"](images)
        return found
