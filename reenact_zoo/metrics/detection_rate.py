"""Share of reenacted images in which a face is found."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class DetectionRate(PairMetric):
    """1 where a face is found in the reenacted image, else 0."""

    card = MetricCard(
        name="detection_rate",
        version=1,
        title="faces found",
        unit="",
        higher_is_better=True,
        compares="reenacted alone: 1 where the face detector finds a face, else 0",
        quantities=("detected",),
        face_missing="0, also where the method made no image",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,)."""
        found = measured(self.measurer, "detected", output.reenacted)
        return torch.where(found > 0, torch.ones_like(found), torch.zeros_like(found))
