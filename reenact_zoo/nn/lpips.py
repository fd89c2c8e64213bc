"""LPIPS v0.1 (Zhang et al., CVPR 2018, arXiv:1801.03924): a backbone's maps and the released linear heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from reenact_zoo.nn.backbones import pretrained
from reenact_zoo.weights.store import WeightStore

CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg16": (64, 128, 256, 512, 512)}
HEADS = {"alex": "lpips_alex", "vgg16": "lpips_vgg"}
EPSILON = 1e-10  # added to the length of a feature vector; authors' release


class _Head(nn.Module):
    """A weight per channel; the Sequential gives the released key "model.1.weight" (0 is a dropout)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class LpipsHeads(nn.Module):
    """The linear heads, keys lin0.model.1.weight …; the released weights are not negative."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for index, count in enumerate(channels):
            self.add_module(f"lin{index}", _Head(count))

    def forward(self, differences: Sequence[Tensor]) -> Tensor:
        """Squared differences (B, C_i, h_i, w_i) of every layer → (B,): spatial means, summed over the layers."""
        parts = [head(x).mean((1, 2, 3)) for head, x in zip(self.children(), differences)]
        return torch.stack(parts).sum(0)


class Lpips(nn.Module):
    """Distance of two images, symmetric, 0 for equal ones; differentiable in both.

    Args:
        backbone: (B, 3, H, W) RGB in [0, 1] → maps by layer (``FeaturePyramid``), in the order of the heads. LPIPS' own
            scaling of [-1, 1] images is ImageNet's of [0, 1] images, which the backbone does.
        heads: one per map.
    """

    def __init__(self, backbone: nn.Module, heads: LpipsHeads) -> None:
        super().__init__()
        self.backbone, self.heads = backbone, heads
        self.eval().requires_grad_(False)

    @classmethod
    def from_store(cls, network: Literal["alex", "vgg16"] = "alex", store: WeightStore | None = None) -> Lpips:
        """With the released heads and ImageNet weights; "alex" is for reports, "vgg16" for losses (authors' advice).

        Raises:
            WeightsMissing: the backbone's or the heads' file is not at hand.
        """
        store = store or WeightStore()
        heads = LpipsHeads(CHANNELS[network])
        store.load_into(heads, HEADS[network])
        return cls(pretrained(network, store), heads)

    def train(self, mode: bool = True) -> Lpips:
        """Always in evaluation mode: the heads' dropout belonged to their training."""
        return super().train(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, 3, H, W) twice, RGB in [0, 1] → (B,)."""
        pairs = zip(self.backbone(a).values(), self.backbone(b).values())
        return self.heads([(_unit(x) - _unit(y)).square() for x, y in pairs])


def _unit(x: Tensor) -> Tensor:
    """Every cell's feature vector divided by its length; no infinite gradient where the vector is zero."""
    squares = x.square().sum(1, keepdim=True)
    return x / (squares.clamp(min=EPSILON**2).sqrt() + EPSILON)
