"""What people wear on a head: hair, beard, glasses and clothes as further triangles, chosen by style coefficients.

Every part has one topology for all of its styles, so two renders of a head correspond whoever is shown; a part that a
person lacks collapses to one point inside the skull. Style coefficients follow the identity ones in "shape" and are
about N(0, 1) over people; the normal distribution function turns them into quantiles. Between two sizes of a style
the vertices are blended; the style itself is a choice, through which no gradient flows.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

STYLE_NAMES = ("hair_style", "hair_size", "beard_style", "beard_size", "glasses_style", "glasses_size", "clothes_style")
_ANCHORS = 6


@dataclass(frozen=True)
class Part:
    """One part in all of its styles; N vertices, cm at rest on the mean head.

    Attributes:
        name: prefix of its two coefficients, of which "_size" may be absent.
        low, high: (S, N, 3) smallest and largest size of each style.
        shares: (S,) frequency of each style over people, in the order of the style's quantile.
        worn: (S,) False where a style leaves the part away.
        anchors, weights: (S, N, K) body vertices whose displacement a vertex shares.
        bones: (S, N, 3) torso, neck, head.
        follows_expression: whether it moves with the face (a beard) or with the skull (a hat).
        triangles: (F, 3); uv: (N, 2) on the head's atlas; region: what the triangles belong to.
    """

    name: str
    low: Array
    high: Array
    shares: Sequence[float]
    worn: Sequence[bool]
    anchors: Ints
    weights: Array
    bones: Array
    follows_expression: bool
    triangles: Ints
    uv: Array
    region: Region


def bind(points: Array, body: Array, usable: Ints) -> tuple[Ints, Array]:
    """The nearest of ``usable`` body vertices and smooth weights, (…, K) each, for points (…, 3)."""
    flat = points.reshape(-1, 3)
    distance, nearest = cKDTree(body[usable]).query(flat, k=_ANCHORS)
    weight = 1 / (distance + 0.3) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    shape = (*points.shape[:-1], _ANCHORS)
    return usable[nearest].reshape(shape), weight.reshape(shape)


class Wardrobe:
    """All parts of one head as tensors.

    Args:
        parts: in the order of their vertices, which follow the body's.
        hidden: (3,) cm, the point inside the skull to which parts that are not worn collapse.
    """

    def __init__(self, parts: Sequence[Part], hidden: Array) -> None:
        self.parts = tuple(parts)
        self.hidden = torch.from_numpy(hidden).float()
        self._low = [torch.from_numpy(p.low).float() for p in parts]
        self._high = [torch.from_numpy(p.high).float() for p in parts]
        self._anchors = [torch.from_numpy(p.anchors) for p in parts]
        self._weights = [torch.from_numpy(p.weights).float() for p in parts]
        self._bones = [torch.from_numpy(p.bones).float() for p in parts]
        self._worn = [torch.tensor(list(p.worn)) for p in parts]
        self._edges = [torch.tensor(list(p.shares)).cumsum(0)[:-1] / sum(p.shares) for p in parts]

    def choice(self, styles: Tensor) -> dict[str, Tensor]:
        """(B, len(STYLE_NAMES)) → number of each part's style, (B,) int64 by the part's name."""
        quantile = torch.special.ndtr(styles.detach())
        at = [STYLE_NAMES.index(f"{p.name}_style") for p in self.parts]
        return {
            p.name: torch.bucketize(quantile[:, k].contiguous(), edges)
            for p, k, edges in zip(self.parts, at, self._edges)
        }

    def dress(self, styles: Tensor, shaped: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices (B, N, 3) and bone weights (B, N, 3) of all parts at rest.

        Args:
            styles: (B, len(STYLE_NAMES)).
            shaped: (B, V, 3) displacement of the body by identity.
            moved: (B, V, 3) displacement by identity and expression.
        """
        chosen, points, bones = self.choice(styles), [], []
        for k, part in enumerate(self.parts):
            style = chosen[part.name]
            points.append(self._place(k, style, styles, moved if part.follows_expression else shaped))
            bones.append(self._bones[k][style])
        return torch.cat(points, dim=1), torch.cat(bones, dim=1)

    def _place(self, k: int, style: Tensor, styles: Tensor, displaced: Tensor) -> Tensor:
        name = f"{self.parts[k].name}_size"
        size = styles.new_full((len(styles),), 0.5)
        if name in STYLE_NAMES:
            size = torch.special.ndtr(styles[:, STYLE_NAMES.index(name)])
        rest = torch.lerp(self._low[k][style], self._high[k][style], size[:, None, None])
        anchors = self._anchors[k][style]  # (B, N, K)
        near = displaced.gather(1, anchors.flatten(1)[..., None].expand(-1, -1, 3)).unflatten(1, anchors.shape[1:])
        placed = rest + (near * self._weights[k][style][..., None]).sum(dim=2)
        return torch.where(self._worn[k][style][:, None, None], placed, self.hidden)

    def to(self, device: torch.device | str) -> Wardrobe:
        """A copy on ``device``."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list):
                setattr(other, name, [tensor.to(device) for tensor in value])
        other.hidden = self.hidden.to(device)
        return other


def grid_triangles(rows: int, columns: int, closed: bool = False) -> Ints:
    """(F, 3) of a grid whose vertices are numbered row by row; ``closed`` joins the last column to the first."""
    across = columns if closed else columns - 1
    i, j = (a.ravel() for a in np.meshgrid(np.arange(rows - 1), np.arange(across), indexing="ij"))
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)])
