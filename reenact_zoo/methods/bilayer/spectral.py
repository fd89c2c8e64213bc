"""Linear maps divided by an estimate of their largest singular value (Miyato et al., ICLR 2018, arXiv:1802.05957).

W' = W / (u^T W v); in training mode every use first moves u and v by one step of the power iteration, in evaluation
mode both stand still. Parameters keep the names of the released files: weight_orig, weight_u, weight_v, bias.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-7


class Spectral(nn.Module):
    """A weight of the given shape, its spectral norm, and a bias.

    Args:
        shape: of the weight, outputs first.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(shape[0]))
        self.register_buffer("weight_u", torch.empty(shape[0]))
        self.register_buffer("weight_v", torch.empty(math.prod(shape[1:])))
        if not self.weight_orig.is_meta:
            self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        bound = 1 / math.sqrt(len(self.weight_v))
        self.weight_orig.uniform_(-bound, bound)
        self.bias.uniform_(-bound, bound)
        self.weight_u.normal_()
        self._iterate()  # with a random v sigma would be almost 0

    @torch.no_grad()
    def _iterate(self) -> tuple[Tensor, Tensor]:
        """Next u and v, which are also kept."""
        matrix = self.weight_orig.flatten(1)
        v = F.normalize(matrix.mT @ self.weight_u, dim=0, eps=EPS)
        u = F.normalize(matrix @ v, dim=0, eps=EPS)
        self.weight_u.copy_(u)
        self.weight_v.copy_(v)
        return u, v

    def weight(self) -> Tensor:
        """The weight divided by its norm; float32 under autocast, too."""
        with torch.autocast(self.weight_orig.device.type, enabled=False):
            # new tensors in training: the next use changes the kept ones before this use's gradient is computed
            u, v = self._iterate() if self.training else (self.weight_u, self.weight_v)
            return self.weight_orig / torch.dot(u, self.weight_orig.flatten(1) @ v)


class SpectralConv2d(Spectral):
    """Convolution that keeps the size, with an odd kernel."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(outputs, inputs, kernel, kernel)
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, outputs, H, W)."""
        return F.conv2d(x, self.weight(), self.bias, padding=self.padding)


class SpectralLinear(Spectral):
    """Fully connected layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(outputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)."""
        return F.linear(x, self.weight(), self.bias)
