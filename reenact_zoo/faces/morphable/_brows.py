"""Brows of hair strokes, whose thickness, arch, height, tilt, length and density belong to a person."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.morphable._atlas import value_noise
from reenact_zoo.faces.morphable._masks import smooth_line, step, to_polyline
from reenact_zoo.faces.morphable._palette import rise

Array = NDArray[np.float64]
SIDES = {"left": (22, 23, 24, 25, 26), "right": (21, 20, 19, 18, 17)}  # from the nose outwards
_REACH = 1.6  # units above and below the brow's middle line that can carry hair
_LEAN = 1.1  # how far hairs lean outwards per length: inner ones stand, outer ones lie


def brow_fields(p: Array, landmarks: Array, unit: float, skin: Array) -> dict[str, Array]:
    """Coordinates of the brows, each (T, T): along from the nose outwards in [0, 1], across upwards in units; strokes.

    ``brow_near`` is 1 around the brows and 0 elsewhere.
    """
    near, along, across = np.zeros(p.shape[:-1]), np.zeros(p.shape[:-1]), np.full(p.shape[:-1], 9.0)
    for side, indices in SIDES.items():
        line = smooth_line(landmarks[list(indices)][:, :2])
        line[:, 1] -= 0.10 * unit  # the landmarks run along the upper edge
        # the ends are drawn out, so that hairs beyond them have a place of their own
        drawn_out = np.concatenate([2 * line[:1] - line[2:3], line, 2 * line[-1:] - line[-3:-2]])
        own = (p[..., 0] > 0) == (side == "left")
        own &= np.abs(p[..., 1] - line[:, 1].mean()) < 3.5 * unit
        distance, place = np.full(own.shape, 9.0 * unit), np.zeros(own.shape)
        distance[own], place[own] = to_polyline(p[own][:, :2], drawn_out)
        height = np.interp(p[..., 0], *_ascending(drawn_out))
        front = step(p[..., 2], landmarks[list(indices)][:, 2].min() - 1.8 * unit, landmarks[36, 2] - 0.6 * unit)
        reach = own * front * step(distance / unit, _REACH, 0.8 * _REACH)
        near = np.maximum(near, reach)
        extent = (len(drawn_out) - 1) / (len(line) - 1)
        where = place * extent - 0.5 * (extent - 1)
        along = np.where(own, where, along)
        across = np.where(own, np.copysign(distance, p[..., 1] - height) / unit, across)
    return {
        "brow_near": near * skin,
        "brow_along": along,
        "brow_across": across,
        "brow_strokes": _strokes(along, across, p[..., 0] > 0),
    }


def _ascending(line: Array) -> tuple[Array, Array]:
    order = np.argsort(line[:, 0])
    return line[order, 0], line[order, 1]


def _strokes(along: Array, across: Array, left: NDArray[np.bool_]) -> Array:
    """Noise (T, T) in [0, 1], drawn out along the hairs: they rise at the nose and lie down towards the temple."""
    lean = _LEAN * (0.3 + 1.2 * np.clip(along, 0, 1))
    sheared = 5.5 * along - lean * across  # brows are about 5.5 units long
    depth = np.where(left, 0.0, 40.0)  # another lattice for the other brow
    fine = value_noise(np.stack([sheared, 0.22 * across, depth], axis=-1), 0.17, 11)
    broad = value_noise(np.stack([sheared, 0.5 * across, depth], axis=-1), 0.42, 12)
    return np.clip(0.5 + 0.55 * fine + 0.30 * broad, 0, 1)


def brow_cover(masks: dict[str, Tensor], t: dict[str, Tensor]) -> Tensor:
    """Share (B, 1, T, T) of the skin that hair covers."""
    along, across = masks["brow_along"], masks["brow_across"]
    q = {name: t[f"brow_{name}"][..., None, None] for name in ("thickness", "arch", "height", "tilt", "length")}
    density = t["brow_density"][..., None, None]
    middle = (
        0.16 * (q["height"] - 0.5)
        + 0.55 * (q["arch"] - 0.5) * torch.exp(-(((along - 0.66) / 0.22) ** 2))
        + 0.45 * (q["tilt"] - 0.5) * (along - 0.35)
        - 0.10 * (q["arch"] - 0.5)
    )
    half = (0.25 + 0.30 * q["thickness"] ** 1.3) * (1 - 0.62 * along.clamp(0, 1.2) ** 1.8)
    frayed = half * (0.80 + 0.45 * masks["brow_strokes"])
    end = 0.86 + 0.20 * q["length"]
    body = ((frayed - (across - middle).abs()) / (0.45 * half) + 0.35).clamp(0, 1)
    ends = rise(along, -0.06, 0.12) * rise(-along, -1.06, -0.80) * ((end - along) / 0.12).clamp(0, 1)
    hairs = ((masks["brow_strokes"] - 0.62 + 0.62 * density) / 0.45).clamp(0, 1)
    return masks["brow_near"] * body * ends * (0.44 + 0.20 * density + 0.36 * hairs) * (0.62 + 0.38 * density)
