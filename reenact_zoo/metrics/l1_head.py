"""Mean absolute error inside the head region."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, head_region, no_value, truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


def l1_head(reenacted: Tensor, target: Tensor, head: Tensor) -> Tensor:
    """Images (B, 3, H, W), head region (B, 1, H, W) in {0, 1} → (B,); NaN where no pixel counts."""
    region = head
    difference = (reenacted - target).abs().mean(1, keepdim=True)
    return (difference * region).flatten(1).sum(1) / region.flatten(1).sum(1)


class L1Head(PairMetric):
    """Mean absolute error inside the head region."""

    card = MetricCard(
        name="l1_head",
        version=1,
        title="L1 head",
        unit="",
        higher_is_better=False,
        compares=f"reenacted with the {TRUTH}, mean over the pixels of the head region",
        reads_target=True,
        reference="head region: union of the true source and target mattes (> 0.5), dilated by 3 px",
        digits=4,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where the mattes are not known."""
        head = head_region(batch)
        return no_value(output) if head is None else l1_head(output.reenacted, truth(batch), head)
