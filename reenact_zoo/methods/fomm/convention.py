"""How the presets count coordinates: the one place where they differ in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.ops.warp import Padding


@dataclass(frozen=True)
class Convention:
    """Coordinates of a preset.

    Attributes:
        preset: "clean": -1 and 1 are the outer edges of the picture, in grids and in sampling. "official": they are the
            centres of the corner pixels, in both. "official_unaligned": centres in grids, edges in sampling.
    """

    preset: str = "clean"

    @property
    def released(self) -> bool:
        """Whether networks are built as in the released code."""
        return self.preset != "clean"

    def grid(self, height: int, width: int, like: Tensor) -> Tensor:
        """(H, W, 2) float32 coordinates of all pixels, on the device of ``like``."""
        if not self.released:
            return identity_grid(height, width, like.device)
        x, y = (2 * torch.arange(n, device=like.device, dtype=torch.float32) / (n - 1) - 1 for n in (width, height))
        return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)

    def sample(self, maps: Tensor, flow: Tensor, padding_mode: Padding = "zeros") -> Tensor:
        """Maps (B, C, H, W) at flow (B, H', W', 2), bilinearly, in float32."""
        aligned = self.preset == "official"
        return F.grid_sample(maps.float(), flow.float(), "bilinear", padding_mode, align_corners=aligned)

    def resized(self, flow: Tensor, height: int, width: int) -> Tensor:
        """Flow (B, h, w, 2) → (B, H, W, 2)."""
        if flow.shape[1:3] == (height, width):
            return flow
        if self.released:
            return _bilinear(flow, height, width)
        # Nothing lies beyond the outermost cells to interpolate with: there the offset stays, rather than the place
        offset = flow - self.grid(flow.shape[1], flow.shape[2], flow)
        return _bilinear(offset, height, width) + self.grid(height, width, flow)

    def as_project(self, points: Tensor, height: int, width: int) -> Tensor:
        """Places (…, 2) that ``sample`` reads from a picture of this size, in the project's coordinates."""
        if self.preset != "official":
            return points
        return points * points.new_tensor([(width - 1) / width, (height - 1) / height])


def _bilinear(flow: Tensor, height: int, width: int) -> Tensor:
    resized = F.interpolate(flow.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)
