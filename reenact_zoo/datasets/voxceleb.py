"""VoxCeleb1 and VoxCeleb2 (Nagrani et al., 2017; Chung et al., 2018), in the layouts that people hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from reenact_zoo.datasets import _voxceleb_layouts as trees
from reenact_zoo.datasets._files import FileClips, Found, Gap, exists, listed, unique
from reenact_zoo.datasets._lists import VOXCELEB1_TEST
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.video.images import natural_key

LAYOUT_RULES = ("auto", *trees.LAYOUTS)
SPLIT_RULES = ("auto", "folder", "official")
FOMM_RATE = Fraction(25)  # every row of vox-metadata.csv; the frame folders made from it state none
TITLES = {
    "fomm": "clips named <id>#<video>#<start>#<end>",
    "official": "the official tree of videos",
    "faces": "unzippedFaces (one still a second)",
    "interval_faces": "unzippedIntervalFaces (dense stills)",
}


@dataclass
class VoxcelebConfig:
    """What to read.

    Attributes:
        root: the folder that holds train and test, dev and test, mp4, or unzippedFaces.
        layout: "fomm", "official", "faces", "interval_faces"; "auto" where the root has only one of them.
        split: "folder": train (or dev), val and test above the clips; "official": VoxCeleb1's 40 test identities, and
            the folders for VoxCeleb2; "auto": the folder, or else official.
        meta: vox1_meta.csv, which gives codes to the names of face trees; "" takes the one in the root.
        metadata: vox-metadata.csv, which knows the boxes of layout fomm; "" takes the one in the root.
        leaks: "refuse" an identity in two splits, or "drop" what is not held out.
        cache_frames: decoded frames kept per open video.
    """

    root: str = ""
    layout: str = "auto"
    split: str = "auto"
    meta: str = ""
    metadata: str = ""
    leaks: str = "refuse"
    cache_frames: int = 8


class Voxceleb(FileClips):
    """VoxCeleb: identity is the code of the person ("id10001"), or the name where no list gives its code.

    A clip is called as in its layout, without split folder and suffix: "id10001#7w0IBEWc9Qw#000993#001143",
    "id10001/7w0IBEWc9Qw/00001". The faces are stills without a frame rate: nothing about time can be measured on them.
    """

    dataset = "voxceleb"
    Config = VoxcelebConfig

    def __init__(self, config: VoxcelebConfig | None = None) -> None:
        super().__init__(config or VoxcelebConfig())
        for value, known, what in (
            (self.config.layout, LAYOUT_RULES, "layout"),
            (self.config.split, SPLIT_RULES, "split"),
        ):
            if value not in known:
                raise InputError(f"voxceleb: unknown {what} '{value}'; {nearest(value, known)}")
        self._layout = self.config.layout
        self._nameless: list[str] = []

    @classmethod
    def recognise(cls, root: Path) -> str:
        """By the names of its clips."""
        return f"VoxCeleb: {', '.join(TITLES[name] for name in found)}" if (found := trees.layouts(root)) else ""

    @property
    def layout(self) -> str:
        """The layout that is read.

        Raises:
            InputError: there is none, or several.
        """
        if self._layout == "auto":
            there = trees.layouts(self.root)
            if len(there) > 1:
                raise InputError(
                    f"voxceleb: '{self.root}' holds the layouts {', '.join(there)}; set layout to one of them"
                )
            if not there:
                raise InputError(
                    f"voxceleb: '{self.root}' holds no VoxCeleb layout; give the folder above train or mp4"
                )
            self._layout = there[0]
        return self._layout

    def _find(self) -> Iterator[Found]:
        codes, boxes = self._codes(), self._boxes()
        nameless: set[str] = set()
        found = []
        for place in trees.LAYOUTS[self.layout](self.root):
            who = place.who if trees.CODE.fullmatch(place.who) else codes.get(trees.plain(place.who), "")
            if not who:
                nameless.add(place.who)
            found.append(self._described(place, who, boxes.get(place.name)))
        self._nameless = sorted(nameless)
        yield from sorted(unique(found, self.skipped), key=lambda each: natural_key(each.name))

    def _described(self, place: trees.Place, code: str, box: float | None) -> Found:
        split = self._split(place, code)
        unknown = set() if split else {"split"}
        if self.layout in ("faces", "interval_faces"):
            unknown.add("frame rate")
        return Found(
            name=place.name,
            path=place.path,
            identity=code or place.who,
            split=split,
            unknown=frozenset(unknown),
            aliases=(place.who,) if code and code != place.who else (),
            frame_rate=FOMM_RATE if self.layout == "fomm" else None,
            stated_frames=place.stated_frames,
            box_ratio=box,
        )

    def _split(self, place: trees.Place, code: str) -> str:
        if place.section and self.config.split != "official":
            return place.section
        if self.config.split == "folder":
            return ""
        if code.startswith("id1"):  # VoxCeleb1; VoxCeleb2's codes begin with id0 and its parts are folders
            return "test" if code in VOXCELEB1_TEST else "train"
        return place.section

    def _codes(self) -> Mapping[str, str]:
        path = Path(self.config.meta).expanduser() if self.config.meta else self.root / trees.META
        return trees.codes(path) if self.config.meta or exists(path) else {}

    def _boxes(self) -> Mapping[str, float]:
        path = Path(self.config.metadata).expanduser() if self.config.metadata else self.root / trees.METADATA
        return trees.boxes(path) if self.config.metadata or exists(path) else {}

    @classmethod
    def everything(cls, root: Path) -> list[VoxcelebConfig]:
        """One config for each layout."""
        return [VoxcelebConfig(str(root), layout) for layout in trees.layouts(root)]

    def mistakes(self) -> list[str]:
        """Names that no list gives a code."""
        self.found()
        if not self._nameless:
            return []
        return [
            f"{len(self._nameless)} people have no code, for want of a row in {trees.META}: {listed(self._nameless, 5)}"
        ]

    def gaps(self) -> list[Gap]:
        """The official test identities, the clips of vox-metadata.csv, and a test folder beside train."""
        found = self.found()
        gaps = []
        if self.layout != "fomm" and any(each.identity.startswith("id1") for each in found):
            people = {each.identity for each in found}
            missing = tuple(sorted(VOXCELEB1_TEST - people))
            gaps.append(Gap("VoxCeleb1 test identities", 40 - len(missing), 40, missing))
        if boxes := self._boxes():
            names = {each.name for each in found}
            missing = tuple(name for name in boxes if name not in names)
            gaps.append(Gap(f"clips of {trees.METADATA}", len(boxes) - len(missing), len(boxes), missing))
        sections = {each.split for each in found} if self.config.split != "official" else set()
        if sections == {"train"} and (self.root / "train").is_dir():
            gaps.append(Gap("test folder beside train", 0, 1, ("test",)))
        return gaps
