"""Features of a picture for perceptual losses where ImageNet weights are not at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.networks import synthetic_features
from reenact_zoo.weights.store import WeightStore


class SyntheticFeatures:
    """Four maps of the feature network that was trained on renders of synthetic people; differentiable.

    A distance under it is named "synthetic": it is neither LPIPS nor a VGG loss.

    Raises:
        WeightsMissing: synthetic_features is not at hand.
    """

    name = "features_synthetic"
    weights: tuple[str, ...] = ("synthetic_features",)
    channels = synthetic_features.WIDTHS

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self.network = synthetic_features.SyntheticFeatures()
        (store or WeightStore()).load_into(self.network, self.weights[0])
        self.network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [0, 1], sides at least 8 → maps (B, C, H / n, W / n), n = 1, 2, 4, 8."""
        maps: list[Tensor] = self.network(images.to(self._device))
        return maps
