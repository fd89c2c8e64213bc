"""TalkingHead-1KH (Wang et al., CVPR 2021).

    {train,val,small}/cropped_clips/<video>_<part>_S<s>_E<e>_L<l>_T<t>_R<r>_B<b>.mp4

All videos were published under CC BY 3.0 and the lists are under the MIT licence, so nothing has to be accepted; name
the authors. S and E are the first and last frame, L, T, R, B the box in the video from which the clip was cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reenact_zoo.datasets._files import FileClips, Found, media, stem, unique
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

SUBSETS = {"train": "train", "val": "val", "small": ""}  # small is the authors' trial download, a split of nothing
NAME = re.compile(
    r"(?P<video>.+?)(_(?P<part>[0-9]{4}))?"
    r"_S(?P<S>[0-9]+)_E(?P<E>[0-9]+)_L(?P<L>[0-9]+)_T(?P<T>[0-9]+)_R(?P<R>[0-9]+)_B(?P<B>[0-9]+)"
)


@dataclass
class Talkinghead1khConfig:
    """What to read.

    Attributes:
        root: the folder that holds train, val or small.
        subsets: which of them; those that are not there are left out.
        leaks: "refuse" a video in two splits, or "drop" what is not held out.
        cache_frames: decoded frames kept per open video.
    """

    root: str = ""
    subsets: list[str] = field(default_factory=lambda: ["train", "val"])
    leaks: str = "refuse"
    cache_frames: int = 8


class Talkinghead1kh(FileClips):
    """TalkingHead-1KH: the only label is the video a clip comes from; two people may share one, and one be in two."""

    dataset = "talkinghead1kh"
    Config = Talkinghead1khConfig

    def __init__(self, config: Talkinghead1khConfig | None = None) -> None:
        super().__init__(config or Talkinghead1khConfig())
        for name in self.config.subsets:
            if name not in SUBSETS:
                raise InputError(f"talkinghead1kh: unknown subset '{name}'; {nearest(name, SUBSETS)}")

    @classmethod
    def recognise(cls, root: Path) -> str:
        """By its folders and names."""
        there = [name for name in SUBSETS if any(NAME.fullmatch(stem(path)) for path in _clips(root, name))]
        return f"TalkingHead-1KH: {', '.join(there)}" if there else ""

    @classmethod
    def everything(cls, root: Path) -> list[Talkinghead1khConfig]:
        """Training and validation; the trial download, which is part of them, only where it is alone."""
        there = [name for name in SUBSETS if _clips(root, name)]
        return [Talkinghead1khConfig(str(root), [name for name in there if SUBSETS[name]] or there)]

    def _find(self) -> Iterator[Found]:
        paths = [(subset, path) for subset in self.config.subsets for path in _clips(self.root, subset)]
        if not paths:
            there = [subset for subset in SUBSETS if _clips(self.root, subset)]
            mend = f"set subsets to [{', '.join(there)}]" if there else "give the folder above train/cropped_clips"
            raise InputError(f"talkinghead1kh: no cropped_clips of {', '.join(self.config.subsets)}: {mend}")
        found = [each for subset, path in paths if (each := self._named(subset, path)) is not None]
        yield from sorted(unique(found, self.skipped), key=lambda each: each.name)

    def _named(self, subset: str, path: Path) -> Found | None:
        match = NAME.fullmatch(stem(path))
        if match is None:
            self.skipped[path] = f"'{path}' is not called as cropped clips are; rename it or take it out"
            return None
        first, last, left, top, right, bottom = (int(match[key]) for key in "SELTRB")
        return Found(
            name=stem(path),
            path=path,
            identity=match["video"],
            split=SUBSETS[subset],
            unknown=frozenset({"identity"}),
            stated_frames=last - first + 1,
            box_ratio=(right - left) / (bottom - top) if bottom > top else None,
        )


def _clips(root: Path, subset: str) -> list[Path]:
    return media(root / subset / "cropped_clips")
