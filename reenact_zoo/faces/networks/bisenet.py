"""BiSeNet for face parsing (Yu et al., ECCV 2018, arXiv:1808.00897): own code, keys of face-parsing.PyTorch.

The trunk is torchvision's ResNet-18. As in the official network there is no spatial path: the trunk's map of stride 8
takes its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

CLASSES = 19


class _ConvBnRelu(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class _Trunk(nn.Module):
    """ResNet-18 → maps of stride 8, 16 and 32 (128, 256 and 512 channels)."""

    def __init__(self) -> None:
        super().__init__()
        whole = resnet18(weights=None)
        self.conv1, self.bn1, self.maxpool = whole.conv1, whole.bn1, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.layer1(self.maxpool(self.bn1(self.conv1(x)).relu()))
        stride8 = self.layer2(x)
        stride16 = self.layer3(stride8)
        return stride8, stride16, self.layer4(stride16)


class _AttentionRefinement(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _ConvBnRelu(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.bn_atten(self.conv_atten(_global_mean(x))).sigmoid()


class _ContextPath(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resnet = _Trunk()
        self.arm16 = _AttentionRefinement(256, 128)
        self.arm32 = _AttentionRefinement(512, 128)
        self.conv_head32 = _ConvBnRelu(128, 128)
        self.conv_head16 = _ConvBnRelu(128, 128)
        self.conv_avg = _ConvBnRelu(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """→ the trunk's map of stride 8, context of stride 8 and context of stride 16."""
        stride8, stride16, stride32 = self.resnet(x)
        deep = self.arm32(stride32) + self.conv_avg(_global_mean(stride32))  # one cell, spread over the map
        deep = self.conv_head32(_enlarged(deep, stride16))
        middle = self.arm16(stride16) + deep
        return stride8, self.conv_head16(_enlarged(middle, stride8)), deep


class _FeatureFusion(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convblk = _ConvBnRelu(channels, channels, 1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat([spatial, context], 1))
        return x + x * self.conv2(self.conv1(_global_mean(x)).relu()).sigmoid()


class _Output(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.conv = _ConvBnRelu(inputs, hidden)
        self.conv_out = nn.Conv2d(hidden, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """(B, 3, H, W) RGB, ImageNet-normalised → three logits (B, 19, H, W); the first counts, two served training."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = _ContextPath()
        self.ffm = _FeatureFusion(256)
        self.conv_out = _Output(256, 256)
        self.conv_out16 = _Output(128, 64)
        self.conv_out32 = _Output(128, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        spatial, context8, context16 = self.cp(x)
        logits = (
            self.conv_out(self.ffm(spatial, context8)),
            self.conv_out16(context8),
            self.conv_out32(context16),
        )
        size = x.shape[2:]
        first, second, third = (F.interpolate(y, size, mode="bilinear", align_corners=True) for y in logits)  # official
        return first, second, third


def _global_mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="nearest")
