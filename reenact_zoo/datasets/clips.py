"""Clips: any folder of videos, frame folders and still images, as it is."""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.video.images import FRAME_SUFFIXES, is_image
from reenact_zoo.video.read import RandomAccessVideo

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv", ".gif"}
)
NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d{3,})")
OPEN_VIDEOS = 8
IDENTITY_RULES = ("auto", "folder", "file")


@dataclass
class ClipsConfig:
    """What to read.

    Attributes:
        root: a folder that is searched with its sub-folders, or a single video.
        identity: who a clip shows. "folder": one person per first-level sub-folder; "file": one person per clip;
            "auto": the sub-folder where there is one, else the clip. Nobody looks at the faces.
        cache_frames: decoded frames kept per open video.
    """

    root: str = ""
    identity: str = "auto"
    cache_frames: int = 8


class Clips(ClipDataset):
    """A clip is a video file, a folder of frames numbered with three digits or more, or a still image of its own.

    Clips are named by their path below the root without suffix, in natural order; hidden files are left out, and so are
    files that cannot be read, with a warning.

    Attributes:
        skipped: path → why it was left out; complete once ``clips`` was asked for.
    """

    Config = ClipsConfig

    def __init__(self, config: ClipsConfig | None = None) -> None:
        self.config = config or ClipsConfig()
        if self.config.identity not in IDENTITY_RULES:
            wrong = self.config.identity
            raise InputError(f"clips: unknown identity rule '{wrong}'; {nearest(wrong, IDENTITY_RULES)}")
        if not self.config.root:
            raise InputError("clips: no folder given; set 'root' to the folder of the videos (--root FOLDER)")
        self.root = Path(self.config.root).expanduser()
        if not self.root.exists():
            raise InputError(f"clips: '{self.root}' does not exist; give an existing folder of videos or frames")
        self.skipped: dict[Path, str] = {}
        self._clips: list[Clip] | None = None
        self._paths: dict[str, Path] = {}
        self._open: OrderedDict[str, RandomAccessVideo] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    @property
    def clips(self) -> Sequence[Clip]:
        """All readable clips; the files are probed when first asked for.

        Raises:
            InputError: there is none.
        """
        if self._clips is None:
            found = _named(self.root, sorted(_find(self.root), key=_natural))
            self._clips = [clip for name, path in found.items() if (clip := self._probe(name, path)) is not None]
            if not self._clips:
                reason = next(iter(self.skipped.values()), "no video, frame folder or image in it")
                raise InputError(f"clips: '{self.root}' has no readable clip: {reason}")
        return self._clips

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, of the video's own size."""
        if self._clips is None:
            _ = self.clips
        if ref.clip not in self._paths:
            raise InputError(f"clips: no clip '{ref.clip}' in '{self.root}'; {nearest(ref.clip, self._paths)}")
        return self._video(ref.clip).frame(ref.index)

    def _video(self, name: str) -> RandomAccessVideo:
        if name not in self._open:
            self._open[name] = RandomAccessVideo(self._paths[name], self.config.cache_frames)
            while len(self._open) > OPEN_VIDEOS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(name)
        return self._open[name]

    def _probe(self, name: str, path: Path) -> Clip | None:
        try:
            video = RandomAccessVideo(path, self.config.cache_frames)
        except InputError as error:
            self.skipped[path] = str(error)
            warnings.warn(f"left out: {error}", stacklevel=3)
            return None
        self._paths[name] = path
        identity, known = self._identity(name, path)
        return Clip(
            name=name,
            identity=identity,
            split="",
            num_frames=len(video),
            frame_rate=video.info.frame_rate if video.info.kind == "video" else None,
            unknown=frozenset() if known else frozenset({"identity"}),
        )

    def _identity(self, name: str, path: Path) -> tuple[str, bool]:
        """Label, and whether somebody stated it (by sorting files into folders)."""
        below = path.relative_to(self.root).parts if path != self.root else ()
        if self.config.identity != "file" and len(below) > 1:
            return below[0], True
        if self.config.identity == "folder":
            raise InputError(
                f"clips: '{path}' lies in no sub-folder of '{self.root}' that names a person; use identity=auto or file"
            )
        return name, False


def _find(folder: Path) -> Iterator[Path]:
    """Paths of clips below a folder (or the single file given), in any order."""
    if folder.is_file():
        yield folder
        return
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    images = [entry for entry in entries if entry.is_file() and is_image(entry)]
    if _is_sequence(images):
        yield folder
    else:
        yield from images
    for entry in entries:
        if entry.is_dir():
            yield from _find(entry)
        elif entry.suffix.lower() in VIDEO_SUFFIXES:
            yield entry


def _is_sequence(images: Sequence[Path]) -> bool:
    """Whether images are the frames of one clip: at least two, all named <one prefix><at least three digits>."""
    matches = [NUMBERED.fullmatch(path.stem) for path in images]
    prefixes = {match["prefix"] if match else None for match in matches}
    return (
        len(images) > 1
        and len(prefixes) == 1
        and None not in prefixes
        and all(path.suffix.lower() in FRAME_SUFFIXES for path in images)
    )


def _named(root: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Names without suffix; with it where two clips would otherwise share one."""
    short = [_relative(root, path if path.is_dir() else path.with_suffix("")) for path in paths]
    return {(name if short.count(name) == 1 else _relative(root, path)): path for name, path in zip(short, paths)}


def _relative(root: Path, path: Path) -> str:
    return path.name if path == root or not path.is_relative_to(root) else path.relative_to(root).as_posix()


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key in which 10 follows 9; the plain text breaks ties, so that the order is the same everywhere."""
    pieces = re.split(r"(\d+)", path.as_posix())
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in pieces], path.as_posix()
