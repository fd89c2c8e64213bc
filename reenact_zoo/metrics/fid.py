"""Fréchet inception distance (Heusel et al., NIPS 2017, arXiv:1706.08500)."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.metrics._picture_set import INCEPTION, REAL, _PictureSetDistance
from reenact_zoo.metrics.base import MetricCard
from reenact_zoo.nn.fid import ENTRY

LEAST = 2000  # pictures: fewer than features, and the estimate is mostly bias


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Features (n, F), (m, F) float64 → |mean difference|² + trace(A + B - 2 (A B)^½) of their sample covariances."""
    covariance_a, covariance_b = torch.cov(a.mT), torch.cov(b.mT)
    # (A B)^½ has the trace of (A^½ B A^½)^½, which is symmetric: no complex numbers, no negative roots
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return float(apart + covariance_a.trace() + covariance_b.trace() - 2 * cross)


class FID(_PictureSetDistance):
    """Fréchet inception distance; biased by the size of the sets, which therefore stand beside it."""

    least = LEAST
    card = MetricCard(
        name="fid",
        version=1,
        title="FID",
        unit="",
        higher_is_better=False,
        compares=f"the set of reenacted pictures with real ones ({REAL})",
        entries=(ENTRY,),
        face_missing="no face is looked for; pairs without a picture are left out",
        colour_range="RGB in [0, 255] rounded to integers, mapped to (x - 128) / 128",
        reduction=f"one value of all pairs; not applicable below {LEAST:,} pictures of either kind: take kid",
        reference=f"Heusel et al. 2017; {INCEPTION}",
        digits=2,
    )

    def distance(self, reenacted: Tensor, real: Tensor) -> float:
        """Value of two sets."""
        return frechet_distance(reenacted, real)
