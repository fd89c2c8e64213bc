"""Patch discriminators at several scales (One-shot Face Reenactment, Zhang et al., BMVC 2019, arXiv:1908.03251)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.nn.discriminators import PatchDiscriminator, layers_for
from reenact_zoo.types import InputError


class MultiScalePatch(nn.Module):
    """One discriminator for the image and one for each smaller picture of it (max pooling 3x3, stride 2).

    Args:
        base: width of the first layer of each; 64 in the released code.
        image_size: side of the images in pixels.
        scales: how many discriminators; 3 in the released code: 256, 127 and 63 pixels.
        layers: of each, largest picture first; where omitted, as many as leave 5x5 patches: at 256 pixels three
            everywhere, as released; at 64 pixels (64, 31, 15) it is 3, 2, 1.
        spectral: spectral norm in place of instance norm.

    Raises:
        InputError: as many ``layers`` as ``scales`` are needed.
    """

    def __init__(
        self,
        base: int = 64,
        image_size: int = 256,
        scales: int = 3,
        layers: Sequence[int] = (),
        spectral: bool = False,
    ) -> None:
        super().__init__()
        sizes = [image_size]
        for _ in range(scales - 1):
            sizes.append((sizes[-1] - 3) // 2 + 1)
        layers = tuple(layers) or tuple(layers_for(size) for size in sizes)
        if len(layers) != scales:
            raise InputError(f"discriminators: {scales} scales need {scales} numbers of layers, not {len(layers)}")
        self.scales = nn.ModuleList(PatchDiscriminator(base, count, spectral=spectral) for count in layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) in [-1, 1] → scores (B, 1, h, w) of each scale, largest picture first.

        Raises:
            InputError: the images are too small for a discriminator.
        """
        scores = []
        for i, discriminator in enumerate(self.scales):
            images = F.max_pool2d(images, 3, 2) if i > 0 else images
            scores.append(discriminator(images))
        return scores
