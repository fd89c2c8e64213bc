"""Mean absolute error over the whole frame."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


def l1(reenacted: Tensor, target: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] → mean |difference| over pixels and channels (B,)."""
    return (reenacted - target).abs().flatten(1).mean(1)


class L1(PairMetric):
    """Mean absolute error, full frame."""

    card = MetricCard(
        name="l1",
        version=1,
        title="L1",
        unit="",
        higher_is_better=False,
        compares=f"reenacted with the {TRUTH}, full frame",
        reads_target=True,
        digits=4,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,)."""
        return l1(output.reenacted, truth(batch))
