"""A file becomes weights of an entry: unpacked, checked, and only then visible under its name in the user's folder."""

from __future__ import annotations

import bz2
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torch import Tensor

from reenact_zoo.types import InputError
from reenact_zoo.weights.convert import convert
from reenact_zoo.weights.folders import cache_folder, own_folder, read_sha256, trust, trusted_sha256
from reenact_zoo.weights.loading import first_difference, read_checkpoint
from reenact_zoo.weights.manifest import WeightEntry, find_entry


def import_file(path: Path, name: str, replace: bool = False) -> Path:
    """Copy a file of the user's into the user's folder as the weights of an entry; returns where it lies.

    A .bz2 file, or a .zip archive that holds the entry's file, is unpacked on the way.

    Args:
        path: file to import; it stays where it is.
        name: manifest entry.
        replace: take it although another file was trusted as this entry before.

    Raises:
        InputError: no such file or entry, or the file is not what the entry says.
    """
    entry = find_entry(name)
    if not path.is_file():
        raise InputError(f"'{path}' is not a file; name the file to import as '{name}'")
    return place(path, entry, replace=replace)


def place(path: Path, entry: WeightEntry, replace: bool = False, origin: str = "") -> Path:
    """Unpack, check and move a copy of ``path`` to its name in the user's folder; see ``import_file``.

    ``origin``: what errors call the file; "" for its path.
    """
    target = own_folder() / entry.file
    try:
        with _beside(entry.file) as copy:
            with _unpacked(path, entry) as source, copy.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            sha256 = check(copy, entry, origin or str(path), replace=replace)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(target)
    except OSError as error:
        raise InputError(f"cannot place '{path}' as {target}: {error.strerror or error}") from error
    if entry.sha256 is None:
        trust(entry.name, sha256)
    return target


def check(file: Path, entry: WeightEntry, origin: str, replace: bool = False) -> str:
    """Compare a file with what the manifest says; returns its sha256. ``origin`` is what errors call it.

    Raises:
        InputError: another sha256 than the manifest's, or than that of the file trusted before; or, where no hash is
            known, tensors of another network: the first that differs is named.
    """
    found = read_sha256(file)
    expected = entry.sha256 or (None if replace else trusted_sha256(entry.name))
    if expected is not None and found != expected:
        hint = "" if entry.sha256 else "; --replace takes the new file instead of the one trusted before"
        raise InputError(f"{origin} is not weights '{entry.name}': sha256 {expected} expected, {found} found{hint}")
    if entry.sha256 is None and entry.keys:
        tensors = convert(entry.name, read_checkpoint(file))
        if difference := telltale_difference(entry, tensors):
            raise InputError(f"{origin} is not weights '{entry.name}': {difference}")
    return found


def telltale_difference(entry: WeightEntry, tensors: Mapping[str, Tensor]) -> str:
    """The first of the entry's telltale tensors that is not as it should be, in words; "" where all are."""
    extra = next((key for key in entry.lacks if key in tensors), None)
    return first_difference(entry.keys, tensors, exhaustive=False) or (
        f"the file has '{extra}', which belongs to a larger network" if extra else ""
    )


@contextmanager
def _beside(name: str) -> Iterator[Path]:
    """A new file on the disk of the user's folder, gone afterwards unless it was moved."""
    folder = cache_folder() / "unfinished"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=f"{name}.", dir=folder, delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _unpacked(path: Path, entry: WeightEntry) -> Iterator[IO[bytes]]:
    """The file itself, or what a .bz2 or .zip around it holds under the entry's name."""
    if path.suffix == ".bz2" and entry.unpack == "bz2":
        with bz2.open(path) as stream:
            yield stream
        return
    if member := _member(path, entry.file):
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            yield stream
        return
    with path.open("rb") as plain:
        yield plain


def _member(path: Path, name: str) -> str | None:
    """Name of the archive's member that is the entry's file; None: no archive, or a checkpoint (also a zip archive)."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return next((member for member in archive.namelist() if member.rpartition("/")[2] == name), None)
