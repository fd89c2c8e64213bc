"""Consent: whether the terms of a dataset were read and accepted, and who asked not to be used.

An acknowledgement is a file in the dataset's root that names the version of the terms; readers of gated datasets refuse
a root without it. A removal list names identities and clips that every reader leaves out, whatever it is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reenact_zoo.types import InputError

REMOVAL_FILE = "removed.txt"
REMOVAL_VARIABLE = "REENACT_ZOO_REMOVED"
_KINDS = ("identity", "clip")


@dataclass(frozen=True)
class Terms:
    """Under which terms a dataset was handed out.

    Attributes:
        version: names the terms; another version has to be accepted anew.
        title: of the document that counts.
        address: where that document, or the page that gives it out, is found.
        says: the gist in our own words, as far as the dataset's public pages state it; the document is what binds.
    """

    version: str
    title: str
    address: str
    says: tuple[str, ...]


TERMS: dict[str, Terms] = {
    "ffpp": Terms(
        "faceforensics-tos-2019",
        "FaceForensics Terms of Use",
        "http://kaldir.vc.in.tum.de/FaceForensics/webpage/FaceForensics_TOS.pdf",
        (
            "The videos are given to people who agreed to the terms through the authors' form; the link is personal.",
            "The MIT licence of the authors' repository covers their code and lists, not the videos.",
            "The videos show real people taken from YouTube, and paid actors (DeepFakeDetection).",
        ),
    ),
    "celebdf": Terms(
        "celeb-df-terms-2020",
        "Terms to Use Celeb-DF",
        "https://github.com/yuezunli/celeb-deepfakeforensics",
        (
            "The videos are given to people who sent the authors' form; they come as they are, without warranty.",
            "The authors do not own the videos, which were taken from the internet.",
            "Whoever is shown may ask the authors to be removed; follow their removals with a removal list.",
        ),
    ),
    "voxceleb": Terms(
        "voxceleb-cc-by-4.0",
        "VoxCeleb licence and privacy notice",
        "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/",
        (
            "The metadata is under Creative Commons Attribution 4.0; name its authors.",
            "The copyright of each video stays with its owner; the licence of the metadata gives no right to it.",
            "The videos show real people; the authors' privacy notice says how to ask for removal.",
        ),
    ),
}
"""Gated datasets by registered name."""


def acknowledgement_file(dataset: str, root: Path) -> Path:
    """Where the acknowledgement for a dataset lies in its root."""
    return root / f"terms_accepted_{dataset}.json"


def accept_terms(dataset: str, root: str | Path) -> Path:
    """Record in ``root`` that the current terms of ``dataset`` were accepted; returns the file.

    Raises:
        InputError: the dataset has no terms to accept, no such folder, or it cannot be written to.
    """
    terms = TERMS.get(dataset)
    if terms is None:
        raise InputError(f"'{dataset}' has no terms to accept; those that have: {', '.join(sorted(TERMS))}")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"no such folder: '{root}'; give the root folder of {dataset}")
    content = {
        "dataset": dataset,
        "terms": terms.version,
        "title": terms.title,
        "address": terms.address,
        "accepted": datetime.now(UTC).date().isoformat(),
    }
    path = acknowledgement_file(dataset, root)
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write '{path}' ({error.strerror}); the root must be writable once") from error
    return path


def terms_problem(dataset: str, root: Path) -> str:
    """Why the terms of ``dataset`` do not count as accepted in ``root``; "" where they do or there are none."""
    terms = TERMS.get(dataset)
    if terms is None:
        return ""
    path = acknowledgement_file(dataset, root)
    try:
        accepted = json.loads(path.read_text(encoding="utf-8"))["terms"]
    except FileNotFoundError:
        return "the terms of use have not been accepted"
    except (OSError, ValueError, KeyError, TypeError):
        return f"'{path.name}' is not a readable acknowledgement"
    return "" if accepted == terms.version else f"accepted were the terms '{accepted}', now they are '{terms.version}'"


def require_terms(dataset: str, root: Path) -> None:
    """Do nothing where the current terms of ``dataset`` were accepted in ``root``, or it has none.

    Raises:
        InputError: they were not; names the command that shows them and records the acceptance.
    """
    if problem := terms_problem(dataset, root):
        raise InputError(f"{dataset}: {problem}; run: reenact-zoo data accept-terms {dataset} '{root}'")


def carry_terms(dataset: str, source: Path, target: Path) -> None:
    """Copy the acknowledgement of ``source`` to data made from it in ``target``, which falls under the same terms."""
    require_terms(dataset, source)
    if dataset in TERMS:
        part = acknowledgement_file(dataset, target).with_suffix(".part")
        shutil.copyfile(acknowledgement_file(dataset, source), part)
        part.replace(acknowledgement_file(dataset, target))


@dataclass(frozen=True)
class Removals:
    """Who and what must not be used.

    A list is a text file of lines ``identity NAME`` or ``clip NAME``, the name as the dataset gives it. A dataset's
    name in front limits a line to it (``ffpp identity 071``), for lists that several datasets share. Empty lines and
    lines that begin with "#" mean nothing.
    """

    identities: frozenset[str] = frozenset()
    clips: frozenset[str] = frozenset()

    @classmethod
    def load(cls, root: Path, dataset: str) -> Removals:
        """``removed.txt`` in ``root`` together with the file that $REENACT_ZOO_REMOVED names.

        Raises:
            InputError: a list that is named but missing, or a line that cannot be understood: nobody who asked to be
                removed is overlooked because of a slip.
        """
        entries: set[tuple[str, str]] = set()
        own = root / REMOVAL_FILE
        if own.exists():
            entries |= _entries(own, dataset)
        if shared := os.environ.get(REMOVAL_VARIABLE):
            entries |= _entries(Path(shared).expanduser(), dataset)
        return cls(
            frozenset(name for kind, name in entries if kind == "identity"),
            frozenset(name.removesuffix(".mp4") for kind, name in entries if kind == "clip"),
        )

    def removes(self, clip: str, *people: str) -> bool:
        """Whether a clip, or any of the people it shows or was made from, is on the list."""
        return clip.removesuffix(".mp4") in self.clips or not self.identities.isdisjoint(people)


def _entries(path: Path, dataset: str) -> set[tuple[str, str]]:
    """(kind, name) of the lines that concern ``dataset``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the removal list '{path}' ({error}); mend it or its permissions") from error
    found = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.strip().split(maxsplit=1)
        limited = words[0] not in _KINDS
        kind, _, name = (words[-1] if limited else line.strip()).partition(" ")
        if kind not in _KINDS or not name.strip():
            raise InputError(f"'{path}', line {number}: write 'identity NAME' or 'clip NAME', not '{line.strip()}'")
        if not limited or words[0] == dataset:
            found.add((kind, name.strip()))
    return found
