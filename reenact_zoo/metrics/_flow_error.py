"""End-point error of a method's flow against the true one, shared by the cards that differ in where it counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.metrics._inputs import no_value
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


def end_point_error(flow: Tensor, true: Tensor, counts: Tensor) -> Tensor:
    """Mean distance in pixels between two backward flows.

    Args:
        flow: (B, h, w, 2) normalised sampling grid; a coarser one is enlarged (its displacement, bilinearly).
        true: (B, H, W, 2).
        counts: (B, 1, H, W) in {0, 1}: pixels that count; NaN rows where the truth is not known.

    Returns:
        (B,), NaN where no pixel counts.
    """
    height, width = true.shape[1:3]
    half = true.new_tensor([width / 2, height / 2])
    distance = ((_enlarged(flow, height, width) - true) * half).norm(dim=-1)
    where = counts[:, 0]
    total: Tensor = torch.where(where == 0, 0, distance * where).flatten(1).sum(1)  # the truth may be NaN elsewhere
    return total / where.flatten(1).sum(1)


def _enlarged(flow: Tensor, height: int, width: int) -> Tensor:
    if flow.shape[1:3] == (height, width):
        return flow
    moved = (flow - _still(flow, *flow.shape[1:3])).permute(0, 3, 1, 2)
    moved = F.interpolate(moved, size=(height, width), mode="bilinear", align_corners=False)
    return moved.permute(0, 2, 3, 1) + _still(flow, height, width)


def _still(like: Tensor, height: int, width: int) -> Tensor:
    """(height, width, 2) pixel centres, normalised: nothing moves."""
    x, y = ((2 * torch.arange(n, device=like.device, dtype=like.dtype) + 1) / n - 1 for n in (width, height))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def flow_card(name: str, title: str, where: str) -> MetricCard:
    """Card of the flow's error over some pixels."""
    return MetricCard(
        name=name,
        version=1,
        title=title,
        unit="px",
        higher_is_better=False,
        compares=f"where in the source the method takes each pixel from, with the true place, mean over {where}",
        reads_target=True,
        face_missing="no face is looked for; pairs without true flow have no value",
        colour_range="no colours are read",
        reference="end-point error (Baker et al., IJCV 2011) of the backward flow, at the protocol's resolution; "
        "coarser flow is enlarged bilinearly",
        reads_aux=("flow",),
        digits=2,
    )


class _FlowError(PairMetric):
    head_only = False

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where the method gives no flow or nobody knows the true one."""
        if "flow" not in output.aux or "target_flow" not in batch:
            return no_value(output)
        counts = batch["target_flow_valid"]
        if self.head_only:
            counts = counts * (batch["target_matte"] > 0.5)
        return end_point_error(output.aux["flow"].to(counts), batch["target_flow"], counts)
