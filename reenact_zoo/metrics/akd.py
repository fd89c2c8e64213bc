"""Average keypoint distance: landmarks of the reenacted image against those of the true one."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._faces import WHOLE_FRAME, left_out, measured_pair
from reenact_zoo.metrics._inputs import TRUTH, no_value, truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput

PX = 256  # the published values belong to frames of this size


def average_keypoint_distance(found: Tensor, true: Tensor) -> Tensor:
    """Landmarks (B, N, 2) normalised → mean |difference| per coordinate (B,), in px of a 256x256 frame."""
    return (found - true).abs().flatten(1).mean(1) * PX / 2


class AKD(PairMetric):
    """Mean absolute difference per coordinate."""

    card = MetricCard(
        name="akd",
        version=1,
        title="AKD",
        unit="px",
        higher_is_better=False,
        compares=f"landmarks measured in reenacted with those measured in the {TRUTH}: mean over 68 points and both "
        "coordinates of the absolute difference, in pixels of a frame of 256x256 whatever the frame's own size",
        reads_target=True,
        quantities=("landmarks",),
        face_missing=left_out("the truth"),
        reference="Siarohin et al., NeurIPS 2019, and their evaluation code (L1 per coordinate); published values use "
        "FAN",
        alignment=WHOLE_FRAME,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found or nothing is known."""
        target = truth(batch)
        if target.flatten(1).isnan().any(1).all():
            return no_value(output)
        return average_keypoint_distance(*measured_pair(self.measurer, "landmarks", output.reenacted, target))
