"""How far a picture is from the true one: the one set of reconstruction losses that every trained method uses.

Three parts: colours at several sizes, differences of neighbouring pixels at the same sizes, and feature maps of a fixed
network. If methods were trained with different ones, a ranking of methods would be a ranking of losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.nn.perceptual import GradientLoss, PerceptualLoss, perceptual_loss
from reenact_zoo.weights.store import WeightStore

LEVELS = 3  # at 64 px: 64, 32 and 16
MIN_SIDE_PX = 8


@dataclass(frozen=True)
class ReconstructionWeights:
    """Factors of the three parts; a part of weight 0 is not computed.

    Attributes:
        colour: of the mean absolute difference of colours, averaged over the sizes.
        gradient: of the mean absolute difference of horizontal and vertical differences, averaged over the sizes.
        perceptual: of the summed mean absolute differences of feature maps.
    """

    colour: float = 1.0
    gradient: float = 1.0
    perceptual: float = 1.0


class ReconstructionLoss(nn.Module):
    """Weighted parts of the distance between pictures and the true ones.

    Args:
        weights: factors of the parts.
        features: compares feature maps, see ``reconstruction_loss``; None: that part is left out.
        levels: sizes of the first two parts; each halves the one before, and none is below ``MIN_SIDE_PX``.

    Attributes:
        backbone_name: the network whose features are compared; "" for none. It belongs into the run's record.
    """

    def __init__(
        self,
        weights: ReconstructionWeights | None = None,
        features: PerceptualLoss | None = None,
        levels: int = LEVELS,
    ) -> None:
        super().__init__()
        self.weights = weights or ReconstructionWeights()
        self.features = features if self.weights.perceptual > 0 else None
        self.backbone_name = self.features.backbone_name if self.features is not None else ""
        self._levels = levels

    def parts(self, images: Tensor, target: Tensor, pixel_weight: Tensor | None = None) -> dict[str, Tensor]:
        """Weighted scalars by name: "colour", "gradient", "perceptual".

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            target: (B, 3, H, W); no gradient reaches it.
            pixel_weight: (B, 1, H, W), multiplies the differences of the first two parts; features are not weighted.
        """
        target = target.detach()
        found: dict[str, Tensor] = {}
        if self.weights.colour > 0 or self.weights.gradient > 0:
            colour, gradient = self._by_size(images, target, pixel_weight)
            found |= {"colour": self.weights.colour * colour} if self.weights.colour > 0 else {}
            found |= {"gradient": self.weights.gradient * gradient} if self.weights.gradient > 0 else {}
        if self.features is not None:
            found["perceptual"] = self.weights.perceptual * self.features(images, target)
        return found

    def forward(self, images: Tensor, target: Tensor, pixel_weight: Tensor | None = None) -> Tensor:
        """Sum of ``parts``; 0 where every weight is 0."""
        found = self.parts(images, target, pixel_weight)
        return torch.stack(list(found.values())).sum() if found else images.new_zeros(())

    def _by_size(self, images: Tensor, target: Tensor, pixel_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        # Both parts are linear in the pictures, so their difference alone has to be made smaller.
        difference = images - target
        weight = images.new_ones(1, 1, *images.shape[2:]) if pixel_weight is None else pixel_weight
        colour, gradient = [], []
        for level in range(self._levels):
            colour.append((weight * difference.abs()).mean())
            gradient.append(sum(_gradient(difference, weight, axis) for axis in (2, 3)))
            if level + 1 == self._levels or min(difference.shape[2:]) < 2 * MIN_SIDE_PX:
                break
            difference, weight = F.avg_pool2d(difference, 2), F.avg_pool2d(weight, 2)
        return torch.stack(colour).mean(), torch.stack(gradient).mean()  # type: ignore[arg-type]


def _gradient(difference: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Mean absolute difference of neighbours along an axis, weighted by the mean weight of both."""
    count = difference.shape[axis] - 1
    between = (weight.narrow(axis, 0, count) + weight.narrow(axis, 1, count)) / 2
    return (between * difference.diff(dim=axis).abs()).mean()


def reconstruction_loss(
    weights: ReconstructionWeights | None = None,
    fallback: Callable[[], nn.Module] | None = None,
    fallback_name: str = "synthetic_features",
    store: WeightStore | None = None,
    scales: tuple[float, ...] = (1.0,),
    levels: int = LEVELS,
) -> ReconstructionLoss:
    """The loss with VGG-16's features where its weights are at hand, as the papers have it, else with the fallback's.

    Args:
        weights: factors of the parts.
        fallback: makes the network that takes VGG's place (``faces.features.SyntheticFeatures().network``); called only
            when needed.
        fallback_name: weight entry of the fallback.
        store: where weights lie.
        scales: image sizes at which features are compared, as shares of the side.
        levels: see ``ReconstructionLoss``.
    """
    weights = weights or ReconstructionWeights()
    features = None
    if weights.perceptual > 0:
        found = perceptual_loss(store, ("vgg16",), None, scales=scales)
        if isinstance(found, GradientLoss) and fallback is not None:
            found = PerceptualLoss(fallback(), fallback_name, scales=scales)
        features = found if isinstance(found, PerceptualLoss) else None
    return ReconstructionLoss(weights, features, levels)
