"""HRNetV2-W18 for facial landmarks (Sun et al., 2019, arXiv:1904.04514): own code, official keys.

timm's network of this name enlarges maps by nearest neighbours where the landmark network does so bilinearly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

WIDTHS = (18, 36, 72, 144)  # channels of the branches, finest first
MODULES = {2: 1, 3: 4, 4: 3}  # exchange modules of each stage
BLOCKS = 4  # residual blocks of a branch in one module


def _conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


def _descent(inputs: int, outputs: int, steps: int) -> nn.Sequential:
    """``steps`` halvings; the channels change, and the ReLU is left out, in the last one only."""
    kept = [_conv_bn(inputs, inputs, stride=2) for _ in range(steps - 1)]
    return nn.Sequential(*kept, _conv_bn(inputs, outputs, stride=2, relu=False))


class _Fusion(nn.ModuleList):
    """How branch i collects from every branch j: itself, enlarged coarser ones, strided finer ones."""

    def __init__(self, i: int, widths: tuple[int, ...]) -> None:
        paths: list[nn.Module] = []
        for j, width in enumerate(widths):
            if j == i:
                paths.append(nn.Identity())
            elif j > i:
                paths.append(_conv_bn(width, widths[i], 1, relu=False))
            else:
                paths.append(_descent(width, widths[i], i - j))
        super().__init__(paths)
        self.own = i

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[self.own].shape[2:]
        total = torch.zeros_like(maps[self.own])
        for path, x in zip(self, maps):
            total = total + _resized(path(x), size)
        return total.relu()


class _Module(nn.Module):
    """Residual blocks in every branch, then an exchange between all branches."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(w, w) for _ in range(BLOCKS))) for w in widths)
        self.fuse_layers = nn.ModuleList(_Fusion(i, widths) for i in range(len(widths)))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps)]
        return [fusion(maps) for fusion in self.fuse_layers]


class HRNet(nn.Module):
    """(B, 3, 256, 256) RGB, ImageNet-normalised → heat maps (B, points, 64, 64).

    Args:
        points: 68 (300W) or 98 (WFLW).
    """

    def __init__(self, points: int = 68) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        entrance = nn.Sequential(nn.Conv2d(64, 256, 1, bias=False), nn.BatchNorm2d(256))
        rest = (Bottleneck(256, 64) for _ in range(3))
        self.layer1 = nn.Sequential(Bottleneck(64, 64, downsample=entrance), *rest)
        first = _conv_bn(256, WIDTHS[0])
        self.transition1 = nn.ModuleList([first, nn.Sequential(_conv_bn(256, WIDTHS[1], stride=2))])
        for stage, modules in MODULES.items():
            self.add_module(f"stage{stage}", nn.Sequential(*(_Module(WIDTHS[:stage]) for _ in range(modules))))
            if stage < len(WIDTHS):  # only the new branch has weights, its place in the list is its own
                new = nn.Sequential(_conv_bn(WIDTHS[stage - 1], WIDTHS[stage], stride=2))
                passed = (nn.Identity() for _ in range(stage))
                self.add_module(f"transition{stage}", nn.ModuleList([*passed, new]))
        width = sum(WIDTHS)
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, points, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer1(self.bn2(self.conv2(x)).relu())
        maps = [layer(x) for layer in self.transition1]
        for stage in MODULES:
            maps = self.get_submodule(f"stage{stage}")(maps)
            if stage < len(WIDTHS):
                new = self.get_submodule(f"transition{stage}.{stage}")
                maps = [*maps, new(maps[-1])]
        size = maps[0].shape[2:]
        return self.head(torch.cat([_resized(x, size) for x in maps], 1))


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
