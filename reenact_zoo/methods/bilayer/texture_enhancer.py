"""A few learned steps that bring the texture closer to the source's own picture (learned gradient descent)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reenact_zoo.methods.bilayer.inference_generator import Layers
from reenact_zoo.methods.bilayer.residual import SLOPE, ResBlock
from reenact_zoo.methods.bilayer.spectral import SpectralConv2d
from reenact_zoo.ops.warp import warp


class TextureEnhancer(nn.Module):
    """Texture and the gradient of a plain squared error with respect to it → the step to take.

    Args:
        width: channels at full size.
        inner: channels at half size.
        blocks: residual blocks there.
        steps: how often the texture is moved.
    """

    def __init__(self, width: int, inner: int, blocks: int, steps: int) -> None:
        super().__init__()
        layers = nn.Sequential(
            SpectralConv2d(6, width, 3),
            ResBlock(width, inner, "down"),
            *(ResBlock(inner, inner) for _ in range(blocks)),
            ResBlock(inner, width, "up"),
            nn.Identity(),  # the released layers count it
            nn.LeakyReLU(SLOPE),
            SpectralConv2d(width, 3, 3),
        )
        self.net = nn.ModuleDict({"blocks": layers})
        self.steps = steps

    def forward(self, texture: Tensor, source: Tensor, layers: Layers, weight: Tensor) -> Tensor:
        """Moved texture; a gradient flows through every step's texture, not through the squared error's gradient.

        Args:
            texture: (B, 3, H, W).
            source: (B, 3, H, W) in [-1, 1].
            layers: drawn for the source's own pose.
            weight: (B, 1, H, W) in [0, 1], the person's share: how far each pixel's error counts.
        """
        for _ in range(self.steps):
            gradient = squared_error_gradient(texture, source, layers, weight)
            step: Tensor = self.net["blocks"](torch.cat((texture, gradient), 1))
            texture = texture + step.float().tanh()
        return texture


def squared_error_gradient(texture: Tensor, source: Tensor, layers: Layers, weight: Tensor) -> Tensor:
    """Derivative (B, 3, H, W) of sum (w (low + high) - w source)² / 2 by the texture, without a graph.

    Both pictures are laid over the same background by the same w, which therefore cancels. Works under ``no_grad`` and
    ``inference_mode``.
    """
    with torch.no_grad():
        residual = weight.square() * (layers.low + layers.high(texture) - source)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = texture.detach().clone().requires_grad_()
        moved = warp(leaf, layers.flow.detach().clone())
        return torch.autograd.grad(moved, leaf, residual.clone())[0]
