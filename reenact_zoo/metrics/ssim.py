"""Structural similarity over the whole frame."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, truth
from reenact_zoo.metrics._structural import structural_similarity
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


def ssim(reenacted: Tensor, target: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], at least 11 px → (B,)."""
    return structural_similarity(reenacted, target)[0]


class SSIM(PairMetric):
    """Structural similarity."""

    card = MetricCard(
        name="ssim",
        version=1,
        title="SSIM",
        unit="",
        higher_is_better=True,
        compares=f"reenacted with the {TRUTH}, full frame",
        reads_target=True,
        reference="Wang et al. 2004; Gaussian 11x11, sigma 1.5, K 0.01 and 0.03, data range 1, per channel",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,)."""
        return ssim(output.reenacted, truth(batch))
