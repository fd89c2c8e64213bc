"""Expression error against the driving frame: whitened 3DDFA_V2 coefficients."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


def mean_squared_difference(a: Tensor, b: Tensor) -> Tensor:
    """Coefficients (B, K) → (B,)."""
    return (a - b).square().mean(-1)


class Expression3DDFAV2(PairMetric):
    """Mean squared difference of ten expression coefficients."""

    card = MetricCard(
        name="expression_3ddfa_v2",
        version=1,
        title="expression error (3DDFA V2)",
        unit="",
        higher_is_better=False,
        compares="ten whitened expression coefficients of reenacted with those of driving, mean square",
        quantities=("expression_3ddfa_v2",),
        reference="ExpMSE1 of DCG-GAN's Table 1 with 3DDFA_V2 mb05; 3DDFA v1 whitens differently and is another card",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        reenacted, driving = (measured(self.measurer, self.card.name, x) for x in (output.reenacted, batch["driving"]))
        return mean_squared_difference(reenacted, driving)
