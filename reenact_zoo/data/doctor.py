"""The doctor: what a tree of clips is, and what is wrong with it, before somebody trains on it for a week.

Faults are what makes clips unusable or numbers wrong; notes are what one should know. Nothing is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reenact_zoo.consent import terms_problem
from reenact_zoo.data._duplicates import copies_among
from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets._files import FileClips, Found, entries, exists, leaks, listed
from reenact_zoo.datasets._probes import Probe, probe_all
from reenact_zoo.registry import DATASETS, nearest
from reenact_zoo.types import InputError
from reenact_zoo.video.read import open_frames

FAULTS: Mapping[str, str] = {
    "terms": "the dataset's terms were not accepted for this root, so readers refuse it",
    "list": "the dataset's own lists contradict themselves or the tree",
    "missing": "official lists or counts name more than is there",
    "unreadable": "files that cannot be read, with the reason",
    "truncated": "files that are empty, end too early, or are shorter than their name says",
    "damaged": "videos with a frame that cannot be decoded (looked for with decode=True only)",
    "duplicate": "clips with equal content",
    "leak": "identities in more than one split",
    "squashed": "clips whose shape is not that of the box they were cut from (more than 10 % off)",
}
NOTES: Mapping[str, str] = {
    "audio": "videos without sound",
    "rate": "videos whose frames do not lie on an even grid in time",
    "remark": "what cannot be mended but should be known",
}
SQUASHED = 1.1
SHORTER = 0.9  # of the stated frames; downloads at another rate differ by a frame or two


@dataclass(frozen=True)
class Finding:
    """One kind of trouble.

    Attributes:
        kind: key of ``FAULTS`` or ``NOTES``.
        message: one line for people.
        items: paths or names concerned, all of them.
    """

    kind: str
    message: str
    items: tuple[str, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Whether it should stop somebody."""
        return self.kind in FAULTS


@dataclass(frozen=True)
class Coverage:
    """How much of a protocol can be made from the tree.

    Attributes:
        have, total: pairs of clips; one counts when all its frames are there.
        have_frames, total_frames: pairs of frames.
    """

    protocol: str
    have: int
    total: int
    have_frames: int
    total_frames: int

    def __str__(self) -> str:
        return f"{self.have} of {self.total} pairs ({self.have_frames} of {self.total_frames} frames)"


@dataclass(frozen=True)
class Report:
    """What the doctor saw.

    Attributes:
        path: the tree.
        dataset: registered name of its reader.
        layout: in words.
        clips, identities: readable ones.
        splits: clips by split; "" for those without.
        findings: faults first.
        coverage: of the protocols asked about.
    """

    path: Path
    dataset: str
    layout: str
    clips: int
    identities: int
    splits: Mapping[str, int]
    findings: Sequence[Finding] = field(default_factory=list)
    coverage: Sequence[Coverage] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """No fault was found."""
        return not any(finding.is_fault for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = [{**asdict(each), "is_fault": each.is_fault} for each in self.findings]
        return {**asdict(self), "path": str(self.path), "findings": found, "healthy": self.healthy}


def recognise(root: Path) -> tuple[str, str]:
    """(registered name, layout in words) of the dataset in a folder; any folder with clips is at least "clips".

    Raises:
        InputError: no such folder, or nothing in it that could be a clip.
    """
    if not exists(root):
        raise InputError(f"no such folder: '{root}'; check the path")
    names = sorted(DATASETS.names(), key=lambda name: (name == "clips", name))
    readers = [cls for name in names if issubclass(cls := DATASETS.get(name), FileClips)]
    for cls in readers:
        if layout := cls.recognise(root):
            return cls.dataset, layout
    raise InputError(
        f"'{root}' holds no video, frame folder or picture; known are {', '.join(c.dataset for c in readers)}"
    )


def check(
    path: str | Path,
    *,
    protocols: Mapping[str, tuple[str, Sequence[Pair]]] | None = None,
    decode: bool = False,
    ignore: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Look at every clip of a tree.

    Args:
        path: folder of a dataset, or any folder of clips.
        protocols: name → (dataset, pairs): of those of this dataset the coverage is told.
        decode: decode every frame of every video; finds damage in the middle of a file, and takes its time.
        ignore: kinds of findings to leave out.
        progress: called with (clips done, clips to do) while decoding.

    Raises:
        InputError: nothing to look at, or an unknown kind.
    """
    for kind in ignore:
        if kind not in FAULTS and kind not in NOTES:
            raise InputError(f"no kind of finding is called '{kind}'; {nearest(kind, [*FAULTS, *NOTES])}")
    root = Path(path).expanduser()
    name, layout = recognise(root)
    cls: type[FileClips] = DATASETS.get(name)
    readers = [cls(config) for config in cls.everything(root)]
    found = [each for reader in readers for each in reader.found()]
    probes = dict(zip((each.path for each in found), probe_all([each.path for each in found])))
    readable = [each for each in found if isinstance(probes[each.path], Probe)]
    findings = [*_of_root(name, root, readers), *_of_clips(found, probes)]
    if decode:
        findings += _damaged(readable, progress)
    order = [*FAULTS, *NOTES]
    return Report(
        path=root,
        dataset=name,
        layout=layout,
        clips=len(readable),
        identities=len({each.identity for each in readable}),
        splits=dict(sorted(Counter(each.split for each in readable).items())),
        findings=sorted((f for f in findings if f.kind not in ignore), key=lambda f: order.index(f.kind)),
        coverage=[
            covered(title, pairs, readable, probes)
            for title, (dataset, pairs) in (protocols or {}).items()
            if dataset == name
        ],
    )


def covered(
    protocol: str, pairs: Iterable[Pair], found: Iterable[Found], probes: Mapping[Path, Probe | InputError]
) -> Coverage:
    """How many pairs have all their frames in readable clips."""
    lengths: dict[str, int] = {}
    for each in found:
        probe = probes[each.path]
        if isinstance(probe, Probe):
            lengths[each.name] = max(lengths.get(each.name, 0), probe.num_frames)
    there: dict[tuple[str, str], list[bool]] = {}
    for pair in pairs:
        refs = [ref for ref in (pair.source, pair.driving, pair.driving_reference) if ref is not None]
        whole = all(ref.index < lengths.get(ref.clip, 0) for ref in refs)
        there.setdefault((pair.source.clip, pair.driving.clip), []).append(whole)
    frames = [whole for each in there.values() for whole in each]
    return Coverage(protocol, sum(map(all, there.values())), len(there), sum(frames), len(frames))


def _of_root(name: str, root: Path, readers: Sequence[FileClips]) -> list[Finding]:
    findings = []
    if problem := terms_problem(name, root):
        findings.append(Finding("terms", f"{problem}; run: reenact-zoo data accept-terms {name} '{root}'"))
    for reader in readers:
        findings += [Finding("list", mistake) for mistake in reader.mistakes()]
        findings += [Finding("remark", remark) for remark in reader.remarks()]
        if both := leaks(reader.found()):
            shown = listed(f"{who} ({', '.join(splits)})" for who, splits in both.items())
            findings.append(Finding("leak", f"{len(both)} identities are in more than one split: {shown}", tuple(both)))
    strange = {path: reason for reader in readers for path, reason in reader.skipped.items()}
    if strange:
        findings.append(_listing("list", "not usable by name", strange))
    gaps = {gap.what: gap for reader in readers for gap in reader.gaps()}
    for gap in gaps.values():
        if gap.have < gap.expected:
            lacking = f", without {listed(gap.names, 5)}" if gap.names else ""
            findings.append(Finding("missing", f"{gap.what}: {gap.have} of {gap.expected}{lacking}", gap.names))
    inner = [path for path in entries(root) if path.is_dir()] if name == "clips" and root.is_dir() else []
    for path in inner:
        other, layout = recognise(path) if _holds_clips(path) else ("clips", "")
        if other != "clips":
            findings.append(Finding("remark", f"'{path}' looks like {layout}; check that folder by itself"))
    return findings


def _holds_clips(path: Path) -> bool:
    return bool(DATASETS.get("clips").recognise(path))


def _of_clips(found: Sequence[Found], probes: Mapping[Path, Probe | InputError]) -> list[Finding]:
    broken = {each.path: str(error) for each in found if isinstance(error := probes[each.path], InputError)}
    cut = {path: text for path, text in broken.items() if _begun(path)}
    opaque = {path: text for path, text in broken.items() if path not in cut}
    good = [(each, probe) for each in found if isinstance(probe := probes[each.path], Probe)]
    for each, probe in good:
        if each.stated_frames and probe.num_frames < SHORTER * each.stated_frames:
            cut[each.path] = f"'{each.path}' has {probe.num_frames} of the {each.stated_frames} frames its name states"
    squashed = {
        each.path: f"'{each.path}' is {probe.width}x{probe.height}, its box {each.box_ratio:.2f} times as wide as high"
        for each, probe in good
        if each.box_ratio and not 1 / SQUASHED < probe.width / probe.height / each.box_ratio < SQUASHED
    }
    videos = [(each.path, probe) for each, probe in good if probe.rate]
    silent = {path: f"'{path}'" for path, probe in videos if not probe.audio}
    uneven = {path: f"'{path}'" for path, probe in videos if not probe.even}
    copies = copies_among([each.path for each, _ in good])
    groups = [
        ("unreadable", "cannot be read", opaque),
        ("truncated", "truncated", cut),
        ("duplicate", "copies of another clip", copies),
        ("squashed", "squashed", squashed),
        ("audio", f"of {len(videos)} videos without sound", silent),
        ("rate", f"of {len(videos)} videos with an uneven frame rate", uneven),
    ]
    return [_listing(kind, what, items) for kind, what, items in groups if items]


def _begun(path: Path) -> bool:
    """Whether an unreadable file is empty or starts as a video does: then the rest is missing, or cut off."""
    if path.is_dir():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return not start or start[4:8] == b"ftyp" or start[:4] in (b"\x1aE\xdf\xa3", b"RIFF")  # MP4, Matroska, AVI


def _listing(kind: str, what: str, items: Mapping[Path, str]) -> Finding:
    """Count, and the first as an example."""
    return Finding(kind, f"{len(items)} {what}, for example {next(iter(items.values()))}", tuple(map(str, items)))


def _damaged(found: Sequence[Found], progress: Callable[[int, int], None] | None) -> list[Finding]:
    damaged = {}
    for number, each in enumerate(found, 1):
        try:
            source = open_frames(each.path)
            count = sum(1 for _ in source)
            if source.info.num_frames not in (None, count):
                damaged[each.path] = f"'{each.path}' yields {count} of {source.info.num_frames} frames"
        except InputError as error:
            damaged[each.path] = str(error)
        if progress is not None:
            progress(number, len(found))
    return [_listing("damaged", "damaged inside", damaged)] if damaged else []
