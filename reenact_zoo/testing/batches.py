"""Batches of schematic painted faces, for tests that need a face-like picture and no file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.types import TARGET_KEYS, PairBatch

NUM_COEFFICIENTS = 236  # FLAME's layout: 100 shape, 50 texture, 50 expression, 6 pose, 3 camera, 27 light
NUM_PARSING = 19  # BiSeNet's classes


def _template() -> Tensor:
    """(68, 2) landmarks of a schematic frontal face, x right and y down, inside [-1, 1]."""

    def arc(n: int, cx: float, cy: float, rx: float, ry: float, begin: float, end: float) -> Tensor:
        angle = torch.deg2rad(torch.linspace(begin, end, n))
        return torch.stack([cx + rx * angle.cos(), cy + ry * angle.sin()], dim=1)

    def line(n: int, x0: float, y0: float, x1: float, y1: float) -> Tensor:
        t = torch.linspace(0, 1, n)[:, None]
        return torch.tensor([[x0, y0]]) * (1 - t) + torch.tensor([[x1, y1]]) * t

    def eye(cx: float) -> Tensor:  # corner, two above, corner, two below
        angle = torch.deg2rad(torch.tensor([180.0, 240.0, 300.0, 0.0, 60.0, 120.0]))
        return torch.stack([cx + 0.16 * angle.cos(), -0.25 + 0.08 * angle.sin()], dim=1)

    jaw = arc(17, 0, -0.1, 0.8, 0.95, 180, 0)
    brows = torch.cat([arc(5, -0.36, -0.4, 0.24, 0.12, 180, 360), arc(5, 0.36, -0.4, 0.24, 0.12, 180, 360)])
    nose = torch.cat([line(4, 0, -0.25, 0, 0.1), arc(5, 0, 0.15, 0.15, 0.06, 180, 0)])
    outer = torch.cat([arc(7, 0, 0.45, 0.3, 0.1, 180, 360), arc(5, 0, 0.45, 0.3, 0.12, 30, 150)])
    inner = torch.cat([arc(5, 0, 0.45, 0.22, 0.03, 180, 360), arc(3, 0, 0.45, 0.22, 0.03, 45, 135)])
    return torch.cat([jaw, brows, nose, eye(-0.36), eye(0.36), outer, inner])


def place(random: torch.Generator, batch: int) -> Tensor:
    """(B, 68, 2) template faces of random place, size, tilt and mouth opening."""
    points = _template().repeat(batch, 1, 1)
    opening = 0.15 * torch.rand(batch, 1, generator=random)
    lower = torch.tensor([*range(55, 60), *range(65, 68)])
    points[:, lower, 1] += opening
    angle = 0.3 * (torch.rand(batch, generator=random) - 0.5)
    scale = 0.5 + 0.15 * torch.rand(batch, generator=random)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).reshape(batch, 2, 2)
    shift = 0.4 * (torch.rand(batch, 1, 2, generator=random) - 0.5)
    return scale[:, None, None] * points @ rotation.mT + shift


def _blob(grid: Tensor, points: Tensor, grow: float = 1.0) -> Tensor:
    """(B, 1, H, W) soft disc over the mean of points (B, N, 2), as wide as they spread."""
    centre = points.mean(1)[:, :, None, None]
    radius = grow * (points - points.mean(1, keepdim=True)).norm(dim=2).mean(1)[:, None, None]
    distance = (grid - centre).norm(dim=1) / radius.clamp(min=0.02)
    return torch.sigmoid(8 * (1 - distance))[:, None]


def paint(points: Tensor, skin: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Schematic faces at the landmarks: images (B, 3, H, W) and mattes (B, 1, H, W)."""
    size = background.shape[-1]
    axis = (2 * torch.arange(size) + 1) / size - 1
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))[None]
    matte = _blob(grid, points[:, :27], 1.1)  # jaw and brows
    image = background * (1 - matte) + skin * matte
    dark, red = torch.tensor([0.1, 0.08, 0.1])[:, None, None], torch.tensor([0.7, 0.2, 0.2])[:, None, None]
    for part, colour in ((slice(36, 42), dark), (slice(42, 48), dark), (slice(48, 60), red), (slice(60, 68), dark)):
        spot = _blob(grid, points[:, part])
        image = image * (1 - spot) + colour * spot
    return image, matte


def synthetic_batch(
    size: int = 64, batch: int = 2, keys: Iterable[str] = (), *, seed: int = 0, targets: bool = False
) -> PairBatch:
    """Self pairs of schematic painted faces with the asked annotations; needs no file, same for the same arguments.

    Args:
        size: side of the images in pixels.
        batch: B.
        keys: optional PairBatch keys to add; landmarks, mattes and parsing fit the pictures, coefficients are random.
        seed: another seed, other faces.
        targets: add every evaluation key, filled with NaN: what no method may look at.
    """
    random = torch.Generator().manual_seed(seed)
    skin = 0.4 + 0.5 * torch.rand(batch, 3, 1, 1, generator=random)
    coarse = torch.rand(batch, 3, 4, 4, generator=random)
    background = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
    made: dict[str, Any] = {
        "same_identity": torch.ones(batch, dtype=torch.bool),
        "pair_id": [f"pair_{index}" for index in range(batch)],
        "source_identity": torch.arange(batch),
        "driving_identity": torch.arange(batch),
    }
    extra, extra_landmarks = [], []
    for role in ("source", "driving", "driving_reference"):
        points = place(random, batch)
        image, matte = paint(points, skin, background)
        made |= {role: image, f"{role}_landmarks": points, f"{role}_matte": matte, f"{role}_parsing": _parsing(matte)}
        made[f"{role}_coefficients"] = 0.1 * torch.randn(batch, NUM_COEFFICIENTS, generator=random)
        extra.append(image)
        extra_landmarks.append(points)
    made["extra_sources"] = torch.stack(extra[::2], dim=1)
    made["extra_sources_landmarks"] = torch.stack(extra_landmarks[::2], dim=1)
    made["driving_coefficients_window"] = made["driving_coefficients"][:, None].repeat(1, 5, 1)
    wanted = {"source", "driving", "same_identity", "pair_id", *keys}
    result = {key: made[key] for key in made if key in wanted}
    if targets:
        result |= {key: torch.full((batch, 3, size, size), torch.nan) for key in TARGET_KEYS}
    return cast(PairBatch, result)


def _parsing(matte: Tensor) -> Tensor:
    classes = torch.zeros(len(matte), NUM_PARSING, *matte.shape[-2:])
    classes[:, :1], classes[:, 1:2] = 1 - matte, matte  # background and skin
    return classes
