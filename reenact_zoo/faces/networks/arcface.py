"""IResNet of ArcFace (Deng et al., CVPR 2019, arXiv:1801.07698): own code, keys of insightface's arcface_torch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
BLOCKS = {"r18": (2, 2, 2, 2), "r50": (3, 4, 14, 3), "r100": (3, 13, 30, 3)}
MAP = 7 * 7  # cells of the last map of a 112x112 image
EMBEDDING = 512


class _Block(nn.Module):
    """BN, conv, BN, PReLU, conv (stride), BN, plus the shortcut; nothing after the sum."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(residual)) + self.downsample(x)


class IResNet(nn.Module):
    """(B, 3, 112, 112) RGB in [-1, 1] → (B, 512), not of unit length.

    Args:
        depth: "r18", "r50" or "r100".
    """

    def __init__(self, depth: Literal["r18", "r50", "r100"] = "r50") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1, self.prelu = nn.BatchNorm2d(WIDTHS[0]), nn.PReLU(WIDTHS[0])
        inputs = WIDTHS[0]
        for stage, (channels, blocks) in enumerate(zip(WIDTHS, BLOCKS[depth]), start=1):
            rest = (_Block(channels, channels, 1) for _ in range(blocks - 1))
            self.add_module(f"layer{stage}", nn.Sequential(_Block(inputs, channels, 2), *rest))
            inputs = channels
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1])
        self.fc = nn.Linear(WIDTHS[-1] * MAP, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))
