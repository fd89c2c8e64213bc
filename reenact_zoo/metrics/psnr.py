"""Peak signal-to-noise ratio over the whole frame."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput

CEILING_DB = 100.0


def psnr(reenacted: Tensor, target: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] → 10 log10(1 / MSE) of each image (B,), at most 100 dB."""
    error = (reenacted.double() - target.double()).square().flatten(1).mean(1)
    return -10 * error.clamp(min=10 ** (-CEILING_DB / 10)).log10()


class PSNR(PairMetric):
    """Peak signal-to-noise ratio, per image, then averaged."""

    card = MetricCard(
        name="psnr",
        version=1,
        title="PSNR",
        unit="dB",
        higher_is_better=True,
        compares=f"reenacted with the {TRUTH}, full frame",
        reads_target=True,
        reference="10 log10(1 / MSE) per image, then the mean; equal images count as 100 dB",
        digits=2,
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,)."""
        return psnr(output.reenacted, truth(batch))
