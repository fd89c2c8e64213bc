"""Kernel inception distance (Binkowski et al., ICLR 2018, arXiv:1801.01401)."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.metrics._picture_set import INCEPTION, REAL, _PictureSetDistance
from reenact_zoo.metrics.base import MetricCard
from reenact_zoo.nn.fid import ENTRY

BLOCK = 1024  # rows of the kernel matrix at once; bounds memory


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Features (n, F), (m, F) float64 → unbiased squared maximum mean discrepancy, kernel (x·y / F + 1)³."""
    n, m = len(a), len(b)
    within = sum((_kernel_sum(x, x) - _own(x)) / (len(x) * (len(x) - 1)) for x in (a, b))
    return float(within - 2 * _kernel_sum(a, b) / (n * m))


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    parts = [(rows @ b.mT / a.shape[1] + 1).pow(3).sum() for rows in a.split(BLOCK)]
    return torch.stack(parts).sum()


def _own(x: Tensor) -> Tensor:
    """Sum of every picture's kernel with itself, which the unbiased estimate leaves out."""
    return (x.square().sum(1) / x.shape[1] + 1).pow(3).sum()


class KID(_PictureSetDistance):
    """Kernel inception distance: unbiased, so it may be read for small sets, and may fall below 0 there."""

    least = 2
    card = MetricCard(
        name="kid",
        version=1,
        title="KID",
        unit="",
        higher_is_better=False,
        compares=f"the set of reenacted pictures with real ones ({REAL})",
        entries=(ENTRY,),
        face_missing="no face is looked for; pairs without a picture are left out",
        colour_range="RGB in [0, 255] rounded to integers, mapped to (x - 128) / 128",
        reduction="one value of all pairs: the whole sets at once instead of the mean over random subsets (the same "
        "expectation, nothing drawn); not multiplied by 1000",
        reference=f"Binkowski et al. 2018, polynomial kernel of degree 3; {INCEPTION}",
        digits=5,
    )

    def distance(self, reenacted: Tensor, real: Tensor) -> float:
        """Value of two sets."""
        return kernel_distance(reenacted, real)
