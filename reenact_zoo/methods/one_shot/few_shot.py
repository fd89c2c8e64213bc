"""One or several source images: the appearance codes are averaged, the warp takes the image nearest in pose.

The paper reports 3 and 5 images without saying how they are joined; the mean of the codes is our reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reenact_zoo.methods.one_shot.geometry import similarity, usable
from reenact_zoo.methods.one_shot.schemes import scheme_named
from reenact_zoo.ops.warp import transform_points
from reenact_zoo.types import InputError, PairBatch


@dataclass(frozen=True)
class Sources:
    """Images (B, K, 3, H, W), landmarks (B, K, N, 2) and which of them can be used (B, K)."""

    images: Tensor
    landmarks: Tensor
    found: Tensor


def gather(batch: PairBatch, at_least: int) -> Sources:
    """The source and all extra ones that the batch holds.

    Args:
        batch: ``extra_sources`` (B, k, 3, H, W) and ``extra_sources_landmarks`` (B, k, N, 2) are optional.
        at_least: how many images there must be, the source included.

    Raises:
        InputError: the batch holds fewer, or no landmarks for them.
    """
    images, landmarks = batch["source"].float()[:, None], batch["source_landmarks"][:, None]
    held = batch["extra_sources"].shape[1] if "extra_sources" in batch else 0
    if held < at_least - 1:
        raise InputError(
            f"one_shot with sources={at_least} needs {at_least - 1} more images of the source person in "
            f"'extra_sources' (B, k, 3, H, W), the batch has {held}; supply them, or use sources=1"
        )
    if held:
        if "extra_sources_landmarks" not in batch or batch["extra_sources_landmarks"].shape[1] != held:
            raise InputError(
                f"one_shot needs 'extra_sources_landmarks' (B, {held}, N, 2), landmarks of every extra source; "
                "faces.annotate.Annotator.fill(batch, requires) estimates them"
            )
        images = torch.cat((images, batch["extra_sources"].float()), 1)
        landmarks = torch.cat((landmarks, batch["extra_sources_landmarks"].to(landmarks)), 1)
    found = usable(landmarks.flatten(0, 1)).view(landmarks.shape[:2])
    return Sources(images, landmarks, found)


def mean_code(codes: Tensor, found: Tensor) -> Tensor:
    """Codes (B * K, Z, 1, 1) → the mean (B, Z, 1, 1) of those found (B, K)."""
    weight = found.float() / found.float().sum(1, keepdim=True).clamp(min=1)
    return (codes.unflatten(0, found.shape) * weight[..., None, None, None]).sum(1)


def nearest_in_pose(sources: Sources, driving_landmarks: Tensor, scheme: str) -> tuple[Tensor, Tensor]:
    """Image (B, 3, H, W) and landmarks (B, N, 2) whose inner points a similarity brings closest to the driving ones."""
    if sources.images.shape[1] == 1:
        return sources.images[:, 0], sources.landmarks[:, 0]
    inner = list(scheme_named(scheme).inner())
    rows, count = sources.found.shape
    points = sources.landmarks[:, :, inner].flatten(0, 1).nan_to_num(0)
    aim = driving_landmarks[:, None, inner].expand(-1, count, -1, -1).flatten(0, 1).nan_to_num(0)
    left = (transform_points(similarity(points, aim), points) - aim).square().mean((1, 2)).view(rows, count)
    best = left.masked_fill(~sources.found, torch.inf).argmin(1)
    row = torch.arange(rows, device=best.device)
    return sources.images[row, best], sources.landmarks[row, best]
