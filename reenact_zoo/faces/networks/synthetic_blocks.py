"""Building blocks of the networks that are trained on renders: two families of trunks for 64x64 face crops."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TRUNK_FEATURES = 64 * 4 * 4  # what both trunks give for a 64x64 crop


def standardised(crops: Tensor, by_channel: bool) -> Tensor:
    """(B, 3, H, W) with mean 0 and deviation 1 in every image: exposure and contrast of a camera drop out.

    ``by_channel`` also removes a cast of colour; without it the ratio of the channels, which is the skin's, stays.
    """
    axes = (2, 3) if by_channel else (1, 2, 3)
    mean = crops.mean(axes, keepdim=True)
    variance = (crops - mean).square().mean(axes, keepdim=True)
    return (crops - mean) * (variance + 1e-3).rsqrt()


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    layers = (nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input goes (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        return (x + self.norm(self.second(self.first(x)))).relu()


class ResidualTrunk(nn.Module):
    """(B, 3, 64, 64) → (B, last * 16): strided convolutions, one residual block at 32, 16 and 8 pixels."""

    taps = (3, 5)
    """Layers whose maps have 16 and 8 pixels a side; ``widths`` of 40 and 96 channels."""

    def __init__(self, widths: tuple[int, int, int] = (16, 40, 96), last: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths):
            layers += [conv(inputs, outputs, 2), Residual(outputs)]
        self.layers = nn.Sequential(*layers, conv(widths[-1], last, 2))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x).flatten(1)


class SqueezeExcite(nn.Module):
    """Every channel times a gate that the image's mean of all channels decides (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        gate = self.up(F.silu(self.down(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


def _plain(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.PReLU(outputs)]


class PlainTrunk(nn.Module):
    """(B, 3, 64, 64) → (B, 1024): no shortcut; 2x2 pixels become channels, then max pooling, PReLU, gated channels."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        for inputs, outputs in ((12, 20), (20, 48), (48, 96)):
            layers += [*_plain(inputs, outputs), *_plain(outputs, outputs), SqueezeExcite(outputs), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(96, 64, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x).flatten(1)


def expected_points(shares: Tensor) -> Tensor:
    """Heat maps (B, n, H, W), each summing to 1 → their means (B, n, 2), x, y in [-1, 1], pixel centres inside."""
    x, y = ((2 * torch.arange(n, device=shares.device) + 1) / n - 1 for n in (shares.shape[3], shares.shape[2]))
    return torch.stack((shares.sum(2) @ x, shares.sum(3) @ y), dim=-1)


class Points(nn.Module):
    """Maps of 16 and of 8 pixels a side → where 68 points lie: expectations of as many heat maps."""

    def __init__(self, fine: int, coarse: int, points: int = 68) -> None:
        super().__init__()
        self.mix, self.maps = conv(fine + coarse, 64), nn.Conv2d(64, points, 1)
        # A face is mostly the mean face: what a head is to see is by how much it is another
        self.unlike_mean = nn.BatchNorm1d(2 * points, affine=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(B, fine, 16, 16) and (B, coarse, 8, 8) → (B, points, 2) x, y in [-1, 1], pixel centres inside."""
        both = torch.cat([fine, F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)], 1)
        maps = self.maps(self.mix(both)).float()
        return expected_points(maps.flatten(2).softmax(-1).view_as(maps))

    def features(self, points: Tensor) -> Tensor:
        """(B, points, 2) → (B, 2 * points), relative to the centre of all, of mean 0 and deviation 1 over people."""
        moved: Tensor = self.unlike_mean((points - points.mean(1, keepdim=True)).flatten(1))
        return moved


def tapped(trunk: ResidualTrunk, points: Points, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, 64, 64) → the trunk's features with those of the points behind them, and the points (B, n, 2)."""
    taps = []
    for number, layer in enumerate(trunk.layers):
        x = layer(x)
        if number in trunk.taps:
            taps.append(x)
    found = points(*taps)
    return torch.cat([x.flatten(1), points.features(found)], 1), found


def rotation_from_six(six: Tensor) -> Tensor:
    """(B, 6) two columns → (B, 3, 3) rotation by Gram-Schmidt (Zhou et al., CVPR 2019); (1, 0, 0, 0, 1, 0) is none."""
    first = F.normalize(six[:, :3], dim=-1, eps=1e-6)
    second = six[:, 3:] - (first * six[:, 3:]).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1, eps=1e-6)
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=-1)
