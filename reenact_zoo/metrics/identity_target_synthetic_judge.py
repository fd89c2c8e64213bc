"""Cosine between reenacted and true target under the judge trained on synthetic people."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._cosine import cosine
from reenact_zoo.metrics._inputs import TRUTH, measured, no_value, truth
from reenact_zoo.metrics._synthetic import IDENTITY, JUDGE
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class IdentityTargetSyntheticJudge(PairMetric):
    """Identity kept, seen from the true target's angle: 1 for the true target itself."""

    card = MetricCard(
        name="identity_target_synthetic_judge",
        version=1,
        title="identity to target (synthetic judge)",
        unit="",
        higher_is_better=True,
        compares=f"reenacted with the {TRUTH}; each face aligned by its own five points",
        reads_target=True,
        quantities=(IDENTITY,),
        face_missing="no value; lost faces are counted by detection_rate",
        reference=f"embedding by a {JUDGE}; not comparable with CosFace or ArcFace",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found or nothing is known."""
        target = truth(batch)
        if target.flatten(1).isnan().any(1).all():
            return no_value(output)
        reenacted, wanted = (measured(self.measurer, IDENTITY, x) for x in (output.reenacted, target))
        return cosine(reenacted, wanted.to(reenacted))
