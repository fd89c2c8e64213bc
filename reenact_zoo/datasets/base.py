"""What every dataset answers: which clips there are, whose they are, and one frame at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class FrameRef(NamedTuple):
    """One frame of one clip; written as "clip@index" in pair files."""

    clip: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here

    def __str__(self) -> str:
        return f"{self.clip}@{self.index}"

    @classmethod
    def parse(cls, text: str) -> FrameRef:
        """Inverse of ``str``; the clip's name may itself contain "@"."""
        clip, _, index = text.rpartition("@")
        if not clip or not index.isdigit():
            raise ValueError(f"'{text}' is not of the form clip@frame")
        return cls(clip, int(index))


@dataclass(frozen=True)
class Clip:
    """A contiguous video of one identity.

    Attributes:
        name: unique in the dataset, stable across machines.
        identity: who it shows; clips with equal identity show one person.
        split: "train", "val", "test", or "" where the dataset has none.
        num_frames: frames that can be asked for, 0 … num_frames - 1.
        frame_rate: frames per second, exact; None for still images.
        unknown: what this dataset cannot know about the clip, in words: "identity" (the label is a guess, or others may
            show the same person), "frame rate" (an average or none at all), "split".
        people: of a manipulated clip (target, source): whose video it was, and whose face or motion was put into it; ()
            where only ``identity`` is involved.
    """

    name: str
    identity: str
    split: str
    num_frames: int
    frame_rate: Fraction | None = None
    unknown: frozenset[str] = field(default_factory=frozenset)
    people: tuple[str, ...] = ()


class ClipDataset(ABC):
    """Random access to frames of clips; holds no image beyond a small decoder cache and can be pickled into workers."""

    Config: type[Any]
    """Dataclass next to the code: the dataset's OmegaConf schema; ``Dataset(config)`` is the constructor."""

    @property
    @abstractmethod
    def clips(self) -> Sequence[Clip]:
        """All clips in a fixed order that depends on the data alone."""

    @abstractmethod
    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(H, W, 3) RGB.

        Raises:
            InputError: unknown clip, index out of range, or an unreadable file.
        """

    def clip(self, name: str) -> Clip:
        """The clip called ``name``; KeyError with the name otherwise."""
        by_name = self.__dict__.get("_clip_by_name")
        if by_name is None:
            by_name = self.__dict__["_clip_by_name"] = {clip.name: clip for clip in self.clips}
        return by_name[name]

    def annotations(self, ref: FrameRef) -> Mapping[str, NDArray[Any]]:
        """Truth about a frame, under PairBatch names without prefix ("landmarks", "matte" …); {} where unknown."""
        return {}

    def cross_target(
        self, source: FrameRef, driving: FrameRef, driving_reference: FrameRef | None = None
    ) -> dict[str, NDArray[Any]]:
        """Truth of a pair, keyed as in PairBatch ("target" as (H, W, 3) uint8 …); {} where nobody knows it.

        With ``driving_reference`` the motion is relative to that frame.
        """
        return {}
