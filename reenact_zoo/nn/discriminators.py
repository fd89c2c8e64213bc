"""Discriminators that judge overlapping patches (PatchGAN; Isola et al., CVPR 2017, arXiv:1611.07004)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from reenact_zoo.nn.modulation import InstanceNorm
from reenact_zoo.types import InputError


class PatchDiscriminator(nn.Module):
    """Strided 4x4 convolutions, then one number per patch; no sigmoid, so logits or least-squares scores.

    Layer i halves the size and has ``base`` * 2**i channels; after ``layers`` of them one without stride doubles the
    channels again and one reads off the scores. Leaky ReLU of slope 0.2, instance norm after all but first and last.

    Args:
        base: width of the first layer; 64 in the paper.
        layers: how many halve the size; 3 in the paper (patches of 70 pixels).
        inputs: channels of what is judged.
        spectral: spectral norm on every convolution (Miyato et al., ICLR 2018), in place of instance norm.
    """

    def __init__(self, base: int = 64, layers: int = 3, inputs: int = 3, spectral: bool = False) -> None:
        super().__init__()
        self.num_halvings = layers
        widths = [base * 2 ** min(i, 3) for i in range(layers + 1)]  # at most eightfold, as in the paper
        body: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([inputs, *widths[:-1]], widths)):
            body += [nn.Conv2d(before, after, 4, 2 if i < layers else 1, 1)]
            body += [InstanceNorm()] if i > 0 and not spectral else []
            body += [nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*body, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        if spectral:
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) → scores (B, 1, h, w), where h is H halved ``layers`` times less 2.

        Raises:
            InputError: no patch fits into the images.
        """
        smallest = min(images.shape[-2:])
        if smallest // 2**self.num_halvings < 3:
            raise InputError(
                f"a patch discriminator of {self.num_halvings} layers needs images of {3 * 2**self.num_halvings} "
                f"pixels or more, not {smallest}; give it fewer layers"
            )
        return self.layers(images)


def layers_for(size: int) -> int:
    """How many layers leave 5x5 or more patches of images of this size: 3 from 56 pixels on, then 2, then 1."""
    return 3 if size >= 56 else 2 if size >= 28 else 1
