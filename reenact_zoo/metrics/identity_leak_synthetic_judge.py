"""How much more the reenacted face resembles the driver than the source, by the judge trained on synthetic people."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._cosine import cosine
from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics._synthetic import IDENTITY, JUDGE
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


class IdentityLeakSyntheticJudge(PairMetric):
    """Cosine with driving minus cosine with source, in [-2, 2]; above 0 the driver shows through."""

    card = MetricCard(
        name="identity_leak_synthetic_judge",
        version=1,
        title="identity leak (synthetic judge)",
        unit="",
        higher_is_better=False,
        compares="cosine of reenacted with driving minus cosine of reenacted with source",
        settings=frozenset({"cross"}),
        quantities=(IDENTITY,),
        face_missing="no value; lost faces are counted by detection_rate",
        reference=f"embedding by a {JUDGE}; not comparable with CosFace or ArcFace",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where one of the three faces is not found."""
        images = (output.reenacted, batch["driving"], batch["source"])
        reenacted, driving, source = (measured(self.measurer, IDENTITY, x) for x in images)
        return cosine(reenacted, driving.to(reenacted)) - cosine(reenacted, source.to(reenacted))
