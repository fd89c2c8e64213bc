"""Random smooth transforms of the plane, under which keypoints must move along (section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.motion import applied

CLOSEST = 1e-12  # squared distance from which on r² log r² and its gradient are taken for their limit 0


@dataclass(frozen=True)
class Transform:
    """T(z) = A z + b + sum_i w_i U(|z - c_i|), U(r) = r² log r², a thin-plate spline on top of an affine map.

    Attributes:
        affine: (B, 2, 3): A and b.
        centres: (N, 2): c.
        coefficients: (B, N, 2): w.
    """

    affine: Tensor
    centres: Tensor
    coefficients: Tensor

    def points(self, points: Tensor) -> Tensor:
        """T at points (B or 1, N, 2) → (B, N, 2)."""
        bend = _thin_plate(self._offsets(points).square().sum(-1))
        with torch.autocast(points.device.type, enabled=False):  # 8 bits are too few for places
            spline = bend @ self.coefficients
        return applied(self.affine[:, None, :, :2], points) + self.affine[:, None, :, 2] + spline

    def jacobians(self, points: Tensor) -> Tensor:
        """T' at points (B, N, 2) → (B, N, 2, 2): A + sum_i w_i (grad U)^T, grad U = 2 (log r² + 1) (z - c_i)."""
        offsets = self._offsets(points)
        squared = offsets.square().sum(-1, keepdim=True)
        gradient = 2 * (squared.clamp(min=CLOSEST).log() + 1) * offsets
        spline = (self.coefficients[:, None].unsqueeze(-1) * gradient.unsqueeze(-2)).sum(-3)
        return self.affine[:, None, :, :2] + spline

    def images(self, images: Tensor, convention: Convention) -> Tensor:
        """Images whose colour at z is that of ``images`` (B, 3, H, W) at T(z); reflected beyond the border."""
        height, width = images.shape[-2:]
        grid = convention.grid(height, width, images).reshape(1, -1, 2)
        return convention.sample(images, self.points(grid).unflatten(1, (height, width)), "reflection")

    def _offsets(self, points: Tensor) -> Tensor:
        return points.unsqueeze(-2) - self.centres


def random_transform(count: int, config: Config, like: Tensor) -> Transform:
    """``count`` transforms from torch's random numbers, on the device of ``like``."""
    c, device = config, like.device
    affine = torch.eye(2, 3, device=device) + c.affine_sigma * torch.randn(count, 2, 3, device=device)
    line = torch.linspace(-1, 1, c.spline_points, device=device)
    centres = torch.cartesian_prod(line, line)
    return Transform(affine, centres, c.spline_sigma * torch.randn(count, len(centres), 2, device=device))


def _thin_plate(squared: Tensor) -> Tensor:
    return squared * squared.clamp(min=CLOSEST).log()
