"""Cosine between the MobileFaceNet embeddings of the reenacted and the source face."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._cosine import cosine
from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class IdentityMobileFaceNet(PairMetric):
    """Identity kept: cosine of embeddings."""

    card = MetricCard(
        name="identity_mobilefacenet",
        version=1,
        title="identity (MobileFaceNet)",
        unit="",
        higher_is_better=True,
        compares="reenacted with source; each face aligned by its own five points",
        quantities=("identity_mobilefacenet",),
        reference="MobileFaceNet (Chen et al. 2018) under ArcFace alignment; not comparable with CosFace or ArcFace",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        reenacted, source = (measured(self.measurer, self.card.name, x) for x in (output.reenacted, batch["source"]))
        return cosine(reenacted, source)
