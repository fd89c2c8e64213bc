"""The keypoint detector: K heat maps, their centres of mass, and a Jacobian at each (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reenact_zoo.methods.fomm.blocks import Hourglass, Shrink
from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.motion import Keypoints


class KeypointDetector(nn.Module):
    """Unsupervised keypoints of a picture.

    The released presets read heat maps off without padding, so that their corner pixels, which stand for -1 and 1, lie
    half a kernel inside the picture; the clean preset pads.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        c = config
        self.convention = Convention(c.preset)
        self.num_keypoints, self.temperature = c.num_keypoints, c.temperature
        self.down = Shrink(c.shrink, self.convention.released)
        self.predictor = Hourglass(3, c.keypoint_width, c.keypoint_cap, c.keypoint_depth)
        padding = 0 if self.convention.released else c.head_kernel // 2
        channels = self.predictor.num_outputs
        self.kp = nn.Conv2d(channels, c.num_keypoints, c.head_kernel, padding=padding)
        self.jacobian = nn.Conv2d(channels, 4 * c.num_keypoints, c.head_kernel, padding=padding)
        with torch.no_grad():  # training begins with local motions that only shift
            self.jacobian.weight.zero_()
            self.jacobian.bias.copy_(torch.eye(2).flatten().repeat(c.num_keypoints))  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> tuple[Keypoints, Tensor]:
        """(B, 3, H, W) RGB in [0, 1] → keypoints, and heat maps (B, K, h, w) of sum 1 each."""
        features = self.predictor(self.down(images))
        logits = self.kp(features).float()
        heat = (logits.flatten(2) / self.temperature).softmax(-1).view(logits.shape)
        grid = self.convention.grid(heat.shape[2], heat.shape[3], heat)
        # Sums, not matrix products: those would fall to 8 bits under bfloat16 autocast
        values = torch.stack(((heat.sum(2) * grid[0, :, 0]).sum(-1), (heat.sum(3) * grid[:, 0, 1]).sum(-1)), -1)
        maps = self.jacobian(features).float().unflatten(1, (self.num_keypoints, 4))
        jacobians = (heat.unsqueeze(2) * maps).sum((3, 4)).unflatten(-1, (2, 2))
        return Keypoints(values, jacobians), heat


def gaussians(points: Tensor, grid: Tensor, variance: float) -> Tensor:
    """exp(-|z - p|² / (2 variance)) of points (B, K, 2) over a grid (H, W, 2) → (B, K, H, W)."""
    squared = (grid - points[:, :, None, None]).square().sum(-1)
    return torch.exp(-0.5 / variance * squared)
