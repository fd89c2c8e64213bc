"""Line drawings of 68 landmarks: what both U-Nets of FD-GAN see of a face's shape."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.ops.coordinates import identity_grid

CHANNELS = ("contour", "brows", "nose", "eyes", "outer_lips", "inner_lips")
NUM_MAPS = len(CHANNELS)
LINE_WIDTH = 3 / 256  # of the image's height
MIN_LINE_PX = 1.5  # thinner lines would flicker with their position
SHORTEST_PX = 1e-4  # a shorter piece is a dot

_LINES: tuple[tuple[tuple[int, ...], ...], ...] = (
    (tuple(range(17)),),
    (tuple(range(17, 22)), tuple(range(22, 27))),
    (tuple(range(27, 31)), tuple(range(31, 36))),
    ((*range(36, 42), 36), (*range(42, 48), 42)),
    ((*range(48, 60), 48),),
    ((*range(60, 68), 60),),
)
"""Per channel, the polylines in iBUG's order of points; a line that ends where it began is closed."""


def landmark_maps(landmarks: Tensor, size: tuple[int, int], line_width: float | None = None) -> Tensor:
    """Draw the six maps.

    A pixel's value falls from 1 to 0 over one pixel at the edge of a line. Differentiable in the landmarks.

    Args:
        landmarks: (B, 68, 2) normalised; points outside the image are allowed.
        size: (H, W).
        line_width: px; default: 3 at a height of 256, at least 1.5.

    Returns:
        (B, 6, H, W) in [0, 1], channels as ``CHANNELS``; NaN where a sample's landmarks are not finite.
    """
    height, width = size
    line_width = max(MIN_LINE_PX, LINE_WIDTH * height) if line_width is None else line_width
    found = landmarks.flatten(1).isfinite().all(1)
    to_px = landmarks.new_tensor([width / 2, height / 2], dtype=torch.float32)
    points = landmarks.float().masked_fill(~found[:, None, None], 0) * to_px
    pixels = (identity_grid(height, width, device=landmarks.device) * to_px).view(-1, 2).mT  # (2, H * W)
    with torch.autocast(landmarks.device.type, enabled=False):  # bfloat16 would move lines by a quarter of a pixel
        drawn = torch.stack([_nearest(points, lines, pixels) for lines in _LINES], 1)
    maps = (line_width / 2 + 0.5 - drawn).clamp(0, 1).unflatten(2, (height, width))
    return maps.masked_fill(~found[:, None, None, None], float("nan"))


def as_picture(maps: Tensor) -> Tensor:
    """Maps (B, 6, H, W) → (B, 1, H, W): all lines in one picture, for people to look at."""
    return maps.amax(1, keepdim=True)


def _nearest(points: Tensor, lines: tuple[tuple[int, ...], ...], pixels: Tensor) -> Tensor:
    """Distance in px (B, H * W) from every pixel (2, H * W) to the nearest of the lines through points (B, 68, 2)."""
    begin = points[:, [i for line in lines for i in line[:-1]]]
    step = points[:, [i for line in lines for i in line[1:]]] - begin  # (B, S, 2)
    length = step.square().sum(-1, keepdim=True).clamp(min=SHORTEST_PX**2).sqrt()
    # A piece without length has no direction; any other makes it a dot.
    along = torch.where(length > SHORTEST_PX, step / length, step.new_tensor([1.0, 0.0]))
    across = torch.stack((-along[..., 1], along[..., 0]), -1)
    forward = along @ pixels - (along * begin).sum(-1, keepdim=True)
    aside = across @ pixels - (across * begin).sum(-1, keepdim=True)
    beyond = forward - torch.minimum(forward.clamp(min=0), length)
    return (aside.square() + beyond.square()).amin(1).clamp(min=1e-12).sqrt()
