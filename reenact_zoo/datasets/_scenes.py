"""Backgrounds by code: rooms and streets out of focus, textured enough to tell a moved background from an unmoved one.

A scene is painted once on a canvas of fixed size and area-averaged to the size that is asked for, so the pictures at
64 and at 256 pixels show the same place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CANVAS = 512  # pixels; sizes above it are interpolated

Array = NDArray[np.float32]
Painter = Callable[[np.random.Generator], Array]


def scene(seed: np.random.SeedSequence, size: int) -> Array:
    """(size, size, 3) RGB in [0, 1]; a pure function of its arguments."""
    import cv2

    rng = np.random.default_rng(seed)
    painters = (_shelf, _bricks, _window, _foliage, _street, _panels, _pictures, _curtain)
    canvas = painters[int(rng.integers(len(painters)))](rng)
    blur = float(rng.uniform(1.5, 6.0))  # depth of field
    canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), blur), np.float32)
    canvas *= _vignette(rng)[..., None]
    grain = cv2.GaussianBlur(rng.standard_normal(canvas.shape[:2], np.float32), (0, 0), 2.5)
    canvas += 0.1 * grain[..., None]  # survives the blur before it
    how = cv2.INTER_AREA if size <= CANVAS else cv2.INTER_CUBIC
    return np.clip(cv2.resize(canvas, (size, size), interpolation=how), 0, 1).astype(np.float32)


def _colour(rng: np.random.Generator, value: tuple[float, float], saturation: float = 0.5) -> Array:
    """Random RGB with brightness in ``value`` and chroma up to ``saturation``."""
    level = rng.uniform(*value)
    tint = (rng.dirichlet((4.0, 3.2, 2.8)) * 3 - 1) * 0.75  # rooms are warmer than they are green or violet
    return np.clip(level * (1 + saturation * tint), 0, 1).astype(np.float32)


def _flat(colour: Array) -> Array:
    return np.tile(colour, (CANVAS, CANVAS, 1)).astype(np.float32)


def _clouds(rng: np.random.Generator, cells: int) -> Array:
    """(CANVAS, CANVAS) smooth noise, about unit variance, with ``cells`` cells across."""
    import cv2

    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC), np.float32)


def _fractal(rng: np.random.Generator) -> Array:
    return np.asarray(sum(_clouds(rng, 4 * 2**k) / 2**k for k in range(5)) / 1.6, np.float32)


def _vignette(rng: np.random.Generator) -> Array:
    """Uneven light over the wall: a soft lamp somewhere."""
    axis = np.linspace(-1, 1, CANVAS, dtype=np.float32)
    across, down = (np.exp(-((axis - rng.uniform(*range_)) ** 2)) for range_ in ((-1, 1), (-1.2, 0.3)))
    return np.asarray(rng.uniform(0.6, 0.8) + rng.uniform(0.2, 0.45) * np.outer(down, across), np.float32)


def _rectangle(canvas: Array, box: tuple[float, float, float, float], colour: Array) -> None:
    """Fill left, top, right, bottom (fractions of the canvas)."""
    left, top, right, bottom = (round(v * CANVAS) for v in box)
    canvas[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = colour


def _shelf(rng: np.random.Generator) -> Array:
    """Book spines of many colours on boards."""
    canvas = _flat(_colour(rng, (0.12, 0.3)))
    board, rows = _colour(rng, (0.3, 0.6), 0.4), int(rng.integers(3, 6))
    for row in range(rows):
        top, bottom = row / rows, (row + 1) / rows - 0.025
        x = -rng.uniform(0, 0.05)
        while x < 1:
            width, height = rng.uniform(0.015, 0.05), rng.uniform(0.6, 0.95) / rows
            if rng.random() < 0.88:
                spine = _colour(rng, (0.15, 0.75), 0.9)
                _rectangle(canvas, (x, bottom - height, x + width, bottom), spine)
                _rectangle(canvas, (x, bottom - 0.75 * height, x + width, bottom - 0.7 * height), 1 - spine)
            x += width + 0.002
        _rectangle(canvas, (0, bottom, 1, top + 1 / rows), board)
    return canvas


def _bricks(rng: np.random.Generator) -> Array:
    """Courses of bricks, each a little different."""
    canvas, base = _flat(_colour(rng, (0.5, 0.75), 0.15)), _colour(rng, (0.3, 0.6), 0.7)
    height = rng.uniform(0.05, 0.09)
    width = height * rng.uniform(2.0, 3.0)
    for row in range(int(1 / height) + 1):
        for column in range(-1, int(1 / width) + 2):
            x, y = (column + 0.5 * (row % 2)) * width, row * height
            brick = np.clip(base * rng.uniform(0.75, 1.25), 0, 1).astype(np.float32)
            _rectangle(canvas, (x + 0.006, y + 0.006, x + width, y + height), brick)
    return canvas + 0.03 * _fractal(rng)[..., None]


def _window(rng: np.random.Generator) -> Array:
    """A bright window with bars and a landscape in a plain, stained wall."""
    canvas = _flat(_colour(rng, (0.35, 0.7), 0.35)) + 0.04 * _fractal(rng)[..., None]
    left, top = rng.uniform(-0.2, 0.6), rng.uniform(-0.1, 0.15)
    right, bottom = left + rng.uniform(0.35, 0.7), top + rng.uniform(0.45, 0.75)
    frame = _colour(rng, (0.6, 0.95), 0.1)
    horizon = top + rng.uniform(0.4, 0.8) * (bottom - top)
    _rectangle(canvas, (left - 0.03, top - 0.03, right + 0.03, bottom + 0.03), frame)
    _rectangle(canvas, (left, top, right, horizon), _colour(rng, (0.75, 0.95), 0.25))
    _rectangle(canvas, (left, horizon, right, bottom), _colour(rng, (0.3, 0.55), 0.6))
    panes = int(rng.integers(2, 4))
    for k in range(1, panes):
        x, y = left + k * (right - left) / panes, top + k * (bottom - top) / panes
        _rectangle(canvas, (x - 0.01, top, x + 0.01, bottom), frame)
        _rectangle(canvas, (left, y - 0.01, right, y + 0.01), frame)
    return canvas


def _discs(canvas: Array, rng: np.random.Generator, count: int, radius: tuple[float, float], paint: Painter) -> None:
    import cv2

    for _ in range(count):
        x, y = (int(v) for v in rng.uniform(0, CANVAS, 2))
        opacity, size = float(rng.uniform(0.3, 0.9)), round(rng.uniform(*radius) * CANVAS)
        left, top = max(x - size, 0), max(y - size, 0)
        patch = canvas[top : y + size + 1, left : x + size + 1]
        disc = np.zeros(patch.shape[:2], np.float32)
        cv2.circle(disc, (x - left, y - top), size, opacity, -1)
        patch += disc[..., None] * (paint(rng) - patch)


def _foliage(rng: np.random.Generator) -> Array:
    """Leaves and patches of sky out of focus."""
    light, dark = _colour(rng, (0.5, 0.85), 0.5), np.array([0.08, 0.2, 0.06], np.float32) * rng.uniform(0.6, 1.6)
    mixed = 1 / (1 + np.exp(-2.5 * _fractal(rng)))[..., None]
    canvas = np.asarray(mixed * light + (1 - mixed) * dark, np.float32)
    green = np.array([0.25, 0.5, 0.15], np.float32)
    _discs(canvas, rng, 50, (0.01, 0.05), lambda r: np.asarray(green * r.uniform(0.4, 1.6, 3), np.float32))
    return canvas


def _street(rng: np.random.Generator) -> Array:
    """Lights of a street at night."""
    canvas = _flat(_colour(rng, (0.05, 0.2), 0.6)) + 0.04 * _fractal(rng)[..., None]
    for _ in range(int(rng.integers(4, 9))):
        x, width, top = rng.uniform(-0.1, 1), rng.uniform(0.08, 0.25), rng.uniform(0.05, 0.6)
        _rectangle(canvas, (x, top, x + width, 1), _colour(rng, (0.08, 0.3), 0.5))
    _discs(canvas, rng, 45, (0.012, 0.055), lambda r: _colour(r, (0.5, 1.0), 0.8))
    return canvas


def _panels(rng: np.random.Generator) -> Array:
    """Upright wooden boards with grain."""
    canvas, base, x = _flat(_colour(rng, (0.1, 0.2))), _colour(rng, (0.35, 0.65), 0.55), 0.0
    grain = _clouds(rng, 256).mean(axis=0, keepdims=True) * 4 + 0.5 * _clouds(rng, 12)
    while x < 1:
        width = rng.uniform(0.06, 0.14)
        _rectangle(canvas, (x + 0.004, 0, x + width, 1), np.asarray(base * rng.uniform(0.8, 1.2), np.float32))
        x += width
    return np.asarray(canvas * (1 + 0.09 * grain[..., None]), np.float32)


def _pictures(rng: np.random.Generator) -> Array:
    """A papered wall with framed pictures."""
    canvas, second = _flat(_colour(rng, (0.45, 0.8), 0.3)), _colour(rng, (0.4, 0.8), 0.4)
    stripe = rng.uniform(0.03, 0.08)
    for k in range(int(1 / stripe) + 1):
        _rectangle(canvas, (k * stripe, 0, (k + rng.uniform(0.35, 0.45)) * stripe, 1), second)
    for _ in range(int(rng.integers(3, 7))):
        x, y = rng.uniform(-0.1, 0.9, 2)
        width, height = rng.uniform(0.12, 0.35, 2)
        _rectangle(canvas, (x, y, x + width, y + height), _colour(rng, (0.05, 0.5), 0.5))
        _rectangle(canvas, (x + 0.02, y + 0.02, x + width - 0.02, y + height - 0.02), _colour(rng, (0.3, 0.95), 0.7))
        ground = (x + 0.03, y + 0.5 * height, x + width - 0.03, y + height - 0.03)
        _rectangle(canvas, ground, _colour(rng, (0.2, 0.7), 0.9))
    return canvas


def _curtain(rng: np.random.Generator) -> Array:
    """Folds of a patterned cloth."""
    fold = _clouds(rng, 22)[:1] + 0.35 * _clouds(rng, 9)
    shade = 0.75 + 0.22 * np.sin(3.0 * fold)
    canvas = np.asarray(_colour(rng, (0.35, 0.75), 0.7) * shade[..., None], np.float32)
    _discs(canvas, rng, 40, (0.008, 0.025), lambda r: _colour(r, (0.4, 0.9), 0.8))
    return canvas
