"""Clips that cost nothing: 16x16 patterns that tell clip and frame, one that breaks off, and one with another fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.types import InputError

BROKEN, BUGGY = 3, 4


@dataclass
class SmallConfig:
    count: int = 7
    frames: int = 4
    faults: bool = True


class SmallClips(ClipDataset):
    """Clip i is as many frames longer as its number."""

    Config = SmallConfig

    def __init__(self, config: SmallConfig | None = None) -> None:
        self.config = config or SmallConfig()

    @property
    def clips(self) -> Sequence[Clip]:
        return [
            Clip(
                f"part/clip #{i}",
                f"person {i // 2}",
                "train" if i < 4 else "test",
                self.config.frames + i,
                Fraction(25),
                frozenset({"identity"}) if i else frozenset(),
                (f"person {i // 2}", "another") if i == 5 else (),
            )
            for i in range(self.config.count)
        ]

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        number = int(ref.clip.rpartition("#")[2])
        if self.config.faults and ref.index == 2 and number == BROKEN:
            raise InputError(f"'{ref.clip}.mp4' is damaged after 2 frames; re-encode it")
        if self.config.faults and number == BUGGY:
            raise ZeroDivisionError("a fault nobody thought of")
        row, column = np.mgrid[:16, :16]
        return np.stack([16 * row, 16 * column, np.full_like(row, 10 * number + ref.index)], -1).astype(np.uint8)
