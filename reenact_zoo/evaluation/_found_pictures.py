"""Which frame of which file is the picture of a pair: by names, by a list, or as FaceForensics++ calls them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets._files import VIDEO_SUFFIXES
from reenact_zoo.datasets.ffpp import COMPRESSIONS, REENACTED, SWAPPED
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.video.images import frame_paths, is_image

LAYOUTS = ("auto", "names", "csv", "ffpp_reenacted", "ffpp_swapped")
LIST_NAME = "predictions.csv"
COLUMNS = ("pair_id", "file")
_OFFICIAL = re.compile(r"[0-9]{3}")


@dataclass(frozen=True)
class Place:
    """Where a picture lies.

    Attributes:
        path: still image or video; a frame of a folder is an image of its own.
        frame: number within a video, 0 of an image.
        framed_as: clip of the dataset whose whole frames it looks like, and whose crop it therefore takes; "": the
            picture is cropped as it is to be scored.
    """

    path: Path
    frame: int = 0
    framed_as: str = ""


@dataclass
class Finds:
    """What was found.

    Attributes:
        layout: the one that was used, never "auto".
        places: pair_id → picture.
        reasons: pair_id → why there is none.
        unused: files or lines of the list that belong to no pair.
    """

    layout: str
    places: dict[str, Place] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unused: int = 0


class NoPicture(Exception):
    """Why a pair has none."""


def find_pictures(place: Path, layout: str, pairs: Sequence[Pair], protocol: Protocol) -> Finds:
    """The picture of every pair, or why it has none.

    Args:
        place: folder, or a list (CSV) for the layout "csv".
        layout: one of ``LAYOUTS``.
        pairs: to be scored.
        protocol: that they are of.

    Raises:
        InputError: no such place, a list that cannot be read, names that fit several files, or no picture at all.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout of pictures '{layout}'; {nearest(layout, LAYOUTS)}")
    if not place.exists():
        raise InputError(f"no folder or list of pictures '{place}'; check the path")
    _frames.cache_clear()
    _fates.cache_clear()
    layout = _recognised(place, protocol) if layout == "auto" else layout
    if layout != "csv" and not place.is_dir():
        raise InputError(f"'{place}' is no folder; give a folder of pictures, or a list (CSV) of them")
    finds = Finds(layout)
    look, unused = _LOOKS[layout](place, pairs, protocol)
    for pair in pairs:
        try:
            finds.places[pair.pair_id] = look(pair)
        except NoPicture as reason:
            finds.reasons[pair.pair_id] = str(reason)
    if pairs and not finds.places:
        raise InputError(_nothing(place, layout, pairs, protocol))
    finds.unused = unused()
    return finds


def file_name(text: str) -> str:
    """A pair_id as a file can be called: letters, digits and "_.@-" stay, everything else becomes "_"."""
    return re.sub(r"[^\w.@-]", "_", text)


def clip_id(pair: Pair) -> str:
    """Of all pairs that have one source frame and one driving clip: a pair_id that a rule drew, without its end."""
    return f"{pair.source}<{pair.driving.clip}"


def _recognised(place: Path, protocol: Protocol) -> str:
    if place.is_file() or (place / LIST_NAME).is_file():
        return "csv"
    if protocol.dataset.name == "ffpp":
        parts = set(place.resolve().parts)
        if parts.intersection(REENACTED):
            return "ffpp_reenacted"
        if parts.intersection(SWAPPED):
            return "ffpp_swapped"
    return "names"


def _nothing(place: Path, layout: str, pairs: Sequence[Pair], protocol: Protocol) -> str:
    one = pairs[0]
    wanted = {
        "names": f"'{file_name(one.pair_id)}.png', or a clip '{file_name(clip_id(one))}.mp4' or folder of frames",
        "csv": f"a line '{one.pair_id},FILE'",
    }.get(layout, "'<target>_<source>.mp4' with the numbers of two sequences that a pair has")
    return f"'{place}' has no picture of any of the {len(pairs)} pairs of protocol '{protocol.name}': expected {wanted}"


Look = Callable[[Pair], Place]
Found = tuple[Look, Callable[[], int]]


class _Folder:
    """Images, videos and folders below a folder, by their path without suffix."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._at: dict[str, list[Path]] = {}
        self._taken: set[Path] = set()
        for path in sorted(place.rglob("*")):
            if path.name.startswith("."):
                continue
            inside = path.relative_to(place)
            if path.is_dir():
                self._at.setdefault(inside.as_posix(), []).append(path)
            elif is_image(path) or path.suffix.lower() in VIDEO_SUFFIXES:
                self._at.setdefault(inside.with_suffix("").as_posix(), []).append(path)

    def get(self, name: str) -> Path | None:
        """The one called so.

        Raises:
            InputError: there are several.
        """
        found = [path for path in self._at.get(name, ()) if not path.is_dir() or _frames(path)]
        if len(found) > 1:
            raise InputError(f"'{found[0]}' and '{found[1].name}' are called alike: keep one, or give a list (CSV)")
        self._taken.update(found)
        return found[0] if found else None

    def unused(self) -> int:
        """Files that nobody asked for; those inside a folder of frames count with it."""
        files = (path for paths in self._at.values() for path in paths if not path.is_dir())
        return sum(path not in self._taken and path.parent not in self._taken for path in files)


@cache
def _frames(folder: Path) -> tuple[Path, ...]:
    """Pictures of a folder in natural order; () without any."""
    try:
        return tuple(frame_paths(folder))
    except InputError:
        return ()


def _by_names(place: Path, pairs: Sequence[Pair], protocol: Protocol) -> Found:
    folder = _Folder(place)
    _refuse_alike({pair.pair_id for pair in pairs})
    _refuse_alike({clip_id(pair) for pair in pairs})

    def look(pair: Pair) -> Place:
        for name in dict.fromkeys((pair.pair_id, file_name(pair.pair_id))):
            if path := folder.get(name):
                return frame_of(path, pair, None)
        clip = clip_id(pair)
        for name in dict.fromkeys((clip, file_name(clip))):
            if path := folder.get(name):
                return frame_of(path, pair, pair.driving.index)
        raise NoPicture(f"no picture for pair in '{place.name}'")

    return look, folder.unused


def _refuse_alike(names: set[str]) -> None:
    seen: dict[str, str] = {}
    for name in sorted(names):
        other = seen.setdefault(file_name(name), name)
        if other != name:
            raise InputError(f"'{other}' and '{name}' would both be called '{file_name(name)}': give a list (CSV)")


def frame_of(path: Path, pair: Pair, number: int | None) -> Place:
    """A frame of an image, a video or a folder of frames.

    Args:
        path: of the file or folder.
        pair: whose picture it is.
        number: of the driving frame in the clip; None where the file is for this pair alone.

    Raises:
        NoPicture: there is no such frame, or ``reenact-zoo animate`` notes that it could not make it.
    """
    if path.is_dir():
        frames = _frames(path)
        if number is None and len(frames) != 1:
            raise NoPicture(f"no picture for pair: the folder of its name has {len(frames)} frames instead of one")
        made = _as_animated(path, number or 0)
        if made >= len(frames):
            raise NoPicture("no picture for pair: its clip has too few frames")
        return Place(frames[made])
    if is_image(path):
        _as_animated(path, 0)
        return Place(path)
    return Place(path, _as_animated(path, number or 0))


def _as_animated(path: Path, number: int) -> int:
    """Number of the written frame that shows a driving frame, by the notes beside what ``animate`` wrote.

    Raises:
        NoPicture: another picture stands in for it, or it was skipped.
    """
    fates = _fates(path.with_name(f"{path.name}.json"))
    if not fates:
        return number
    if number >= len(fates):
        raise NoPicture("no picture for pair: its clip has too few frames")
    if fates[number] != "ok":
        raise NoPicture(f"no picture for pair: animate found no face in the driving frame ({fates[number]})")
    return number - fates[:number].count("skipped")


@cache
def _fates(notes: Path) -> tuple[str, ...]:
    """Status of every driving frame; () where no such notes are."""
    try:
        frames = json.loads(notes.read_text(encoding="utf-8"))["frames"]
        return tuple(str(frame["status"]) for frame in frames)
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _by_list(place: Path, pairs: Sequence[Pair], protocol: Protocol) -> Found:
    path = place / LIST_NAME if place.is_dir() else place
    lines = _lines(path)

    def look(pair: Pair) -> Place:
        if pair.pair_id not in lines:
            raise NoPicture(f"no picture for pair in '{path.name}'")
        file, number = lines[pair.pair_id]
        if not file.exists():
            raise NoPicture("no picture for pair: the file that the list names does not exist")
        if number is None:
            one = is_image(file) or (file.is_dir() and len(_frames(file)) == 1)
            return frame_of(file, pair, None if one else pair.driving.index)
        return _numbered(file, number)

    ids = {pair.pair_id for pair in pairs}
    return look, lambda: len(lines.keys() - ids)


def _numbered(file: Path, number: int) -> Place:
    """The frame that a list names: its number in the file, whatever drove it."""
    if file.is_dir():
        frames = _frames(file)
        if number >= len(frames):
            raise NoPicture("no picture for pair: its clip has too few frames")
        return Place(frames[number])
    return Place(file, number)


def _lines(path: Path) -> Mapping[str, tuple[Path, int | None]]:
    found: dict[str, tuple[Path, int | None]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise InputError(f"{path}: column '{absent[0]}' is missing; a list has pair_id, file and maybe frame")
            for row in reader:
                name, where = row["pair_id"] or "", f"{path}, line {reader.line_num}"
                if not name or not row["file"]:
                    raise InputError(f"{where}: pair_id or file is empty")
                if name in found:
                    raise InputError(f"{where}: pair_id '{name}' appears twice")
                number = row.get("frame") or ""
                if number and not number.isdecimal():
                    raise InputError(f"{where}: frame is a number from 0 on, not '{number}'")
                found[name] = path.parent / row["file"], int(number) if number else None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the list {path}: {error}") from error
    return found


def _ffpp(place: Path, pairs: Sequence[Pair], protocol: Protocol, *, swapped: bool) -> Found:
    """Manipulated sequences <target>_<source>.

    A reenacted one is the target's video with the expression of the source; a swapped one the target's video with the
    face of the source. Frame i of either was made from frame i of both.
    """
    folder = _Folder(_ffpp_folder(place, str(protocol.dataset.config.get("compression", "c23"))))

    def look(pair: Pair) -> Place:
        names = [clip.rpartition("/")[2] for clip in (pair.source.clip, pair.driving.clip)]
        if not all(map(_OFFICIAL.fullmatch, names)):
            raise NoPicture("no picture for pair: its clips have no numbers of FaceForensics++")
        path = folder.get("_".join(names[::-1] if swapped else names))
        if path is None:
            raise NoPicture(f"no picture for pair in '{place.name}': nobody made this manipulated sequence")
        made = frame_of(path, pair, pair.driving.index)
        return Place(made.path, made.frame, pair.driving.clip if swapped else pair.source.clip)

    return look, lambda: 0  # nobody expects a protocol to need all of them


def _ffpp_folder(place: Path, compression: str) -> Path:
    """Down to the videos, from the folder of a method or of one of its compressions.

    Raises:
        InputError: other compressions than the protocol's are there.
    """
    kinds = [kind for kind in COMPRESSIONS if (place / kind).is_dir()]
    if kinds and compression not in kinds:
        raise InputError(f"'{place}' has {', '.join(kinds)}, the protocol needs {compression}")
    place = place / compression if kinds else place
    return next((place / kind for kind in ("videos", "frames", "images") if (place / kind).is_dir()), place)


_LOOKS: Mapping[str, Callable[[Path, Sequence[Pair], Protocol], Found]] = {
    "names": _by_names,
    "csv": _by_list,
    "ffpp_reenacted": lambda place, pairs, protocol: _ffpp(place, pairs, protocol, swapped=False),
    "ffpp_swapped": lambda place, pairs, protocol: _ffpp(place, pairs, protocol, swapped=True),
}
