"""A dataset of schematic painted faces, drawn when asked: no file, no renderer, known landmarks and mattes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.testing.batches import paint, place
from reenact_zoo.types import InputError


@dataclass
class PaintedConfig:
    """What is painted.

    Attributes:
        image_size: side of the frames in pixels.
        identities: persons in the split "train"; as many again, divided by two, are in "val".
        frames: frames of each person's one clip.
        seed: another seed, other persons.
        annotated: whether landmarks and mattes are handed out.
    """

    image_size: int = 32
    identities: int = 4
    frames: int = 6
    seed: int = 0
    annotated: bool = True


class PaintedClips(ClipDataset):
    """Painted faces; every frame has its own place, size, tilt and mouth opening, every person a colour and a room."""

    Config = PaintedConfig

    def __init__(self, config: PaintedConfig | None = None) -> None:
        self.config = config or PaintedConfig()
        held_out = (self.config.identities + 1) // 2
        splits = ["train"] * self.config.identities + ["val"] * held_out
        self._clips = [
            Clip(f"clip_{i:02d}", f"person_{i:02d}", split, self.config.frames, Fraction(25))
            for i, split in enumerate(splits)
        ]

    @property
    def clips(self) -> Sequence[Clip]:
        """Training persons first."""
        return self._clips

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(H, W, 3) RGB."""
        image = self._painted(ref)[0][0]
        return (255 * image).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    def annotations(self, ref: FrameRef) -> dict[str, NDArray[Any]]:
        """Landmarks (68, 2) and matte (1, H, W)."""
        if not self.config.annotated:
            return {}
        _, matte, points = self._painted(ref)
        return {"landmarks": points[0].numpy(), "matte": matte[0].numpy()}

    def _painted(self, ref: FrameRef) -> tuple[Tensor, Tensor, Tensor]:
        names = [clip.name for clip in self._clips]
        if ref.clip not in names or not 0 <= ref.index < self.config.frames:
            raise InputError(f"there is no frame {ref}")
        size = self.config.image_size
        number = names.index(ref.clip) + 1000 * self.config.seed
        person = torch.Generator().manual_seed(number)
        skin = 0.4 + 0.5 * torch.rand(1, 3, 1, 1, generator=person)
        coarse = torch.rand(1, 3, 4, 4, generator=person)
        room = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
        points = place(torch.Generator().manual_seed(7919 * number + ref.index + 1), 1)
        return *paint(points, skin, room), points
