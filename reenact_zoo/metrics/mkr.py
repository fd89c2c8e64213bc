"""Missing keypoint rate: faces that are found where they should be seen and not in the reenacted image."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.metrics._faces import WHOLE_FRAME, measured_pair
from reenact_zoo.metrics._inputs import truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class MKR(PairMetric):
    """1 where the face is lost, 0 where it is kept; pairs whose reference shows no face do not count."""

    card = MetricCard(
        name="mkr",
        version=1,
        title="MKR",
        unit="",
        higher_is_better=False,
        compares="whether landmarks are found in reenacted where they are found in the true picture, or in driving "
        "where no true picture is known: 1 where they are missed, 0 where they are found",
        quantities=("landmarks",),
        face_missing="1 where it is missing in reenacted, also where the method made no image; no value where the "
        "reference shows none",
        reference="Siarohin et al., NeurIPS 2019: share of the reference's keypoints that are not found; all "
        "68 or none here",
        alignment=WHOLE_FRAME,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,)."""
        target, driving = truth(batch), batch["driving"]
        unknown = target.flatten(1).isnan().any(1).view(-1, 1, 1, 1)
        reference = torch.where(unknown, driving, target)
        found, wanted = measured_pair(self.measurer, "landmarks", output.reenacted, reference)
        lost, absent = (points.flatten(1).isnan().any(1) for points in (found, wanted))
        return lost.to(found).masked_fill(absent, float("nan"))
