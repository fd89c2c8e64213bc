"""Point sets by their convex hulls: how large they are, and which of many lies most like a given one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.types import InputError


def hull_area(points: Tensor) -> NDArray[np.float64]:
    """Area of the convex hull of each sample's points (B, N, 2) → (B,); 0 for points on one line. No gradient."""
    return np.array([_hull(sample) for sample in points.detach().double().cpu().numpy()])


def _hull(points: NDArray[np.float64]) -> float:
    from scipy.spatial import ConvexHull, QhullError

    try:
        return float(ConvexHull(points).volume)  # in two dimensions SciPy calls the area so
    except (QhullError, ValueError):  # on one line, too few, or not finite
        return 0.0


def best_frame(source: Tensor, clip: Tensor) -> int:
    """Frame in which the driver looks most like the source: relative motion should count from it.

    Points are compared after their centre was moved to 0 and the area of their convex hull made 1.

    Args:
        source: (N, 2) points of the source: facial landmarks or a method's keypoints.
        clip: (T, N, 2) the same points of each driving frame; frames with a NaN are passed over.

    Returns:
        Index into ``clip``; the earliest of equally good ones.

    Raises:
        InputError: the source or all frames have no usable points.
    """
    distance = unlikeness(source, clip)
    if not np.isfinite(distance).any():
        raise InputError(
            "no best driving frame can be found: the source or every frame lacks usable points; use others"
        )
    return int(np.nanargmin(distance))


def unlikeness(source: Tensor, clip: Tensor) -> NDArray[np.float64]:
    """Squared distance of (N, 2) points from each of (T, N, 2) without place and size → (T,); NaN without an area."""
    distance: NDArray[np.float64] = np.square(_shape(clip) - _shape(source[None])).sum((1, 2))
    return distance


def _shape(points: Tensor) -> NDArray[np.float64]:
    """Points (T, N, 2) without place and size; NaN where they span no area."""
    area = hull_area(points)
    area[area == 0] = np.nan
    values = points.detach().double().cpu().numpy()
    shapes: NDArray[np.float64] = (values - values.mean(1, keepdims=True)) / np.sqrt(area)[:, None, None]
    return shapes
