"""Normalised mean error of landmarks, both sides measured by the same instrument."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, measured, no_value, truth
from reenact_zoo.metrics._landmark_error import normalised_landmark_error
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class NMEMeasured(PairMetric):
    """Normalised landmark error in which the instrument's own bias cancels: the true image scores 0."""

    card = MetricCard(
        name="nme_measured",
        version=1,
        title="NME (measured)",
        unit="%",
        higher_is_better=False,
        compares=f"landmarks measured in reenacted with those measured in the {TRUTH}",
        reads_target=True,
        quantities=("landmarks",),
        reference="68 points, normaliser sqrt(w h) of the reference's landmark box",
        digits=2,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        target = truth(batch)
        if target.flatten(1).isnan().any(1).all():
            return no_value(output)
        reference, found = (measured(self.measurer, "landmarks", x) for x in (target, output.reenacted))
        return normalised_landmark_error(found, reference, *output.reenacted.shape[-2:])
