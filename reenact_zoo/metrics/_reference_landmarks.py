"""Landmarks of the true picture, for the cards that compare points."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.faces.head_pose import pose_from_landmarks
from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics.base import Measurer
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.types import PairBatch

OUTER_EYE_CORNERS = (36, 45)


def known_landmarks(batch: PairBatch, measurer: Measurer | None) -> Tensor | None:
    """(B, 68, 2): the true target's known ones, else on self pairs those measured in driving, else NaN.

    None where no pair has any; no instrument runs then.
    """
    driving, same = batch["driving"], batch["same_identity"].bool()
    if "target_landmarks" in batch:
        known = batch["target_landmarks"]
    else:
        known = driving.new_full((len(driving), 68, 2), float("nan"))
    unknown = known.isnan().flatten(1).any(1)
    on_self = unknown & same.to(unknown.device)
    if on_self.any():
        found = measured(measurer, "landmarks", driving).to(known)
        known = torch.where(on_self[:, None, None], found, known)
    return None if known.isnan().flatten(1).any(1).all() else known


def interocular_error(found: Tensor, reference: Tensor, height: int, width: int) -> Tensor:
    """Landmarks (B, 68, 2) normalised → mean distance / distance of the reference's outer eye corners, in % (B,)."""
    points, true = (normalised_to_pixel(p, height, width) for p in (found, reference))
    left, right = OUTER_EYE_CORNERS
    eyes = (true[:, left] - true[:, right]).norm(dim=-1).clamp(min=1e-9)
    percent: Tensor = 100 * (points - true).norm(dim=-1).mean(-1) / eyes
    return percent


def yaw_deg(landmarks: Tensor, height: int, width: int) -> Tensor:
    """Landmarks (B, 68, 2) normalised → yaw (B,) by perspective-n-point; NaN without landmarks."""
    points = normalised_to_pixel(landmarks.detach().double().cpu(), height, width).numpy()
    yaws = [pose_from_landmarks(row.astype(np.float32))[0] if np.isfinite(row).all() else np.nan for row in points]
    return torch.tensor(yaws, dtype=torch.float32, device=landmarks.device)
