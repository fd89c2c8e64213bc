"""From a few local motions to one flow for the whole picture, and what of the source is hidden (section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reenact_zoo.methods.fomm.blocks import Hourglass, Shrink
from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.keypoints import gaussians
from reenact_zoo.methods.fomm.motion import Keypoints, local_motions


class Motion(NamedTuple):
    """What the dense motion network says.

    Attributes:
        flow: (B, h, w, 2) where in the source each place of the result comes from.
        occlusion: (B, 1, h, w) in [0, 1], 1 where the source shows what is needed.
        masks: (B, K + 1, h, w) of sum 1, background first: whose motion the flow follows.
        copies: (B, K + 1, 3, h, w) the small source under each motion.
    """

    flow: Tensor
    occlusion: Tensor
    masks: Tensor
    copies: Tensor


class DenseMotion(nn.Module):
    """Weighs K local motions and a background that rests."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        c = config
        self.convention, self.variance = Convention(c.preset), c.keypoint_variance
        self.down = Shrink(c.shrink, self.convention.released)
        self.hourglass = Hourglass(4 * (c.num_keypoints + 1), c.motion_width, c.motion_cap, c.motion_depth)
        channels, padding = self.hourglass.num_outputs, c.head_kernel // 2
        self.mask = nn.Conv2d(channels, c.num_keypoints + 1, c.head_kernel, padding=padding)
        self.occlusion = nn.Conv2d(channels, 1, c.head_kernel, padding=padding)

    def forward(self, small: Tensor, source: Keypoints, driving: Keypoints) -> Motion:
        """The source made small by ``down``, (B, 3, h, w), and both keypoints → motion from source to driving."""
        grid = self.convention.grid(small.shape[2], small.shape[3], small)
        still = grid.expand(len(small), 1, *grid.shape)
        motions = torch.cat((still, local_motions(grid, source, driving)), 1)
        heat = gaussians(driving.values, grid, self.variance) - gaussians(source.values, grid, self.variance)
        heat = torch.cat((torch.zeros_like(heat[:, :1]), heat), 1)
        repeated = small.unsqueeze(1).expand(-1, motions.shape[1], -1, -1, -1).flatten(0, 1)
        copies = self.convention.sample(repeated, motions.flatten(0, 1)).unflatten(0, motions.shape[:2])
        features = self.hourglass(torch.cat((heat.unsqueeze(2), copies), 2).flatten(1, 2))
        masks = self.mask(features).float().softmax(1)
        flow = (masks.unsqueeze(-1) * motions).sum(1)
        return Motion(flow, self.occlusion(features).float().sigmoid(), masks, copies)
