"""What cameras, rooms and hands do to a face crop, so that networks do not learn what renders look like.

Every effect is drawn per picture; effects with a size (resolution, blur, blocks) are drawn per group of pictures, which
keeps them to a few whole-batch operations. Inputs and outputs are (B, 3, S, S) in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

GROUPS = 8


@dataclass(frozen=True)
class Strength:
    """How far the effects go; 1 suits networks whose answer does not depend on colour or light."""

    light: float = 1.0
    colour: float = 1.0
    cover: float = 1.0
    camera: float = 1.0


def changed(crops: Tensor, textures: Tensor, strength: Strength, generator: torch.Generator) -> Tensor:
    """Light, colour, things in front of the face, and a camera of random quality.

    ``textures`` (N, 3, S, S) supply what covers faces.
    """
    out = relit(crops, strength.light, generator)
    out = covered(out, textures, 0.3 * strength.cover, generator)
    out = recoloured(out, strength.colour, generator)
    return filmed(out, strength.camera, generator)


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """(count, 1, 1, 1)."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def _sometimes(generator: torch.Generator, count: int, share: float) -> Tensor:
    return (torch.rand(count, 1, 1, 1, generator=generator) < share).float()


# --- light and colour -----------------------------------------------------------------------------------------------


def relit(crops: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A smooth field of light in front of the picture, one time in two also tinted."""
    count, side = len(crops), crops.shape[-1]
    grey = _normal(generator, count, 1, 3, 3) + 0.25 * _normal(generator, count, 3, 3, 3)
    field = F.interpolate(grey, (side, side), mode="bicubic", align_corners=False)
    size = 0.35 * strength * _sometimes(generator, count, 0.6) * torch.rand(count, 1, 1, 1, generator=generator)
    return (crops * (size * field).exp()).clamp(0, 1)


def recoloured(crops: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gamma, contrast, brightness, cast and saturation."""
    count = len(crops)
    gamma = (0.35 * strength * _normal(generator, count, 1, 1, 1).clamp(-2, 2)).exp()
    out = (crops + 1e-4) ** gamma
    mean = out.mean((1, 2, 3), keepdim=True)
    contrast = (0.22 * strength * _normal(generator, count, 1, 1, 1).clamp(-2, 2)).exp()
    out = (out - mean) * contrast + mean + 0.07 * strength * _normal(generator, count, 1, 1, 1)
    out = out * (0.12 * strength * _normal(generator, count, 3, 1, 1)).exp()
    grey = out.mean(1, keepdim=True)
    colourful = uniform(generator, count, 1 - 0.6 * strength, 1 + 0.4 * strength)
    colourful = colourful * (1 - _sometimes(generator, count, 0.08 * strength))
    return (grey + colourful * (out - grey)).clamp(0, 1)


def covered(crops: Tensor, textures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A ``share`` of the pictures gets an ellipse or a bar of texture or skin colour (a hand, a cup, a microphone)."""
    count, side = len(crops), crops.shape[-1]
    axis = (2 * torch.arange(side) + 1) / side - 1
    y, x = (v[None, None] for v in torch.meshgrid(axis, axis, indexing="ij"))
    turn = uniform(generator, count, 0, math.pi)
    # centres lie off the middle: what covers a face comes from its rim
    angle, far = uniform(generator, count, 0, 2 * math.pi), uniform(generator, count, 0.35, 1.0)
    dx, dy = x - far * angle.cos(), y - far * angle.sin()
    u, v = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
    a, b = uniform(generator, count, 0.12, 0.5), uniform(generator, count, 0.08, 0.3)
    power = 2 + 6 * _sometimes(generator, count, 0.4)  # 2 an ellipse, 8 nearly a rectangle
    inside = (((u / a).abs() ** power + (v / b).abs() ** power - 1) * -6).sigmoid()
    inside = inside * _sometimes(generator, count, share)
    patch = textures[torch.randint(len(textures), (count,), generator=generator)]
    tone = torch.tensor([0.75, 0.55, 0.45]).view(1, 3, 1, 1) * uniform(generator, count, 0.4, 1.3)
    skin = _sometimes(generator, count, 0.5)
    patch = skin * tone * (0.7 + 0.6 * patch.mean(1, keepdim=True)) + (1 - skin) * patch
    return crops + inside * (patch.clamp(0, 1) - crops)


# --- camera ---------------------------------------------------------------------------------------------------------


def filmed(crops: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Low resolution, blur, noise and compression, each for some of the pictures."""
    out = _grouped(crops, _coarser, 0.75 * strength, generator)
    out = _grouped(out, _blurred, 0.35 * strength, generator)
    count, side = len(out), out.shape[-1]
    fine = _normal(generator, count, 3, side, side)
    coarse = F.interpolate(_normal(generator, count, 3, side // 2, side // 2), (side, side), mode="nearest")
    level = strength * torch.rand(count, 1, 1, 1, generator=generator) ** 3
    out = (out + level * (0.06 * fine + 0.04 * coarse)).clamp(0, 1)
    return _grouped(out, _compressed, 0.4 * strength, generator).clamp(0, 1)


def _grouped(
    crops: Tensor, effect: Callable[[Tensor, torch.Generator], Tensor], share: float, generator: torch.Generator
) -> Tensor:
    """``effect`` on each of ``GROUPS`` parts of the batch with probability ``share``."""
    parts = crops.chunk(GROUPS)
    chosen = (torch.rand(len(parts), generator=generator) < share).tolist()
    return torch.cat([effect(part, generator) if yes else part for part, yes in zip(parts, chosen)])


def _coarser(crops: Tensor, generator: torch.Generator) -> Tensor:
    """As if the crop had been 20 to 64 pixels wide."""
    side = crops.shape[-1]
    small = int(torch.randint(20, side, (1,), generator=generator))
    how = ("bilinear", "bicubic")[int(torch.randint(2, (1,), generator=generator))]
    low = F.interpolate(crops, (small, small), mode="area")
    return F.interpolate(low, (side, side), mode=how, align_corners=False).clamp(0, 1)


def _blurred(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian, stretched one time in two as by a movement along an axis."""
    across, down = (0.3 + 1.3 * torch.rand(2, generator=generator)).tolist()
    offsets = torch.arange(-3, 4).float()
    rows = []
    for sigma in (across, down):
        weights = (-0.5 * (offsets / sigma) ** 2).exp()
        rows.append(weights / weights.sum())
    kernel = (rows[1][:, None] * rows[0]).expand(3, 1, 7, 7).contiguous()
    return F.conv2d(F.pad(crops, (3, 3, 3, 3), mode="replicate"), kernel, groups=3)


@cache
def _cosines() -> Tensor:
    """(8, 8) orthonormal matrix of the discrete cosine transform."""
    k, n = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= 2**0.5
    return matrix


def _compressed(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Blocks of 8x8 pixels with coarsely rounded cosine coefficients, coarser for high frequencies, as JPEG does."""
    side = crops.shape[-1]
    k = torch.arange(8).float()
    step = (0.01 + 0.03 * float(torch.rand(1, generator=generator))) * (1 + 0.6 * (k[:, None] + k))
    matrix = _cosines()
    blocks = crops.unflatten(2, (side // 8, 8)).unflatten(4, (side // 8, 8)).transpose(3, 4)  # (B, 3, R, C, 8, 8)
    rounded = (matrix @ blocks @ matrix.T / step).round() * step
    return (matrix.T @ rounded @ matrix).transpose(3, 4).flatten(4, 5).flatten(2, 3)
