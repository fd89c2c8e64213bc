"""What a face instrument is, and how one is found without importing those that nobody asks for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from reenact_zoo.weights.store import WeightStore


class AlignedInstrument(Protocol):
    """A network that reads a face through its 68 landmarks; differentiable in the images.

    The instrument owns its alignment (crop, size, colour order, range): measurements and losses share it. Images come
    as they are; whoever wants small faces enlarged does so before. The constructor raises ``WeightsMissing`` where a
    file is not at hand, and never downloads.

    Attributes:
        name: of the stored row, equal to its line in the table.
        weights: manifest entries it needs.
        size: numbers per face.
    """

    name: str
    weights: tuple[str, ...]
    size: int

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px of these images → (B, size) float32."""


class MapInstrument(Protocol):
    """As ``AlignedInstrument``, for a picture of C channels in [0, 1] instead of numbers."""

    name: str
    weights: tuple[str, ...]
    channels: int

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px of these images → (B, C, H, W)."""


@dataclass(frozen=True)
class Instrument:
    """One line of the table.

    Attributes:
        path: "module:Class" inside ``reenact_zoo.faces``; imported at first use.
        size: numbers per face; channels where ``is_map``.
        weights: manifest entries; asked for without importing anything.
        options: further keyword arguments of the constructor.
        is_map: the result is a picture (``MapInstrument``).
    """

    path: str
    size: int
    weights: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    is_map: bool = False

    def load(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> AlignedInstrument:
        """The instrument with its weights.

        Raises:
            WeightsMissing: a file is not at hand.
        """
        module, _, name = self.path.partition(":")
        made = getattr(importlib.import_module(f"reenact_zoo.faces.{module}"), name)
        return cast(AlignedInstrument, made(store=store, device=device, **self.options))


@dataclass(frozen=True)
class Quantity:
    """How a public quantity is read from what is stored per image.

    Attributes:
        shape: of one image's value; a picture keeps the size of its image: (C, 0, 0).
        row: name of the stored row (``INSTRUMENTS``, "detection" or "landmarks").
        meaning: for documentation: unit, order, range.
        start: first number of the row that belongs to it.
    """

    shape: tuple[int, ...]
    row: str
    meaning: str
    start: int = 0
