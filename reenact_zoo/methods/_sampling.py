"""Training samples: which rows get another person's driving frame, and landmarks as a detector finds them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from reenact_zoo.types import PairBatch

EYES = ((36, 42), (42, 48))  # point ranges of the left and the right eye
TOGETHER = 0.5  # shift of all landmarks together, in units of the shift of each one


def with_cross_pairs(batch: PairBatch, share: float) -> PairBatch:
    """Batch in which each self pair got, with probability ``share``, everything of another person's driving frame.

    Frames come from other rows; where the batch holds no other person a row stays as it is. Random numbers come from
    torch's generator.

    Args:
        batch: with "source_identity" and "driving_identity" (B,), or every row counts as a person of its own.
        share: in [0, 1]; 0 returns the batch.
    """
    if share == 0:
        return batch
    count, device = len(batch["source"]), batch["source"].device
    rows = torch.arange(count, device=device)
    other = batch.get("source_identity", rows)[:, None] != batch.get("driving_identity", rows)[None]
    draws = torch.rand(count, count, device=device).masked_fill(~other, -1.0)
    change = batch["same_identity"] & other.any(1) & (torch.rand(count, device=device) < share)
    taken = torch.where(change, draws.argmax(1), rows)
    mixed: dict[str, Any] = dict(batch)
    for key, value in batch.items():
        if key.startswith("driving") and isinstance(value, Tensor):
            mixed[key] = value[taken]
    mixed["same_identity"] = batch["same_identity"] & ~change
    return cast(PairBatch, mixed)


def as_detected(landmarks: Tensor, noise: float) -> Tensor:
    """Landmarks (B, 68, 2) as a detector would find them: each moved on its own, and all together a little.

    Args:
        landmarks: normalised.
        noise: standard deviation of each coordinate in distances between the eyes; 0 gives the same points.
    """
    if noise == 0:
        return landmarks
    left, right = (landmarks[:, first:stop].mean(1) for first, stop in EYES)
    spread = noise * (right - left).norm(dim=-1)[:, None, None]
    together = TOGETHER * torch.randn_like(landmarks[:, :1])
    return landmarks + spread * (together + torch.randn_like(landmarks))
