"""Features of the Fréchet inception distance (Heusel et al., NIPS 2017, arXiv:1706.08500): Inception of 2015.

torchvision's Inception v3 with the three differences of the TensorFlow network: averages at the border of the pooling
branches count true pixels only, the last block pools by the maximum, and there are 1008 classes. The keys are
torchvision's, as in the converted file pt_inception-2015-12-05-6726825d.pth.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from reenact_zoo.weights.store import WeightStore

ENTRY = "inception_fid"
SIDE = 299
FEATURES = 2048
ORDER = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


def _mean_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _BlockA(InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        fives = self.branch5x5_2(self.branch5x5_1(x))
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return [self.branch1x1(x), fives, threes, self.branch_pool(_mean_pool(x))]


class _BlockC(InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return [self.branch1x1(x), once, twice, self.branch_pool(_mean_pool(x))]


class _BlockE(InceptionE):
    by_maximum = False  # the last block

    def _forward(self, x: Tensor) -> list[Tensor]:
        once = self.branch3x3_1(x)
        once = torch.cat([self.branch3x3_2a(once), self.branch3x3_2b(once)], 1)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        twice = torch.cat([self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)], 1)
        pooled = F.max_pool2d(x, 3, 1, 1) if self.by_maximum else _mean_pool(x)
        return [self.branch1x1(x), once, twice, self.branch_pool(pooled)]


class InceptionFid(Inception3):
    """(B, 3, H, W) RGB in [0, 1] → (B, 2048) features of the last average pool; fresh weights, see ``from_store``.

    Images are rounded to 8 bits, resized to 299 x 299 (bilinear, antialiased, as torchmetrics does) and mapped to
    (x - 128) / 128. For measuring: rounding has no gradient.
    """

    def __init__(self) -> None:
        blocks = [BasicConv2d, _BlockA, InceptionB, _BlockC, InceptionD, _BlockE, InceptionAux]
        super().__init__(1008, aux_logits=False, transform_input=False, inception_blocks=blocks, init_weights=False)
        self.Mixed_7c.by_maximum = True
        self.eval().requires_grad_(False)

    @classmethod
    def from_store(cls, store: WeightStore | None = None) -> InceptionFid:
        """With the weights of every published FID; nothing is downloaded.

        Raises:
            WeightsMissing: inception_fid is not at hand.
        """
        network = cls()
        (store or WeightStore()).load_into(network, ENTRY)
        return network

    def train(self, mode: bool = True) -> InceptionFid:
        """Always in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = (images.clamp(0, 1) * 255).round()
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        x = (x - 128) / 128
        for name in ORDER:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))
