"""Keypoints and heat maps as pictures; each keypoint has a colour of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.ops.coordinates import identity_grid

RADIUS = 0.05  # of a dot, in half image sides
DIMMED = 0.5  # what is left of the picture behind dots


def colours(count: int, like: Tensor) -> Tensor:
    """(count, 3) RGB of full saturation, evenly around the circle of hues."""
    sixths = 6 * torch.arange(count, device=like.device, dtype=torch.float32) / count
    turned = (torch.tensor([5.0, 3.0, 1.0], device=like.device) + sixths[:, None]) % 6
    return 1 - torch.minimum(turned, 4 - turned).clamp(0, 1)


def dots(images: Tensor, points: Tensor) -> Tensor:
    """Points (B, K, 2), in the project's coordinates, as discs on dimmed images (B, 3, H, W)."""
    height, width = images.shape[-2:]
    grid = identity_grid(height, width, images.device)
    distance = (grid - points.float()[:, :, None, None]).square().sum(-1).sqrt()
    edge = 2 / height  # a soft rim of one pixel
    shares = ((RADIUS - distance) / edge + 0.5).clamp(0, 1)
    picture = DIMMED * images.float()
    for k, colour in enumerate(colours(points.shape[1], images)):
        picture = torch.lerp(picture, colour.view(1, 3, 1, 1).expand_as(picture), shares[:, k : k + 1])
    return picture


def heat_picture(heat: Tensor) -> Tensor:
    """Heat maps (B, K, h, w), each brightened to 1 at its peak, in their colours on black: (B, 3, h, w)."""
    bright = heat / heat.amax((2, 3), keepdim=True).clamp(min=1e-12)
    painted = bright.unsqueeze(2) * colours(heat.shape[1], heat).view(1, -1, 3, 1, 1)
    return painted.amax(1)
