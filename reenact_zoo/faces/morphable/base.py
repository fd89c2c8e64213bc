"""One interface for parametric head models: coefficients in a declared layout → vertices, landmarks, texture.

Model space is right-handed, in centimetres: x to the right of the image, y up, z towards the camera; the head looks
along +z at rest. The order of the coefficients is always shape, texture, expression, pose, camera, light, so that
mixing the source's and the driving's coefficients is the same code for every model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor


class Region(IntEnum):
    """What a triangle belongs to, independent of any parsing network's class list."""

    SKIN = 0
    LIPS_UPPER = 1
    LIPS_LOWER = 2
    BROW_LEFT = 3  # left is the person's own left throughout (image right in a frontal view)
    BROW_RIGHT = 4
    EYE_LEFT = 5
    EYE_RIGHT = 6
    MOUTH_INTERIOR = 7  # gums, tongue, cavity
    TEETH = 8
    NOSE = 9
    EAR_LEFT = 10
    EAR_RIGHT = 11
    HAIR = 12
    NECK = 13
    CLOTHES = 14
    GLASSES = 15


@dataclass(frozen=True)
class CoefficientLayout:
    """Number of coefficients of each kind, in the order of the fields."""

    shape: int
    texture: int
    expression: int
    pose: int
    camera: int
    light: int

    @property
    def total(self) -> int:
        """Length K of a coefficient vector (FLAME: 236)."""
        return sum(size for _, size in self._sizes())

    def _sizes(self) -> Iterator[tuple[str, int]]:
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    def split(self, coefficients: Tensor) -> dict[str, Tensor]:
        """(…, K) → views by kind: {"shape": (…, shape), …}."""
        if coefficients.shape[-1] != self.total:
            raise ValueError(f"expected {self.total} coefficients, got {coefficients.shape[-1]}")
        names, sizes = zip(*self._sizes())
        return dict(zip(names, coefficients.split(list(sizes), dim=-1)))

    def join(self, **parts: Tensor) -> Tensor:
        """Inverse of ``split``: every kind by keyword → (…, K)."""
        return torch.cat([parts[name] for name, _ in self._sizes()], dim=-1)

    def mix(self, source: Tensor, driving: Tensor) -> Tensor:
        """C_r = {shape, texture, light of the source; expression, pose, camera of the driving} (DCG-GAN)."""
        s, d = self.split(source), self.split(driving)
        return self.join(**{name: (d if name in ("expression", "pose", "camera") else s)[name] for name in s})


class HeadModel(ABC):
    """Geometry and albedo of a head; topology is fixed, so all renders of a model correspond.

    Attributes (set by the constructor; tensors are float32/int64 and move with ``to``):
        layout: the coefficient layout.
        triangles: (F, 3) int64 vertex indices, counter-clockwise seen from outside.
        uv: (U, 2) in [0, 1], v down, one atlas for all regions.
        uv_triangles: (F, 3) int64 into ``uv``.
        regions: (F,) int64 values of ``Region``.
    """

    name: str
    layout: CoefficientLayout
    triangles: Tensor
    uv: Tensor
    uv_triangles: Tensor
    regions: Tensor

    @abstractmethod
    def vertices(self, shape: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """(B, shape), (B, expression), (B, pose) → (B, V, 3) cm, posed by linear blend skinning; differentiable."""

    @abstractmethod
    def landmarks(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """The 68 iBUG points of posed vertices (B, V, 3) → (B, 68, 3) cm; 0-16 slide along the visible contour."""

    @abstractmethod
    def albedo(self, texture: Tensor, size: int = 256) -> Tensor:
        """(B, texture) → (B, 3, size, size) linear-free RGB albedo in [0, 1] over the uv atlas."""

    def relief(self, texture: Tensor, size: int = 256) -> Tensor:
        """(B, texture) → (B, 1, size, size) height in cm of pores and wrinkles over the surface; flat by default."""
        return texture.new_zeros(len(texture), 1, size, size)

    def surface(self, texture: Tensor, size: int = 256) -> Tensor:
        """(B, texture) → (B, 4, size, size): albedo and relief, what the renderer draws."""
        return torch.cat((self.albedo(texture, size), self.relief(texture, size)), dim=1)

    @abstractmethod
    def head_rotation(self, pose: Tensor) -> Tensor:
        """(B, pose) → (B, 3, 3) rotation of the skull in model space, neck and head composed."""

    @abstractmethod
    def sample(self, generator: torch.Generator, count: int) -> Tensor:
        """``count`` random people at rest under a plausible light → (count, K); shape and texture make the identity."""

    @abstractmethod
    def to(self, device: torch.device | str) -> HeadModel:
        """The same model with its arrays on ``device``."""
