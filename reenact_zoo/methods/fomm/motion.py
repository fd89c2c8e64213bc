"""Keypoints with Jacobians, and what is computed with them: local motions and relative motion.

Legend: p a keypoint, J its Jacobian; S source, D driving, R the abstract reference frame both are measured from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.ops.hulls import hull_area

SMALLEST_DETERMINANT = 1e-6  # below it a Jacobian is treated as one that flattens by this much


class Keypoints(NamedTuple):
    """Local affine maps from the reference frame into a picture.

    Attributes:
        values: (B, K, 2) places, x before y, in the coordinates of the networks' preset.
        jacobians: (B, K, 2, 2) derivatives there.
    """

    values: Tensor
    jacobians: Tensor

    def detach(self) -> Keypoints:
        """The same without gradient."""
        return Keypoints(self.values.detach(), self.jacobians.detach())

    def chunks(self, count: int) -> list[Keypoints]:
        """Equal parts of the batch."""
        return [Keypoints(v, j) for v, j in zip(self.values.chunk(count), self.jacobians.chunk(count), strict=True)]


# Element by element rather than as matrix products: those would fall to 8 bits under bfloat16 autocast.


def applied(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(…, 2, 2) times (…, 2), with broadcasting."""
    return (matrices * vectors.unsqueeze(-2)).sum(-1)


def product(a: Tensor, b: Tensor) -> Tensor:
    """(…, 2, 2) times (…, 2, 2), with broadcasting."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def inverse(matrices: Tensor) -> Tensor:
    """Inverse of (…, 2, 2) by the adjugate; a determinant of nearly 0 is pushed away from it."""
    a, b, c, d = matrices.flatten(-2).unbind(-1)
    determinant = a * d - b * c
    floor = torch.full_like(determinant, SMALLEST_DETERMINANT).copysign(determinant)
    determinant = torch.where(determinant.abs() < SMALLEST_DETERMINANT, floor, determinant)
    adjugate = torch.stack((d, -b, -c, a), -1).unflatten(-1, (2, 2))
    return adjugate / determinant[..., None, None]


def local_motions(grid: Tensor, source: Keypoints, driving: Keypoints) -> Tensor:
    """Where each keypoint's neighbourhood says that the colour of a place of the driving picture comes from.

    T_k(z) = p_S + J_S J_D^-1 (z - p_D), the first-order expansion at keypoint k (section 3.1).

    Args:
        grid: (H, W, 2) places z of the driving picture.
        source: keypoints of the source.
        driving: keypoints of the driving picture.

    Returns:
        (B, K, H, W, 2) places of the source.
    """
    jacobians = product(source.jacobians, inverse(driving.jacobians))
    # Multiplied out, so that nothing of four numbers per place and keypoint is made
    still = source.values - applied(jacobians, driving.values)
    by_x, by_y = jacobians[:, :, None, None].unbind(-1)
    return still[:, :, None, None] + by_x * grid[..., :1] + by_y * grid[..., 1:]


# --- what is transferred --------------------------------------------------------------------------------------------


def transfer(
    source: Keypoints,
    driving: Keypoints,
    reference: Keypoints | None = None,
    adapt_scale: bool = True,
    relative_jacobian: bool = True,
) -> Keypoints:
    """Keypoints that the source is to take on.

    Args:
        source: of the source.
        driving: of the driving frame.
        reference: of the frame from which relative motion counts; None: absolute motion, ``driving`` as it is.
        adapt_scale: movements are multiplied by the root of the ratio of the convex hulls' areas, source to reference;
            by 1 where a hull is empty.
        relative_jacobian: Jacobians change as from reference to driving; else they are the driving frame's.
    """
    if reference is None:
        return driving
    moved = driving.values - reference.values
    if adapt_scale:
        ours, theirs = hull_area(source.values), hull_area(reference.values)
        some = (ours > 0) & (theirs > 0)  # points on one line span no area to compare
        scale = np.sqrt(np.divide(ours, theirs, out=np.ones_like(ours), where=some))
        moved = moved * torch.from_numpy(scale).to(moved)[:, None, None]
    jacobians = driving.jacobians
    if relative_jacobian:
        jacobians = product(product(driving.jacobians, inverse(reference.jacobians)), source.jacobians)
    return Keypoints(source.values + moved, jacobians)
