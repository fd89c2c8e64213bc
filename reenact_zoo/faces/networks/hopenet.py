"""Hopenet (Ruiz et al., CVPR Workshops 2018, arXiv:1710.00925): torchvision's ResNet-50 with three heads of bins."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

BINS = 66
BIN_DEGREES, FIRST_DEGREES = 3.0, -99.0  # width of a bin; angle that bin 0 stands for


class Hopenet(ResNet):
    """(B, 3, 224, 224) RGB, ImageNet-normalised → logits (B, 66) of yaw, of pitch and of roll; official keys.

    ``fc_finetune`` is not used; it is here because the released file holds it.
    """

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        width = self.fc.in_features
        del self.fc
        self.fc_yaw, self.fc_pitch, self.fc_roll = (nn.Linear(width, BINS) for _ in range(3))
        self.fc_finetune = nn.Linear(width + 3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.avgpool(x).flatten(1)
        return self.fc_yaw(x), self.fc_pitch(x), self.fc_roll(x)


def degrees(logits: Tensor) -> Tensor:
    """(B, 66) → (B,) expected angle; the bins are 3 degrees apart and start at -99."""
    index = torch.arange(BINS, dtype=logits.dtype, device=logits.device)
    return logits.softmax(1) @ index * BIN_DEGREES + FIRST_DEGREES
