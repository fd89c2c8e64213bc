"""Clips: any folder of videos, frame folders and still images, as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reenact_zoo.datasets._files import VIDEO_SUFFIXES, FileClips, Found, entries
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.video.images import FRAME_SUFFIXES, is_image

NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d{3,})")
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


class Clips(FileClips):
    """A clip is a video file, a folder of frames numbered with three digits or more, or a still image of its own.

    Clips are named by their path below the root without suffix, in natural order; hidden files are left out, and so are
    files that cannot be read, with a warning.
    """

    dataset = "clips"
    Config = ClipsConfig

    def __init__(self, config: ClipsConfig | None = None) -> None:
        super().__init__(config or ClipsConfig())
        if self.config.identity not in IDENTITY_RULES:
            wrong = self.config.identity
            raise InputError(f"clips: unknown identity rule '{wrong}'; {nearest(wrong, IDENTITY_RULES)}")

    @classmethod
    def recognise(cls, root: Path) -> str:
        """Any folder in which a clip is found; the doctor asks the other datasets first."""
        return "a folder of videos, frames or pictures" if next(_find(root), None) else ""

    def _find(self) -> Iterator[Found]:
        for name, path in _named(self.root, sorted(_find(self.root), key=_natural)).items():
            identity, known = self._identity(name, path)
            yield Found(name, path, identity, unknown=frozenset() if known else frozenset({"identity"}))

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


def _find(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Paths of clips below a folder (or the single file given), in any order; links that lead back up end there."""
    if folder.is_file():
        yield folder
        return
    place = folder.resolve()
    if place in above:
        return
    inside = entries(folder)
    images = [entry for entry in inside if is_image(entry) and entry.is_file()]
    if _is_sequence(images):
        yield folder
    else:
        yield from images
    for entry in inside:
        if entry.is_dir():
            yield from _find(entry, (*above, place))
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
