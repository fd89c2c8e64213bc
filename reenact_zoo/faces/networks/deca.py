"""Coarse encoder of DECA (Feng et al., SIGGRAPH 2021, arXiv:2012.04012): torchvision's ResNet-50 and two layers."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import resnet50

COEFFICIENTS = {"shape": 100, "texture": 50, "expression": 50, "pose": 6, "camera": 3, "light": 27}
"""Sizes of the parts of the output, in its order; pose is (global 3, jaw 3), camera (scale, x, y), light (9, 3)."""


class DecaEncoder(nn.Module):
    """(B, 3, 224, 224) RGB in [0, 1] → (B, 236), no output activation; keys of E_flame in deca_model.tar."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = resnet50(weights=None)
        width = self.encoder.fc.in_features
        self.encoder.fc = nn.Identity()
        self.layers = nn.Sequential(nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, sum(COEFFICIENTS.values())))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(self.encoder(x))
