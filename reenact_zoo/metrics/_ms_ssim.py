"""Multi-scale SSIM cards: one per resolution, because the number of scales depends on it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, head_region, no_value, truth
from reenact_zoo.metrics._structural import SCALES_BY_SIZE, multi_scale_structural_similarity
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput


def ms_ssim(reenacted: Tensor, target: Tensor, size: int) -> Tensor:
    """Images (B, 3, size, size) in [0, 1] → (B,); 3 scales at 64 px, 4 at 128, 5 at 256.

    Raises:
        InputError: the images have another size; values of different scale counts cannot be compared.
    """
    if tuple(reenacted.shape[-2:]) != (size, size):
        height, width = reenacted.shape[-2:]
        raise InputError(f"ms_ssim_{size} is defined at {size}x{size} pixels; name another card for {width}x{height}")
    return multi_scale_structural_similarity(reenacted, target, SCALES_BY_SIZE[size])


def ms_ssim_card(size: int, head: bool) -> MetricCard:
    """Card of the full-frame or the head-region form at one resolution."""
    where = "head region, both images set equal outside it" if head else "full frame"
    return MetricCard(
        name=f"ms_ssim_head_{size}" if head else f"ms_ssim_{size}",
        version=1,
        title=f"MS-SSIM{' head' if head else ''} ({SCALES_BY_SIZE[size]} scales)",
        unit="",
        higher_is_better=True,
        compares=f"reenacted with the {TRUTH}, {where}, at {size}x{size}",
        reads_target=True,
        reference=f"Wang et al. 2003; the first {SCALES_BY_SIZE[size]} of five exponents renormalised to sum 1; "
        "Gaussian 11x11, sigma 1.5, data range 1",
    )


class _MSSSIM(PairMetric):
    size: ClassVar[int]

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,)."""
        return ms_ssim(output.reenacted, truth(batch), self.size)


class _MSSSIMHead(PairMetric):
    size: ClassVar[int]

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where the mattes are not known."""
        head = head_region(batch)
        if head is None:
            return no_value(output)
        target = truth(batch)
        inside = torch.where(head > 0, output.reenacted, target)
        failed = output.reenacted.flatten(1).isnan().any(1)
        values = ms_ssim(inside, target, self.size)
        return values.masked_fill(failed, float("nan"))
