"""What metrics compare with: the truth of a pair where one exists, the head region, and measured quantities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.metrics.base import Measurer
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

TRUTH = "true target where the dataset knows it, else the driving frame on self pairs"

HEAD_DILATION_PX = 3


def truth(batch: PairBatch) -> Tensor:
    """True reenacted image (B, 3, H, W): ``target`` where known, else driving on self pairs, else a row of NaN."""
    driving = batch["driving"]
    rows = batch["same_identity"].to(driving.device).bool().view(-1, 1, 1, 1)
    known = torch.where(rows, driving, driving.new_tensor(float("nan")))
    if "target" not in batch:
        return known
    target = batch["target"]
    return torch.where(target.flatten(1).isnan().any(1).view(-1, 1, 1, 1), known, target)


def head_region(batch: PairBatch) -> Tensor | None:
    """Where the head was or should be: union of true source and target mattes, dilated by 3 px.

    Returns:
        (B, 1, H, W) in {0, 1}; None where the mattes are not known.
    """
    if "target_source_matte" not in batch or "target_matte" not in batch:
        return None
    union = torch.maximum(batch["target_source_matte"], batch["target_matte"])
    reach = HEAD_DILATION_PX
    return F.max_pool2d((union > 0.5).float(), 2 * reach + 1, stride=1, padding=reach)


def no_value(output: ReenactmentOutput) -> Tensor:
    """(B,) NaN: no pair of the batch has a value."""
    return output.reenacted.new_full((len(output.reenacted),), float("nan"))


def measured(measurer: Measurer | None, quantity: str, images: Tensor) -> Tensor:
    """``quantity`` of images (B, 3, H, W) on their device; NaN rows where there is no face or the image itself is NaN.

    Raises:
        InputError: no measurer was given, or it lacks what the quantity needs.
    """
    if measurer is None:
        raise InputError(f"'{quantity}' needs a measurer; give the metric faces.measure.FaceMeasurer()")
    lacking = measurer.missing(quantity)
    if lacking is not None:
        raise InputError(f"'{quantity}' is unavailable: needs {lacking}")
    made = images.flatten(1).isfinite().all(1)
    values = measurer.measure(quantity, images.nan_to_num(0.5)).to(images.device)
    return torch.where(made.view(-1, *[1] * (values.ndim - 1)), values, values.new_tensor(float("nan")))
