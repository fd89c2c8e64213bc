"""Normalised mean error of landmarks against the driver's, as tables without a true target print it."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._faces import WHOLE_FRAME, left_out, measured_pair
from reenact_zoo.metrics._reference_landmarks import interocular_error
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class NMEDriving(PairMetric):
    """Landmark error to the driver: on cross pairs it punishes a kept identity, and copy_driving scores 0."""

    card = MetricCard(
        name="nme_driving",
        version=1,
        title="NME to driving",
        unit="%",
        higher_is_better=False,
        compares="landmarks measured in reenacted with those of driving; on cross pairs a kept identity "
        "counts as an error",
        quantities=("landmarks",),
        face_missing=left_out("driving"),
        reference="68 points, normaliser: distance of the driver's points 36 and 45; without scaling or shifting first",
        alignment=WHOLE_FRAME,
        digits=2,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        found, driving = measured_pair(self.measurer, "landmarks", output.reenacted, batch["driving"])
        return interocular_error(found, driving, *output.reenacted.shape[-2:])
