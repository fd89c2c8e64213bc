"""What all readers of files share: who may be used, which splits leak, what can be read, and frames by number."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.consent import Removals, require_terms
from reenact_zoo.datasets._probes import Probe, probe_all
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.video.images import FRAME_SUFFIXES, is_image
from reenact_zoo.video.read import RandomAccessVideo

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv", ".gif"}
)
OPEN_VIDEOS = 8
HELD_OUT = {"train": 0, "val": 1, "test": 2}
_NAMED = 20  # names in one message


@dataclass(frozen=True)
class Found:
    """A clip as its place and name tell, before anything is opened.

    Attributes:
        name, identity, split, unknown, people: as in ``Clip``.
        path: video file, frame folder or still image.
        aliases: other names under which the identity may stand on a removal list.
        frame_rate: that the dataset states for files which state none.
        stated_frames: how many frames the name promises; None where it does not.
        box_ratio: width / height of the box the clip was cut from, where a list tells; a square clip of another box
            was squashed.
    """

    name: str
    path: Path
    identity: str
    split: str = ""
    unknown: frozenset[str] = field(default_factory=frozenset)
    people: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    frame_rate: Fraction | None = None
    stated_frames: int | None = None
    box_ratio: float | None = None

    @property
    def everybody(self) -> tuple[str, ...]:
        """Identity and people under all their names, each once."""
        return tuple(dict.fromkeys((self.identity, *self.people, *self.aliases)))


@dataclass(frozen=True)
class Gap:
    """Something that should be complete: ``have`` of ``expected``, and the names of what is not there."""

    what: str
    have: int
    expected: int
    names: tuple[str, ...] = ()


class FileClips(ClipDataset):
    """A dataset in files below ``config.root``.

    Subclasses say what lies where (``_find``) and how their root looks (``recognise``). Before a clip is handed out the
    terms must be accepted, removal lists are applied, and no identity may be in two splits.

    Attributes:
        skipped: path → why it was left out; complete once ``clips`` was asked for.
        removals: people and clips that are never handed out.
    """

    dataset: ClassVar[str]

    def __init__(self, config: Any) -> None:
        self.config = config
        if not config.root:
            raise InputError(f"{self.dataset}: no folder given; set 'root' to the folder of the videos (--root FOLDER)")
        self.root = Path(config.root).expanduser()
        if not exists(self.root):
            raise InputError(f"{self.dataset}: '{self.root}' does not exist; give an existing folder")
        self.skipped: dict[Path, str] = {}
        self._removals: Removals | None = None
        self._found: list[Found] | None = None
        self._admitted: dict[str, Found] | None = None
        self._clips: list[Clip] | None = None
        self._open: OrderedDict[str, RandomAccessVideo] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    @abstractmethod
    def _find(self) -> Iterable[Found]:
        """Every clip below the root, each name once, in a fixed order; files are not opened."""

    @classmethod
    def recognise(cls, root: Path) -> str:
        """In which layout of this dataset ``root`` is, in words; "" where it is none."""
        return ""

    @classmethod
    def everything(cls, root: Path) -> list[Any]:
        """Configs that together read all there is below ``root``."""
        return [cls.Config(root=str(root))]

    def gaps(self) -> list[Gap]:
        """What official lists name and the tree has or lacks."""
        return []

    def mistakes(self) -> list[str]:
        """What contradicts itself in the dataset's own lists."""
        return []

    def remarks(self) -> list[str]:
        """What a user of these clips should know, though nothing can be mended."""
        return []

    @property
    def removals(self) -> Removals:
        """The lists of the root and of the environment."""
        if self._removals is None:
            folder = self.root if self.root.is_dir() else self.root.parent
            self._removals = Removals.load(folder, self.dataset)
        return self._removals

    def found(self) -> Sequence[Found]:
        """What is there by name, without the removed, before any other check; nothing is opened."""
        if self._found is None:
            self._found = [each for each in self._find() if not self.removals.removes(each.name, *each.everybody)]
        return self._found

    @property
    def clips(self) -> Sequence[Clip]:
        """All readable clips; the files are probed when first asked for.

        Raises:
            InputError: there is none, the terms were not accepted, or an identity is in two splits.
        """
        if self._clips is None:
            found = list(self._allowed().values())
            probes = probe_all([each.path for each in found])
            pairs = [(each, probe) for each, probe in zip(found, probes)]
            self._clips = [_clip(each, probe) for each, probe in pairs if isinstance(probe, Probe)]
            for each, error in pairs:
                if isinstance(error, InputError):
                    self.skipped[each.path] = str(error)
                    warnings.warn(f"left out: {error}", stacklevel=2)
            if not self._clips:
                reason = next(iter(self.skipped.values()), self._nothing())
                raise InputError(f"{self.dataset}: '{self.root}' has no readable clip: {reason}")
        return self._clips

    def path(self, clip: str) -> Path:
        """Video file, frame folder or still image of a clip.

        Raises:
            InputError: no such clip.
        """
        allowed = self._allowed()
        if clip not in allowed:
            raise InputError(f"{self.dataset}: no clip '{clip}' in '{self.root}'; {nearest(clip, allowed)}")
        return allowed[clip].path

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(H, W, 3) RGB, of the video's own size."""
        if ref.clip not in self._open:
            self._open[ref.clip] = RandomAccessVideo(self.path(ref.clip), self.config.cache_frames)
            while len(self._open) > OPEN_VIDEOS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(ref.clip)
        return self._open[ref.clip].frame(ref.index)

    def _allowed(self) -> dict[str, Found]:
        if self._admitted is None:
            require_terms(self.dataset, self.root)
            found = self.found()
            if leaking := leaks(found):
                found = self._without(leaking, found)
            self._admitted = {each.name: each for each in found}
        return self._admitted

    def _without(self, leaking: Mapping[str, Sequence[str]], found: Sequence[Found]) -> list[Found]:
        if getattr(self.config, "leaks", "refuse") == "drop":
            kept = {who: max(splits, key=HELD_OUT.__getitem__) for who, splits in leaking.items()}
            return [each for each in found if all(kept.get(who, each.split) == each.split for who in each.everybody)]
        shown = listed(f"{who} ({', '.join(splits)})" for who, splits in leaking.items())
        raise InputError(
            f"{self.dataset}: {len(leaking)} identities are in more than one split: {shown}; set leaks=drop to keep "
            "each in its most held-out split only, or choose another split"
        )

    def _nothing(self) -> str:
        return "no video, frame folder or image in it"


def _clip(found: Found, probe: Probe) -> Clip:
    unknown = found.unknown if probe.even else found.unknown | {"frame rate"}
    rate = probe.frame_rate or found.frame_rate
    return Clip(found.name, found.identity, found.split, probe.num_frames, rate, unknown, found.people)


def leaks(found: Iterable[Found]) -> dict[str, tuple[str, ...]]:
    """Identity → its splits, for those that are in more than one, sorted."""
    seen: dict[str, set[str]] = {}
    for each in found:
        if each.split:
            for who in each.everybody:
                seen.setdefault(who, set()).add(each.split)
    return {who: tuple(sorted(splits)) for who, splits in sorted(seen.items()) if len(splits) > 1}


def listed(names: Iterable[str], limit: int = _NAMED) -> str:
    """The names in one line; of many only the first."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def exists(path: Path) -> bool:
    """Whether a path exists.

    Raises:
        InputError: that cannot be seen for lack of permission, or the name is too long for a file.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"'{path}' cannot be reached ({error.strerror}); change its permissions") from error
    return True


def entries(folder: Path) -> list[Path]:
    """Visible files and folders, sorted by name; [] where ``folder`` does not exist.

    Raises:
        InputError: it may not be read.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208  # iterdir, with paths for 100,000 hidden files
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"'{folder}' may not be read ({error.strerror}); change its permissions") from error
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def media(folder: Path) -> list[Path]:
    """Videos and folders (of frames, one hopes) directly in ``folder``; a folder may itself be named like a video."""
    return [path for path in entries(folder) if path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir()]


def has_frames(folder: Path) -> bool:
    """Whether a folder holds at least one frame."""
    return any(path.suffix.lower() in FRAME_SUFFIXES for path in entries(folder))


def stem(path: Path) -> str:
    """Name without the suffix of a video, also of a folder that carries one; other dots belong to the name."""
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES or is_image(path) else path.name


def unique(found: Iterable[Found], skipped: dict[Path, str]) -> list[Found]:
    """The first clip of each name; the others go into ``skipped``."""
    kept: dict[str, Found] = {}
    for each in found:
        if each.name in kept:
            skipped[each.path] = f"'{each.path}' has the name of '{kept[each.name].path}'; only one can be used"
        else:
            kept[each.name] = each
    return list(kept.values())
