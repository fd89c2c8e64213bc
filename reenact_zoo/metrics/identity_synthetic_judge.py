"""Cosine between reenacted and source face under the judge that was trained on synthetic people."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._cosine import cosine
from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics._synthetic import IDENTITY, JUDGE
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class IdentitySyntheticJudge(PairMetric):
    """Identity kept: cosine of embeddings."""

    card = MetricCard(
        name="identity_synthetic_judge",
        version=1,
        title="identity (synthetic judge)",
        unit="",
        higher_is_better=True,
        compares="reenacted with source; each face aligned by its own five points",
        quantities=(IDENTITY,),
        face_missing="no value; lost faces are counted by detection_rate",
        reference=f"embedding by a {JUDGE}; not comparable with CosFace or ArcFace",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        reenacted, source = (measured(self.measurer, IDENTITY, x) for x in (output.reenacted, batch["source"]))
        return cosine(reenacted, source.to(reenacted))
