"""Head-pose errors, the same for every pose instrument."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


def pose_error_deg(a_deg: Tensor, b_deg: Tensor) -> Tensor:
    """Angles (B, 3) → mean over yaw, pitch and roll of |difference| (B,), each taken the short way round."""
    difference = (a_deg - b_deg + 180).remainder(360) - 180
    return difference.abs().mean(-1)


def pose_card(quantity: str, instrument: str, reference: str) -> MetricCard:
    """Card of the pose error as measured by one instrument."""
    return MetricCard(
        name=quantity,
        version=1,
        title=f"pose error ({instrument})",
        unit="deg",
        higher_is_better=False,
        compares="head pose of reenacted with that of driving, mean of |yaw|, |pitch| and |roll| differences",
        quantities=(quantity,),
        reference=reference,
        digits=2,
    )


class _PoseError(PairMetric):
    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        (quantity,) = self.card.quantities
        reenacted, driving = (measured(self.measurer, quantity, x) for x in (output.reenacted, batch["driving"]))
        return pose_error_deg(reenacted, driving)
