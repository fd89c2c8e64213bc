"""FaceForensics++ (Rössler et al., ICCV 2019), as its download script leaves it.

    original_sequences/{youtube,actors}/{raw,c23,c40}/videos/<name>.mp4
    manipulated_sequences/<method>/{raw,c23,c40}/videos/<target>_<source>.mp4

Extracted frames lie beside ``videos`` in ``frames`` or ``images``, one folder per video. The videos have no sound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reenact_zoo.datasets._files import FileClips, Found, Gap, entries, listed, media, stem, unique
from reenact_zoo.datasets._lists import SPLITS, dcg_gan_split, ffpp_pairs, ffpp_same_video, ffpp_splits
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

COMPRESSIONS = ("raw", "c23", "c40")  # "c0" on paper is the folder raw
ORIGINAL = ("youtube", "actors")
REENACTED = ("Face2Face", "NeuralTextures")  # the target's face under the source's expression
SWAPPED = ("Deepfakes", "FaceSwap", "FaceShifter", "DeepFakeDetection")  # the source's face in the target's video
SEQUENCES = (*ORIGINAL, *REENACTED, *SWAPPED)
NAMES = {
    "youtube": re.compile(r"(?P<target>[0-9]{3})"),
    "actors": re.compile(r"(?P<target>[0-9]{2})__.+"),
    "DeepFakeDetection": re.compile(r"(?P<target>[0-9]{2})_(?P<source>[0-9]{2})__.+"),
}
PAIRED = re.compile(r"(?P<target>[0-9]{3})_(?P<source>[0-9]{3})")
SPLIT_RULES = ("official", "dcg_gan")


@dataclass
class FfppConfig:
    """What to read.

    Attributes:
        root: the folder that holds original_sequences and manipulated_sequences.
        compression: "raw", "c23" or "c40".
        sequences: "youtube", "actors" and manipulation methods by their folders' names.
        split: "official" (360, 70 and 70 pairs of sequences) or "dcg_gan" (80 % and 20 % of the subjects, frozen here).
        leaks: "refuse" an identity in two splits, or "drop" what is not held out.
        cache_frames: decoded frames kept per open video.
    """

    root: str = ""
    compression: str = "c23"
    sequences: list[str] = field(default_factory=lambda: ["youtube"])
    split: str = "official"
    leaks: str = "refuse"
    cache_frames: int = 8


class Ffpp(FileClips):
    """FaceForensics++: originals by number, actors, and manipulated sequences with the ids of both people.

    A clip is called "<sequence>/<file name>" whatever its compression, for example "youtube/071". A sequence's number
    is its identity; nobody knows whether two numbers show one person. A manipulated clip <target>_<source> is the video
    of <target>: reenactment keeps that identity, a face swap shows <source>. Its ``people`` are (target, source).
    """

    dataset = "ffpp"
    Config = FfppConfig

    def __init__(self, config: FfppConfig | None = None) -> None:
        super().__init__(config or FfppConfig())
        for value, known, what in (
            (self.config.compression, COMPRESSIONS, "compression"),
            (self.config.split, SPLIT_RULES, "split"),
            *((name, SEQUENCES, "sequence") for name in self.config.sequences),
        ):
            if value not in known:
                raise InputError(f"ffpp: unknown {what} '{value}'; {nearest(value, known)}")

    @classmethod
    def recognise(cls, root: Path) -> str:
        """By its two folders; says which sequences are there in which compression."""
        there = [f"{name} ({', '.join(kinds)})" for name in SEQUENCES if (kinds := _compressions(root, name))]
        return f"FaceForensics++: {', '.join(there)}" if there else ""

    def _find(self) -> Iterator[Found]:
        for sequence in self.config.sequences:
            folder = _folder(self.root, sequence) / self.config.compression
            paths = [path for kind in ("videos", "frames", "images") for path in media(folder / kind)]
            if not paths:
                there = _compressions(self.root, sequence)
                mend = f"set compression={there[0]}" if there else f"'{folder}' is missing or empty"
                raise InputError(f"ffpp: no {self.config.compression} videos of {sequence} in '{self.root}': {mend}")
            known = (found for path in paths if (found := self._named(sequence, path)) is not None)
            yield from sorted(unique(known, {}), key=lambda found: found.name)  # frames only where the video is missing

    def _named(self, sequence: str, path: Path) -> Found | None:
        name = stem(path)
        match = NAMES.get(sequence, PAIRED).fullmatch(name)
        if match is None:
            self.skipped[path] = f"'{path}' is not called as {sequence} videos are; rename it or take it out"
            return None
        actors = sequence in ("actors", "DeepFakeDetection")
        people = tuple(f"actor{who}" if actors else who for who in match.groups())
        unknown = {"identity", "split"} if actors else {"identity"}
        if path.is_dir():
            unknown.add("frame rate")
        return Found(
            name=f"{sequence}/{name}",
            path=path,
            identity=people[-1] if sequence in SWAPPED else people[0],
            split="" if actors else self._split(people),
            unknown=frozenset(unknown),
            people=people if len(people) > 1 else (),
        )

    def _split(self, people: tuple[str, ...]) -> str:
        """The split of all people; "" where they are of two."""
        if self.config.split == "official":
            splits = {ffpp_splits()[who] for who in people}
        else:
            splits = {dcg_gan_split("ffpp", who) for who in people}
        return splits.pop() if len(splits) == 1 else ""

    @classmethod
    def everything(cls, root: Path) -> list[FfppConfig]:
        """One config for each compression."""
        parts = {kind: [name for name in SEQUENCES if kind in _compressions(root, name)] for kind in COMPRESSIONS}
        return [FfppConfig(str(root), kind, names) for kind, names in parts.items() if names]

    def remarks(self) -> list[str]:
        """Sequences of one source video in two splits."""
        split = {each.identity: each.split for each in self.found() if not each.people}
        groups = [[who for who in group if split.get(who)] for group in ffpp_same_video()]
        apart = ["/".join(group) for group in groups if len({split[who] for who in group}) > 1]
        if not apart:
            return []
        return [f"{len(apart)} source videos give sequences to two splits and may show one person: {listed(apart)}"]

    def gaps(self) -> list[Gap]:
        """Sequences 000 to 999, and both directions of the official pairs of each manipulation: of every part begun."""
        parts = [(sequence, kind) for sequence in SEQUENCES for kind in _compressions(self.root, sequence)]
        return [gap for sequence, kind in parts for gap in _gap(self.root, sequence, kind)]


def _gap(root: Path, sequence: str, kind: str) -> list[Gap]:
    if sequence in ("actors", "DeepFakeDetection"):
        return []  # their full list of names is not known here
    if sequence == "youtube":
        expected = [f"{number:03d}" for number in range(1000)]
    else:
        pairs = [pair for split in SPLITS for pair in ffpp_pairs(split)]
        expected = sorted(f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1]))
    folder = _folder(root, sequence) / kind
    there = {stem(path) for part in ("videos", "frames", "images") for path in media(folder / part)}
    missing = tuple(name for name in expected if name not in there)
    return [Gap(f"{sequence} {kind}", len(expected) - len(missing), len(expected), missing)]


def _folder(root: Path, sequence: str) -> Path:
    return root / ("original_sequences" if sequence in ORIGINAL else "manipulated_sequences") / sequence


def _compressions(root: Path, sequence: str) -> list[str]:
    """Those in which a sequence is there at all."""
    folder = _folder(root, sequence)
    return [kind.name for kind in entries(folder) if kind.name in COMPRESSIONS and entries(kind)]
