"""Similarity of local gradient strength (Xue et al., IEEE TIP 23(2), 2014, arXiv:1308.3052)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput

LUMINANCE = (0.299, 0.587, 0.114)
STABILITY = 170 / 255**2  # paper, section III: c = 170 for 8-bit images
SMALLEST = 6  # px: one window of 3 x 3 after halving


def gradient_magnitude_similarity(reenacted: Tensor, target: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], at least 6 px → mean of the similarity map (B,) in (0, 1]; equal images have 1.

    Eq. (4) of the paper on luminance halved by 2 x 2 means; only windows wholly inside the image.
    """
    a, b = _gradient_magnitude(reenacted), _gradient_magnitude(target)
    similarity = (2 * a * b + STABILITY) / (a.square() + b.square() + STABILITY)
    return similarity.flatten(1).mean(1)


def _gradient_magnitude(images: Tensor) -> Tensor:
    if min(images.shape[-2:]) < SMALLEST:
        raise ValueError(f"gradient magnitude similarity needs at least {SMALLEST} px, got {tuple(images.shape)}")
    weights = torch.tensor(LUMINANCE, dtype=torch.float64, device=images.device)
    luminance = torch.einsum("bchw,c->bhw", images.double(), weights)[:, None]
    halved = F.avg_pool2d(luminance, 2)
    # Prewitt's operator, divided by 3: eq. (1)
    across = (halved[..., :, 2:] - halved[..., :, :-2]) / 3
    down = (halved[..., 2:, :] - halved[..., :-2, :]) / 3
    x = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]
    y = down[..., :, :-2] + down[..., :, 1:-1] + down[..., :, 2:]
    return (x.square() + y.square()).sqrt()


class GradientMagnitudeSimilarity(PairMetric):
    """Mean of the gradient-magnitude similarity map: falls with blur, indifferent to flat errors of colour."""

    card = MetricCard(
        name="gradient_magnitude_similarity",
        version=1,
        title="gradient similarity",
        unit="",
        higher_is_better=True,
        compares=f"strength of luminance gradients of reenacted with those of the {TRUTH}, full frame",
        reads_target=True,
        colour_range="luminance (0.299 R + 0.587 G + 0.114 B) in [0, 1], halved by 2x2 means",
        reference="Xue et al., IEEE TIP 2014, eq. 1 to 4: Prewitt / 3, c = 170 / 255^2; the MEAN of the map, "
        "their GMSM, not its deviation (GMSD); windows inside the image only",
    )

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,)."""
        return gradient_magnitude_similarity(output.reenacted, truth(batch))
