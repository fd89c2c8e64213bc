"""The two embedders of CosFace_pytorch (Wang et al., CVPR 2018, arXiv:1801.09414): own code, official keys."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
SPHERE20_BLOCKS = (1, 2, 4, 1)
LRESNET50_BLOCKS = (3, 4, 14, 3)
MAP = 7 * 6  # cells of the last map of a 112x96 image
EMBEDDING = 512


class _SphereBlock(nn.Module):
    """x + two convolutions, each followed by its PReLU; nothing after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.prelu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.prelu2 = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.prelu2(self.conv2(self.prelu1(self.conv1(x))))


class Sphere20(nn.Module):
    """(B, 3, 112, 96) RGB in [-1, 1] → (B, 512), not of unit length; no normalisation layer anywhere."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for stage, (channels, blocks) in enumerate(zip(WIDTHS, SPHERE20_BLOCKS), start=1):
            entry = [nn.Conv2d(inputs, channels, 3, 2, 1), nn.PReLU(channels)]
            self.add_module(f"layer{stage}", nn.Sequential(*entry, *(_SphereBlock(channels) for _ in range(blocks))))
            inputs = channels
        self.fc = nn.Linear(WIDTHS[-1] * MAP, EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.flatten(1))


class _ResidualBlock(nn.Module):
    """BN, conv, BN, PReLU, conv (stride), BN; the first of each stage projects its shortcut, stage 1 included."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.prelu1(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(residual)) + self.downsample(x)


class LResNet50IR(nn.Module):
    """LResNet50E-IR: (B, 3, 112, 96) RGB in [-1, 1] → (B, 512), not of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1, self.prelu1 = nn.BatchNorm2d(WIDTHS[0]), nn.PReLU(WIDTHS[0])
        inputs = WIDTHS[0]
        for stage, (channels, blocks) in enumerate(zip(WIDTHS, LRESNET50_BLOCKS), start=1):
            rest = (_ResidualBlock(channels, channels, 1) for _ in range(blocks - 1))
            self.add_module(f"layer{stage}", nn.Sequential(_ResidualBlock(inputs, channels, 2), *rest))
            inputs = channels
        flat = WIDTHS[-1] * MAP
        self.fc = nn.Sequential(
            nn.BatchNorm1d(flat), nn.Dropout(), nn.Linear(flat, EMBEDDING), nn.BatchNorm1d(EMBEDDING)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.prelu1(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.flatten(1))
