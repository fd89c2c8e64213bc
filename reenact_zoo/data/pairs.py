"""Pairs of source and driving frame: read from a file, written to one, or drawn from a dataset by a fixed rule."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.types import InputError

COLUMNS = ("pair_id", "source", "driving", "driving_reference", "same_identity")


@dataclass(frozen=True)
class Pair:
    """One thing to reenact.

    Attributes:
        pair_id: unique in its file, stable; names the pair in records and pictures.
        source: frame that supplies identity.
        driving: frame that supplies pose and expression.
        driving_reference: frame relative motion counts from; None where only absolute motion makes sense.
        same_identity: source and driving are frames of one clip, so that driving is the ground truth.
        bins: further numeric columns of the file, for example ``delta_yaw_deg``.
    """

    pair_id: str
    source: FrameRef
    driving: FrameRef
    driving_reference: FrameRef | None
    same_identity: bool
    bins: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PairRule:
    """How pairs are drawn where no file lists them; depends on the clips alone, never on chance.

    self: the first frame of each clip is the source, ``frames`` evenly spaced later frames of it drive.
    cross: as self, for every ordered pair of clips that show different persons.

    Attributes:
        frames: driving frames per clip (self) or per ordered pair of clips (cross).
        split: only clips of this split; "" takes all.
        source: pattern (as in a shell) of the names of clips that may be sources; of all clips of self pairs.
        driving: pattern of the names of clips that may drive (cross).
        partners: driving clips per source clip (cross); they follow from the names of the two clips, so that a choice
            stays when other clips come or go. 0 takes all.
    """

    frames: int = 8
    split: str = ""
    source: str = "*"
    driving: str = "*"
    partners: int = 0


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a CSV file with at least the columns ``COLUMNS``; other columns are numbers and become ``bins``.

    Raises:
        InputError: file missing, a column missing, a cell that cannot be read (with its line), an id used twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise InputError(f"{path}: column '{absent[0]}' is missing; a pair file has {', '.join(COLUMNS)}")
            pairs = [_parse(row, f"{path}, line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the pair file {path}: {error}") from error
    _refuse_repeated_ids(pairs, path)
    return pairs


def _parse(row: Mapping[str | None, str | None], where: str) -> Pair:
    cells = {name: text or "" for name, text in row.items() if name is not None}
    try:
        return Pair(
            pair_id=_nonempty(cells["pair_id"]),
            source=FrameRef.parse(cells["source"]),
            driving=FrameRef.parse(cells["driving"]),
            driving_reference=FrameRef.parse(cells["driving_reference"]) if cells["driving_reference"] else None,
            same_identity=_boolean(cells["same_identity"]),
            bins={name: float(text) for name, text in cells.items() if name not in COLUMNS and text},
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _nonempty(text: str) -> str:
    if not text:
        raise ValueError("pair_id is empty")
    return text


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in known:
        raise ValueError(f"same_identity is true or false, not '{text}'")
    return known[text.lower()]


def _refuse_repeated_ids(pairs: Sequence[Pair], path: Path) -> None:
    seen: set[str] = set()
    for pair in pairs:
        if pair.pair_id in seen:
            raise InputError(f"{path}: pair_id '{pair.pair_id}' appears twice")
        seen.add(pair.pair_id)


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Inverse of ``read_pairs``: byte-identical files for equal pairs, on every machine."""
    extra = sorted({name for pair in pairs for name in pair.bins})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *extra])
        for pair in pairs:
            bins = [f"{pair.bins[name]:.10g}" if name in pair.bins else "" for name in extra]
            writer.writerow([*_cells(pair), *bins])


def _cells(pair: Pair) -> tuple[str, ...]:
    reference = "" if pair.driving_reference is None else str(pair.driving_reference)
    return pair.pair_id, str(pair.source), str(pair.driving), reference, str(pair.same_identity).lower()


def pairs_hash(pairs: Iterable[Pair]) -> str:
    """SHA-256 over what is reenacted with what: two runs with equal hashes are comparable pair by pair."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update("\x1f".join(_cells(pair)).encode() + b"\n")
    return digest.hexdigest()


def draw_pairs(dataset: ClipDataset, setting: str, rule: PairRule) -> list[Pair]:
    """Pairs that ``rule`` draws from the dataset for setting "self" or "cross".

    Raises:
        InputError: the clips cannot form a single pair; says what is missing.
    """
    clips = [clip for clip in dataset.clips if rule.split in ("", clip.split)]
    draw = {"self": _draw_self, "cross": _draw_cross}[setting]
    pairs = draw(clips, rule)
    if not pairs:
        need = {"self": "a clip of at least two frames", "cross": "clips of at least two persons"}[setting]
        raise InputError(f"{len(clips)} clip(s) make no {setting} pair: the protocol needs {need}")
    return pairs


def _draw_self(clips: Sequence[Clip], rule: PairRule) -> list[Pair]:
    return [
        _pair(clip, clip, index, same=True)
        for clip in clips
        if fnmatchcase(clip.name, rule.source)
        for index in evenly_spaced(1, clip.num_frames, rule.frames)
    ]


def _draw_cross(clips: Sequence[Clip], rule: PairRule) -> list[Pair]:
    drivers = [clip for clip in clips if fnmatchcase(clip.name, rule.driving)]
    return [
        _pair(source, driving, index, same=False)
        for source in clips
        if fnmatchcase(source.name, rule.source)
        for driving in _partners(source, drivers, rule.partners)
        for index in evenly_spaced(0, driving.num_frames, rule.frames)
    ]


def _partners(source: Clip, drivers: Sequence[Clip], count: int) -> list[Clip]:
    """Clips of other persons, in their order; the ``count`` whose names come first with the source's, hashed."""
    others = [clip for clip in drivers if clip.identity != source.identity]
    if not 0 < count < len(others):
        return others
    chosen = sorted(others, key=lambda clip: name_order(source.name, clip.name))[:count]
    return [clip for clip in others if clip in chosen]


def name_order(*names: str) -> str:
    """A place that depends on names alone, as good as drawn by lot and the same for everybody."""
    return hashlib.sha256("\x1f".join(names).encode()).hexdigest()


def _pair(source: Clip, driving: Clip, index: int, same: bool) -> Pair:
    pair_id = f"{source.name}@0<{driving.name}@{index}"
    reference = FrameRef(driving.name, 0)
    return Pair(pair_id, FrameRef(source.name, 0), FrameRef(driving.name, index), reference, same)


def evenly_spaced(first: int, stop: int, count: int) -> list[int]:
    """Up to ``count`` different integers in [first, stop): the middles of ``count`` equal parts."""
    length = stop - first
    if length <= count:
        return list(range(first, stop))
    return [first + math.floor((i + 0.5) * length / count) for i in range(count)]
