"""The manifest: what is known about every weight file, read from manifest.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.weights.folders import FOLDER_VARIABLE, own_folder
from reenact_zoo.weights.licence import LICENCE_VARIABLE


class WeightsMissing(InputError):
    """A weight file is not at hand; the text says which file, its size and licence, and where to put it."""


class LicenceRefused(WeightsMissing):
    """A weight file may be at hand, but its licence is not among those this run may use; the text names the flag."""


@dataclass(frozen=True)
class WeightEntry:
    """One entry of manifest.yaml.

    Attributes:
        file: name under which it is kept; without a ``sha256`` also what it is recognised by.
        urls: mirrors, asked in turn; empty where only the user can supply the file.
        size: bytes of the file itself, after unpacking.
        sha256: of the file itself; None where it is not known.
        permissive: the makers put this file, or the repository that holds it, under a licence that allows any use.
        used_by: instruments, losses, methods and published tables, in words; metrics say on their cards what they use.
        unpack: "bz2" where the URLs give a compressed file.
        keys: some tensors by which a file without sha256 is told from another network's: name → shape.
        lacks: tensors that only the other networks have.
        obtain: where and how the user gets the file, sentence by sentence; "" where ``weights fetch`` does it.
    """

    name: str
    file: str
    architecture: str
    urls: tuple[str, ...]
    size: int | None
    sha256: str | None
    licence: str
    permissive: bool
    trained_on: str
    paper: str
    preprocessing: str
    used_by: tuple[str, ...] = ()
    unpack: str = ""
    keys: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    obtain: str = ""

    @property
    def supplied_by_user(self) -> bool:
        """Whether only the user can get it: a registration, a form, a share without a checksum, or a licence."""
        return not self.urls and bool(self.obtain)


@cache
def manifest() -> dict[str, WeightEntry]:
    """All entries by name, in the manifest's order."""
    text = files("reenact_zoo.weights").joinpath("manifest.yaml").read_text(encoding="utf-8")
    entries = [_entry(item) for item in yaml.safe_load(text)]
    return {entry.name: entry for entry in entries}


def _entry(item: dict[str, Any]) -> WeightEntry:
    unknown = set(item) - {f.name for f in fields(WeightEntry)}
    if unknown:
        raise ValueError(f"manifest.yaml, {item.get('name')}: unknown fields {sorted(unknown)}")
    shapes = {key: tuple(shape) for key, shape in item.get("keys", {}).items()}
    lists = {key: tuple(item.get(key, ())) for key in ("urls", "used_by", "lacks")}
    return WeightEntry(**{**item, **lists, "keys": shapes})


def find_entry(name: str) -> WeightEntry:
    """Entry of the manifest; InputError with the nearest name where there is none."""
    if name not in manifest():
        raise InputError(f"unknown weights '{name}'; {nearest(name, manifest())}")
    return manifest()[name]


def licences(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Licence of each entry, for the record of a run: name → {"licence": str, "permissive": bool}.

    Names that are not in the manifest (instruments without a weight file) are left out.
    """
    known = manifest()
    return {n: {"licence": known[n].licence, "permissive": known[n].permissive} for n in names if n in known}


def research_only(names: Iterable[str]) -> list[str]:
    """Those of the names whose licence is not permissive, sorted: what a run that used them has to say."""
    return sorted(name for name, about in licences(names).items() if not about["permissive"])


# --- sentences ------------------------------------------------------------------------------------------------------


def described(entry: WeightEntry) -> str:
    """What a person has to look for: name, file, size, licence."""
    size = f", {entry.size / 1e6:.1f} MB" if entry.size else ""
    return f"weights '{entry.name}' ({entry.file}{size}, {entry.licence})"


def placing(entry: WeightEntry) -> str:
    """Which file to put where."""
    size = f"{entry.size:,} bytes, " if entry.size else ""
    return f"put {entry.file} ({size}licence: {entry.licence}) {_folders()}"


def _folders() -> str:
    return f"into the folder that {FOLDER_VARIABLE} names or into {own_folder()}"


def missing_text(entry: WeightEntry, difference: str = "") -> str:
    """One line for ``WeightsMissing``; ``difference`` says what is wrong with a file that has the right name."""
    text = f"weights '{entry.name}' are not at hand: {placing(entry)}"
    if entry.urls:
        text += f"; source: {entry.urls[0]}"
    elif entry.obtain:
        text += f"; `reenact-zoo weights show {entry.name}` says how to get it"
    return text + (f"; {difference}" if difference else "")


def refused_text(entry: WeightEntry, at_hand: bool) -> str:
    """One line for ``LicenceRefused``."""
    where = "are at hand, but their" if at_hand else "are not at hand, and their"
    text = (
        f"weights '{entry.name}' {where} licence is not permissive ({entry.licence}): "
        f"allow them with --licence research or {LICENCE_VARIABLE}=research"
    )
    return text if at_hand else f"{text}, and put {entry.file} {_folders()}"


def differing_text(path: Path, expected: str, found: str) -> str:
    """One sentence: this file is not the one the entry means."""
    return f"{path} has that name, but its size or sha256 is another ({expected} expected, {found} found)"
