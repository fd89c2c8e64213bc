"""The one coordinate convention: x = (2 * x_px + 1) / W - 1, x_px at pixel centres 0 … W-1 (align_corners=False)."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PointsT = TypeVar("PointsT", Tensor, NDArray[Any])


def pixel_to_normalised(points_px: PointsT, height: int, width: int) -> PointsT:
    """Points (…, 2) px, x before y, → normalised; the image's outer edges (-0.5 px and W - 0.5 px) map to -1 and 1."""
    _check(points_px)
    size = _size_like(points_px, height, width)
    points: PointsT = (2 * points_px + 1) / size - 1
    return points


def normalised_to_pixel(points: PointsT, height: int, width: int) -> PointsT:
    """Inverse of ``pixel_to_normalised``."""
    _check(points)
    size = _size_like(points, height, width)
    points_px: PointsT = ((points + 1) * size - 1) / 2
    return points_px


def identity_grid(
    height: int, width: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normalised coordinates of all pixel centres (H, W, 2): the flow that changes nothing."""
    x = (2 * torch.arange(width, device=device, dtype=dtype) + 1) / width - 1
    y = (2 * torch.arange(height, device=device, dtype=dtype) + 1) / height - 1
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)


def _size_like(points: PointsT, height: int, width: int) -> PointsT:
    if isinstance(points, Tensor):
        return points.new_tensor([width, height])
    # keeps float32 points float32; integer pixels become float64 by the division
    dtype = points.dtype if np.issubdtype(points.dtype, np.floating) else np.dtype(np.float64)
    return np.array([width, height], dtype=dtype)


def _check(points: Tensor | NDArray[Any]) -> None:
    if points.shape[-1:] != (2,):
        raise ValueError(f"points must have shape (…, 2), got {tuple(points.shape)}")
    if isinstance(points, Tensor) and not points.is_floating_point():
        raise ValueError(f"points must be of a floating type, got {points.dtype}")
