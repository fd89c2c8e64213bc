"""Perceptual losses over any network that returns maps, and what takes their place where no weights are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.nn.backbones import ENTRIES, BackboneName, pretrained
from reenact_zoo.weights.store import WeightStore

MIN_SIDE_PX = 16  # five halvings leave nothing of smaller images


class PerceptualLoss(nn.Module):
    """Mean absolute difference of feature maps, summed over layers and image scales (Johnson et al., ECCV 2016).

    The network is frozen; it normalises images itself. The second image is the target: no gradient reaches it.

    Args:
        backbone: (B, 3, H, W) RGB in [0, 1] → maps, as a dictionary by layer or as a sequence (then called "0", "1" …).
        backbone_name: said by records and logs; "" takes the backbone's own ``name``.
        weights: layer → weight; None: 1 for every layer.
        scales: image sizes at which maps are compared, as shares of the side (PIRenderer: 1, 1/2, 1/4, 1/8); the first
            always counts, further ones are left out where the image would be smaller than ``MIN_SIDE_PX``.

    Attributes:
        backbone_name: which network is in use.
    """

    def __init__(
        self,
        backbone: nn.Module,
        backbone_name: str = "",
        weights: Mapping[str, float] | None = None,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.backbone_name = backbone_name or str(getattr(backbone, "name", type(backbone).__name__))
        self._weights = None if weights is None else dict(weights)
        self._scales = tuple(scales)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """The network stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def parts(self, images: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Layer@scale → weighted mean absolute difference of each image (B,).

        Raises:
            KeyError: a weighted layer is not among the network's maps.
        """
        found: dict[str, Tensor] = {}
        for scale in self._scales_of(images):
            mine = self._maps(_scaled(images, scale))
            with torch.no_grad():
                theirs = self._maps(_scaled(target, scale))
            weights = self._weights or dict.fromkeys(mine, 1.0)
            for layer, weight in weights.items():
                difference = (mine[layer] - theirs[layer].detach()).abs().flatten(1).mean(1)
                found[f"{layer}@{scale:g}"] = weight * difference
        return found

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) twice, RGB in [0, 1] → scalar, mean over the batch of the sum of ``parts``."""
        return torch.stack(list(self.parts(images, target).values())).sum(0).mean()

    def _scales_of(self, images: Tensor) -> list[float]:
        side = min(images.shape[2:])
        return [s for i, s in enumerate(self._scales) if i == 0 or s * side >= MIN_SIDE_PX]

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(images)
        return dict(maps) if isinstance(maps, Mapping) else {str(i): x for i, x in enumerate(maps)}


class GradientLoss(nn.Module):
    """Differences of neighbouring pixels at several scales: keeps edges without any trained network.

    Every scale compares colours' horizontal and vertical differences (mean absolute difference) and halves the image.

    Args:
        levels: scales at most; fewer where the image becomes smaller than 8 px.
    """

    backbone_name = "multiscale_gradient"

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self._levels = levels

    def parts(self, images: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Level → mean absolute difference of the gradients of each image (B,)."""
        target = target.detach()
        found = {}
        for level in range(self._levels):
            pairs = zip(_gradients(images), _gradients(target))
            found[f"gradient@{0.5**level:g}"] = torch.stack([(a - b).abs().flatten(1).mean(1) for a, b in pairs]).sum(0)
            if min(images.shape[2:]) < 16:
                break
            images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
        return found

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) twice, RGB in [0, 1] → scalar."""
        return torch.stack(list(self.parts(images, target).values())).sum(0).mean()


def perceptual_loss(
    store: WeightStore | None = None,
    wanted: Sequence[BackboneName] = ("vgg19",),
    fallback: nn.Module | None = None,
    fallback_name: str = "synthetic_features",
    scales: Sequence[float] = (1.0, 0.5, 0.25, 0.125),
    layers: Sequence[str] = (),
) -> PerceptualLoss | GradientLoss:
    """The best perceptual loss for which weights are at hand; its ``backbone_name`` belongs into the run's record.

    Args:
        store: where weights lie.
        wanted: ImageNet networks, best first.
        fallback: network that is used where none of them is at hand (say, the bundled one trained on synthetic faces);
            None: ``GradientLoss``.
        fallback_name: its name.
        scales: see ``PerceptualLoss``.
        layers: of the ImageNet network; none: its usual ones.
    """
    store = store or WeightStore()
    for name in wanted:
        if store.available(ENTRIES[name]):
            return PerceptualLoss(pretrained(name, store, layers), ENTRIES[name], scales=scales)
    return GradientLoss() if fallback is None else PerceptualLoss(fallback, fallback_name, scales=scales)


def _scaled(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, antialias=True)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:] - images[..., :-1], images[..., 1:, :] - images[..., :-1, :]
