"""Celeb-DF, version 1 or 2 (Li et al., CVPR 2020).

    Celeb-real/id0_0000.mp4  YouTube-real/00170.mp4  Celeb-synthesis/id1_id0_0007.mp4  List_of_testing_videos.txt

The list's lines are ``<label> <folder>/<file>`` with label 1 for REAL. Version 1 has 158 + 250 real and 795 synthesised
videos, version 2 590 + 300 and 5,639; their ids are not the same people. Folders may differ in case and hold their
videos in ``videos`` or extracted frames in ``frames``, as some tools arrange them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reenact_zoo.datasets._files import FileClips, Found, Gap, entries, leaks, listed, media, stem
from reenact_zoo.datasets._lists import dcg_gan_split
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

LIST = "List_of_testing_videos.txt"
NAMES = {
    "Celeb-real": re.compile(r"(?P<who>id[0-9]+)_[0-9]+"),
    "YouTube-real": re.compile(r"[0-9]+"),
    "Celeb-synthesis": re.compile(r"(?P<target>id[0-9]+)_(?P<source>id[0-9]+)_[0-9]+"),
}
COUNTS = {  # videos by folder: the authors' README files and, for version 1, their first count of 158 and 250
    "v1": {"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795},
    "v2": {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639},
}
SPLIT_RULES = ("dcg_gan", "list")
VERSIONS = ("auto", *COUNTS)


@dataclass
class CelebdfConfig:
    """What to read.

    Attributes:
        root: the folder that holds Celeb-real.
        parts: folders to read; by default the real videos.
        split: "dcg_gan" (by subject, frozen here: 80 % and 20 %), or "list" (the official test list, the rest trains;
            it does not keep identities apart and is refused where they leak).
        version: "v1", "v2", or "auto": by the root's name, else by what cannot be the other version.
        leaks: "refuse" an identity in two splits, or "drop" what is not held out.
        cache_frames: decoded frames kept per open video.
    """

    root: str = ""
    parts: list[str] = field(default_factory=lambda: ["Celeb-real", "YouTube-real"])
    split: str = "dcg_gan"
    version: str = "auto"
    leaks: str = "refuse"
    cache_frames: int = 8


class Celebdf(FileClips):
    """Celeb-DF: only Celeb-real says who is shown; each YouTube-real video is a subject of its own.

    A clip is called as in the list of test videos, without suffix: "Celeb-real/id0_0000". A synthesised clip has both
    its ids as ``people`` and the split that both share, "" where they share none.

    Attributes:
        version: "v1" or "v2"; "" where the tree does not tell.
    """

    dataset = "celebdf"
    Config = CelebdfConfig

    def __init__(self, config: CelebdfConfig | None = None) -> None:
        super().__init__(config or CelebdfConfig())
        for value, known, what in (
            (self.config.split, SPLIT_RULES, "split"),
            (self.config.version, VERSIONS, "version"),
            *((name, tuple(NAMES), "part") for name in self.config.parts),
        ):
            if value not in known:
                raise InputError(f"celebdf: unknown {what} '{value}'; {nearest(value, known)}")
        self.version = _version(self.root) if self.config.version == "auto" else self.config.version

    @classmethod
    def recognise(cls, root: Path) -> str:
        """By its folders."""
        there = [part for part in NAMES if _folder(root, part) is not None]
        if "Celeb-real" not in there and "Celeb-synthesis" not in there:
            return ""
        return f"Celeb-DF {_version(root) or 'of unknown version'}: {', '.join(there)}"

    def _find(self) -> Iterator[Found]:
        tested = self._tested() if self.config.split == "list" else frozenset()
        for part in self.config.parts:
            found = [each for path in _paths(self.root, part) if (each := self._named(part, path, tested)) is not None]
            yield from sorted(found, key=lambda each: each.name)

    def _named(self, part: str, path: Path, tested: frozenset[str]) -> Found | None:
        match = NAMES[part].fullmatch(stem(path))
        if match is None:
            self.skipped[path] = f"'{path}' is not called as {part} videos are; rename it or take it out"
            return None
        name = f"{part}/{stem(path)}"
        people = match.groups() or (name,)
        if self.config.split == "list":
            splits = {"test" if name in tested else "train"}
        else:
            splits = {dcg_gan_split("celebdf", who) for who in people}
        unknown = set() if part == "Celeb-real" else {"identity"}
        if path.is_dir():
            unknown.add("frame rate")
        return Found(
            name=name,
            path=path,
            identity=people[0],
            split=splits.pop() if len(splits) == 1 else "",
            unknown=frozenset(unknown),
            people=people if len(people) > 1 else (),
        )

    def _tested(self) -> frozenset[str]:
        labels = read_list(self.root)
        if wrong := self.mistakes():
            raise InputError(f"celebdf: {wrong[0]}; get the authors' list again")
        return frozenset(labels)

    @classmethod
    def everything(cls, root: Path) -> list[CelebdfConfig]:
        """All parts that are there."""
        return [CelebdfConfig(str(root), [part for part in NAMES if _folder(root, part) is not None])]

    def remarks(self) -> list[str]:
        """Identities that the official list has on both sides."""
        if _list_file(self.root) is None or self.mistakes():
            return []
        by_list = Celebdf(CelebdfConfig(str(self.root), ["Celeb-real"], split="list", version=self.config.version))
        if _folder(self.root, "Celeb-real") is None or not (both := leaks(by_list.found())):
            return []
        return [f"split=list would leak: {len(both)} identities have clips on and off {LIST}: {listed(both)}"]

    def mistakes(self) -> list[str]:
        """Labels that contradict the folder: a list in which 1 does not mean real."""
        try:
            labels = read_list(self.root)
        except InputError as error:
            return [] if _list_file(self.root) is None else [str(error)]
        wrong = [name for name, real in labels.items() if real == name.casefold().startswith("celeb-synthesis")]
        if not wrong:
            return []
        return [f"{LIST} has label 1 for real; {len(wrong)} of {len(labels)} lines say otherwise: {listed(wrong, 5)}"]

    def gaps(self) -> list[Gap]:
        """Counts of the version for each part begun, and the list's videos."""
        found: list[Gap] = []
        for part, expected in COUNTS.get(self.version, {}).items():
            if _folder(self.root, part) is not None:
                found.append(Gap(f"{part} ({self.version})", len(_paths(self.root, part)), expected))
        if _list_file(self.root) is None:
            return [*found, Gap(LIST, 0, 1, (LIST,))]
        there = {f"{part}/{stem(path)}" for part in NAMES for path in _paths(self.root, part)}
        try:
            wanted = read_list(self.root)
        except InputError:  # said by ``mistakes``
            return found
        missing = tuple(name for name in wanted if name not in there)
        return [*found, Gap(f"videos of {LIST}", len(wanted) - len(missing), len(wanted), missing)]


def read_list(root: Path) -> Mapping[str, bool]:
    """Clip name → whether the official list of test videos calls it real (label 1).

    Raises:
        InputError: no list, or a line that is not ``<label> <folder>/<file>``.
    """
    path = _list_file(root)
    if path is None:
        raise InputError(f"celebdf: '{root}' has no {LIST}; put the one of your copy's version there")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"celebdf: cannot read '{path}' ({error})") from error
    labels: dict[str, bool] = {}
    for number, line in enumerate(lines, 1):
        label, _, name = line.strip().partition(" ")
        part = next((part for part in NAMES if part.casefold() == name.strip().split("/")[0].casefold()), None)
        if not line.strip():
            continue
        if label not in ("0", "1") or part is None or "/" not in name:
            raise InputError(
                f"celebdf: '{path}', line {number}: expected '<0 or 1> <folder>/<file>', not '{line[:80]}'"
            )
        labels[f"{part}/{stem(Path(name.strip()))}"] = label == "1"
    return labels


def _list_file(root: Path) -> Path | None:
    return next((path for path in entries(root) if path.name.casefold() == LIST.casefold()), None)


def _folder(root: Path, part: str) -> Path | None:
    """The folder of a part, in whatever case it is written."""
    return next((path for path in entries(root) if path.name.casefold() == part.casefold() and path.is_dir()), None)


def _paths(root: Path, part: str) -> list[Path]:
    """Videos of a part, and the frame folders of those whose video is missing."""
    folder = _folder(root, part)
    if folder is None:
        return []
    direct = [path for path in media(folder) if path.name not in ("videos", "frames", "landmarks", "masks")]
    by_name: dict[str, Path] = {}
    for path in (*direct, *media(folder / "videos"), *media(folder / "frames")):
        by_name.setdefault(stem(path), path)
    return list(by_name.values())


def _version(root: Path) -> str:
    """By the root's name, else version 2 where there is more than version 1 has; "" where it cannot be told."""
    if match := re.search(r"v([12])\)?$", root.name.casefold()):
        return f"v{match[1]}"
    larger = any(len(_paths(root, part)) > count for part, count in COUNTS["v1"].items())
    return "v2" if larger else ""
