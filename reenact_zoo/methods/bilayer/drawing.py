"""The picture of 68 landmarks that the embedder and the discriminator see beside a picture of a person."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.ops.coordinates import identity_grid, normalised_to_pixel

# First and last point, whether the line closes, and RGB; later lines lie over earlier ones. The specification of the
# released network does not state colours and width: contour, brows, nose, eyes and lips as remembered, never compared.
LINES: tuple[tuple[range, bool, tuple[int, int, int]], ...] = (
    (range(17), False, (1, 1, 1)),
    (range(17, 22), False, (1, 0, 0)),
    (range(22, 27), False, (0, 1, 0)),
    (range(27, 31), False, (0, 0, 1)),
    (range(31, 36), False, (0, 0, 1)),
    (range(36, 42), True, (1, 0, 1)),
    (range(42, 48), True, (0, 1, 1)),
    (range(48, 60), True, (1, 1, 0)),
    (range(60, 68), True, (1, 1, 0)),
)
WIDTH_PX = 2.0  # at 256 pixels; never below MIN_WIDTH_PX
MIN_WIDTH_PX = 1.0


@torch.no_grad()
def draw(landmarks: Tensor, size: int) -> Tensor:
    """Landmarks (B, 68, 2) → coloured lines with soft edges on black, (B, 3, size, size) in [-1, 1]; no gradient."""
    points = normalised_to_pixel(landmarks.float(), size, size)
    pixels = normalised_to_pixel(identity_grid(size, size, device=points.device), size, size).reshape(1, 1, -1, 2)
    half = max(WIDTH_PX * size / 256, MIN_WIDTH_PX) / 2
    picture = points.new_full((len(points), 3, size * size), -1.0)
    for line, closed, colour in LINES:
        ends = [*line, line.start] if closed else list(line)
        distance = _distance(pixels, points[:, ends[:-1], None], points[:, ends[1:], None]).amin(1, keepdim=True)
        ink = points.new_tensor(colour).mul(2).sub(1)[None, :, None]
        picture = torch.lerp(picture, ink, (half + 0.5 - distance).clamp(0, 1))  # a pixel is 1 wide
    return picture.unflatten(2, (size, size))


def _distance(places: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance (B, N, P) of places (1, 1, P, 2) from segments (B, N, 1, 2)."""
    along = end - start
    share = ((places - start) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-12)
    nearest = start + share.clamp(0, 1)[..., None] * along
    return (places - nearest).norm(dim=-1)
