"""Normalised mean error of landmarks against the true ones, by the distance of the reference's outer eye corners."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._faces import WHOLE_FRAME
from reenact_zoo.metrics._inputs import measured, no_value
from reenact_zoo.metrics._reference_landmarks import interocular_error, known_landmarks, yaw_deg
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput

MOST_YAW_DEG = 30.0  # a turned head's eyes come together, and the same error in pixels would count for more


class NMEInterocular(PairMetric):
    """Normalised landmark error of faces that look at the camera."""

    card = MetricCard(
        name="nme_interocular",
        version=1,
        title="NME (inter-ocular)",
        unit="%",
        higher_is_better=False,
        compares="landmarks measured in reenacted with the true target's known ones; where the dataset knows none, "
        "with those measured in driving, on self pairs only",
        reads_target=True,
        quantities=("landmarks",),
        face_missing="no value where no face is found in reenacted or the reference has none; faces lost in "
        "reenacted are counted by mkr",
        reference="68 points, normaliser: distance of the reference's points 36 and 45 (Sun et al., arXiv:1904.04514); "
        f"only references whose yaw by perspective-n-point is below {MOST_YAW_DEG:.0f} degrees",
        alignment=WHOLE_FRAME,
        digits=2,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); see the card for pairs without one."""
        reference = known_landmarks(batch, self.measurer)
        if reference is None:
            return no_value(output)
        size = output.reenacted.shape[-2:]
        frontal = yaw_deg(reference, *size).abs() < MOST_YAW_DEG
        found = measured(self.measurer, "landmarks", output.reenacted)
        errors = interocular_error(found, reference.to(found), *size)
        return errors.masked_fill(~frontal.to(errors.device), float("nan"))
