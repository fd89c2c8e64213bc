"""Normalised landmark error, shared by the cards that differ in what the reference is."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.ops.coordinates import normalised_to_pixel


def normalised_landmark_error(landmarks: Tensor, reference: Tensor, height: int, width: int) -> Tensor:
    """Landmarks (B, N, 2) normalised → mean distance / sqrt(w h) of the reference's landmark box, in % (B,)."""
    found, true = (normalised_to_pixel(points, height, width) for points in (landmarks, reference))
    extent = true.amax(1) - true.amin(1)
    percent: Tensor = 100 * (found - true).norm(dim=-1).mean(-1) / extent.prod(-1).clamp(min=1e-12).sqrt()
    return percent
