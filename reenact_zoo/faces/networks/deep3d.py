"""Encoder of Deep3DFaceRecon (Deng et al., CVPR Workshops 2019, arXiv:1903.08527): ResNet-50 and seven heads.

Unverified: neither reference outputs nor the released weights were at hand, so only the layout is as documented.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

COEFFICIENTS = {"identity": 80, "expression": 64, "texture": 80, "angles": 3, "light": 27, "shift_xy": 2, "shift_z": 1}
"""Sizes of the heads in their order; angles in rad, light as 3 x 9 harmonics, shifts in the head model's units."""


class Deep3DEncoder(nn.Module):
    """(B, 3, 224, 224) RGB in [0, 1] → (B, 257); keys of net_recon in the released checkpoint (unverified)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet50(weights=None)
        width = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.final_layers = nn.ModuleList(nn.Conv2d(width, size, 1) for size in COEFFICIENTS.values())

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.backbone(x)[:, :, None, None]
        return torch.cat([head(x).flatten(1) for head in self.final_layers], 1)
