"""Normalised mean error of landmarks against the true ones."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import measured, no_value
from reenact_zoo.metrics._landmark_error import normalised_landmark_error
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class NME(PairMetric):
    """Normalised landmark error.

    Never against the driver's landmarks on cross pairs: that would punish a kept identity.
    """

    card = MetricCard(
        name="nme",
        version=1,
        title="NME",
        unit="%",
        higher_is_better=False,
        compares="landmarks measured in reenacted with the true target's known ones; where the dataset knows none, "
        "with those measured in driving, on self pairs only",
        reads_target=True,
        quantities=("landmarks",),
        reference="68 points, normaliser sqrt(w h) of the reference's landmark box",
        digits=2,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where no face is found in reenacted, or nothing is known."""
        if "target_landmarks" in batch:
            reference = batch["target_landmarks"]
        elif batch["same_identity"].any():
            reference = measured(self.measurer, "landmarks", batch["driving"])
            reference = reference.masked_fill(~batch["same_identity"].to(reference.device)[:, None, None], float("nan"))
        else:
            return no_value(output)
        found = measured(self.measurer, "landmarks", output.reenacted)
        return normalised_landmark_error(found, reference.to(found), *output.reenacted.shape[-2:])
