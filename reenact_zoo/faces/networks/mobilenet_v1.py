"""MobileNet v1 regressor of 3DDFA_V2 (Guo et al., ECCV 2020, arXiv:2009.09960; code MIT), own code, same keys."""

from __future__ import annotations

from torch import Tensor, nn

# name, input channels, output channels, stride, at width 1
BLOCKS = (
    ("dw2_1", 32, 64, 1),
    ("dw2_2", 64, 128, 2),
    ("dw3_1", 128, 128, 1),
    ("dw3_2", 128, 256, 2),
    ("dw4_1", 256, 256, 1),
    ("dw4_2", 256, 512, 2),
    *((f"dw5_{i}", 512, 512, 1) for i in range(1, 6)),
    ("dw5_6", 512, 1024, 2),
    ("dw6", 1024, 1024, 1),
)


class _Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn_dw = nn.BatchNorm2d(inputs)
        self.conv_sep = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn_dw(self.conv_dw(x)).relu()
        return self.bn_sep(self.conv_sep(x)).relu()


class MobileNetV1(nn.Module):
    """(B, 3, 120, 120) BGR, (x - 127.5) / 128 → (B, outputs).

    Args:
        width: channel multiplier; mb05 has 0.5, mb1 has 1.
        outputs: 62 = 12 pose (3x4, row-major) + 40 shape + 10 expression, whitened.
    """

    def __init__(self, width: float = 0.5, outputs: int = 62) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, int(32 * width), 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(int(32 * width))
        for name, inputs, channels, stride in BLOCKS:
            self.add_module(name, _Separable(int(inputs * width), int(channels * width), stride))
        self.fc = nn.Linear(int(1024 * width), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.bn1(self.conv1(x)).relu()
        for name, *_ in BLOCKS:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))
