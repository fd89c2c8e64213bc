"""Mean absolute error inside one area of the true picture, for areas the truth names."""

from __future__ import annotations

from abc import abstractmethod

import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.metrics._inputs import HEAD_DILATION_PX, TRUTH, no_value, truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput

LEAST_PX = 1.0
"""Areas smaller than one pixel (closed eyes, a shut mouth) have no value."""


def area_l1(reenacted: Tensor, target: Tensor, area: Tensor) -> Tensor:
    """Images (B, 3, H, W), weights of the pixels (B, 1, H, W) in [0, 1] → weighted mean |difference| (B,).

    NaN where the weights sum to less than one pixel.
    """
    difference = (reenacted - target).abs().mean(1, keepdim=True)
    size = area.flatten(1).sum(1)
    value: Tensor = (difference * area).flatten(1).sum(1) / size
    return value.masked_fill(size < LEAST_PX, float("nan"))


def parsed_area(batch: PairBatch, classes: tuple[str, ...]) -> Tensor | None:
    """Share of each pixel that the true target shows of ``classes``: (B, 1, H, W); None where nobody knows."""
    if "target_parsing" not in batch:
        return None
    return batch["target_parsing"][:, [CLASSES.index(name) for name in classes]].sum(1, keepdim=True)


def uncovered_background(batch: PairBatch) -> Tensor | None:
    """Background behind the source's head which the target's head, grown by 3 px, leaves free: (B, 1, H, W) in {0, 1}.

    NaN in rows whose mattes are not known; None where none are.
    """
    if "target_source_matte" not in batch or "target_matte" not in batch:
        return None
    source, target, reach = batch["target_source_matte"], batch["target_matte"], HEAD_DILATION_PX
    free = F.max_pool2d((target > 0.5).to(target), 2 * reach + 1, stride=1, padding=reach) == 0
    area = ((source > 0.5) & free).to(source)
    return area.masked_fill(source.isnan() | target.isnan(), float("nan"))


def disoccluded(batch: PairBatch) -> Tensor | None:
    """Pixels of the true target, head and background, that the source does not show: (B, 1, H, W) in {0, 1}."""
    return 1 - batch["target_flow_valid"] if "target_flow_valid" in batch else None


def region_card(name: str, title: str, area: str, reference: str) -> MetricCard:
    """Card of the error inside one area."""
    return MetricCard(
        name=name,
        version=1,
        title=title,
        unit="",
        higher_is_better=False,
        compares=f"reenacted with the {TRUTH}, mean over {area}",
        reads_target=True,
        face_missing="no face is looked for; pairs whose area is unknown or smaller than a pixel have no value",
        reference=reference,
        digits=4,
    )


def parsed_card(name: str, title: str, area: str, classes: tuple[str, ...]) -> MetricCard:
    """Card of the error inside some parsing classes."""
    return region_card(
        name,
        title,
        area,
        f"area: classes {', '.join(classes)} of the true target's parsing; pixels at a border count by their share",
    )


class _RegionL1(PairMetric):
    @abstractmethod
    def area(self, batch: PairBatch) -> Tensor | None:
        """Weights of the pixels (B, 1, H, W); None where nobody knows the area."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where the area is not known."""
        area = self.area(batch)
        return no_value(output) if area is None else area_l1(output.reenacted, truth(batch), area)
