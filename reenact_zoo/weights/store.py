"""Where weight files are found, how they are recognised, and whether this run may use them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from reenact_zoo.weights.convert import convert
from reenact_zoo.weights.folders import cache_folder as cache_folder  # callers take both from here
from reenact_zoo.weights.folders import file_sha256, named_folders, own_folder, read_sha256, trusted_sha256
from reenact_zoo.weights.licence import licence_level
from reenact_zoo.weights.loading import load_into, read_checkpoint
from reenact_zoo.weights.manifest import (
    LicenceRefused,
    WeightEntry,
    WeightsMissing,
    described,
    differing_text,
    find_entry,
    manifest,
    missing_text,
    refused_text,
)


class WeightStore:
    """Finds weights in the user's folders (searched recursively), then the user cache, then installed packages.

    A file is recognised by size and sha256, whatever its name. An entry without a sha256 is recognised by name; once
    such a file was fetched or imported, another one of that name is no longer taken for it.

    Args:
        folder: overrides the environment variable REENACT_ZOO_WEIGHTS, which may name several folders as PATH does.
        licence: "permissive" or "research" (both kinds); None: REENACT_ZOO_LICENCE, else "permissive".

    Raises:
        InputError: the named folder does not exist, or the licence level is unknown.
    """

    def __init__(self, folder: Path | None = None, licence: str | None = None) -> None:
        self._folders = [*named_folders(folder), own_folder(), _bundled_folder(), *_installed_folders()]
        self._licence = licence_level(licence)
        self._found: dict[str, Path] = {}
        self._listing: list[tuple[Path, int]] | None = None

    # --- what is there ---

    def known(self, name: str) -> bool:
        """Whether the manifest has an entry of this name."""
        return name in manifest()

    def entry(self, name: str) -> WeightEntry:
        """Manifest entry; InputError with the nearest name where there is none."""
        return find_entry(name)

    def describe(self, name: str) -> str:
        """What a person has to look for: name, file, size, licence; or which flag allows a file that is there."""
        entry = self.entry(name)
        if not self.allowed(name) and self.at_hand(name):
            return refused_text(entry, at_hand=True)
        return described(entry)

    def allowed(self, name: str) -> bool:
        """Whether the licence of the entry is among those this run may use."""
        return self.entry(name).permissive or self._licence == "research"

    def at_hand(self, name: str) -> bool:
        """Whether a folder holds the file, whatever its licence."""
        return self._look_up(self.entry(name))[0] is not None

    def path(self, name: str) -> Path:
        """File of an entry.

        Raises:
            LicenceRefused: its licence is not permissive and research was not asked for.
            WeightsMissing: no folder holds it (or only a file of that name with another content).
        """
        entry = self.entry(name)
        if not self.allowed(name):
            raise LicenceRefused(refused_text(entry, self.at_hand(name)))
        found, difference = self._look_up(entry)
        if found is None:
            raise WeightsMissing(missing_text(entry, difference))
        return found

    def available(self, name: str) -> bool:
        """Whether ``path`` would succeed."""
        return self.missing(name) is None

    def missing(self, name: str) -> str | None:
        """None where the entry can be used, else the sentence ``path`` would raise."""
        try:
            self.path(name)
        except WeightsMissing as error:
            return str(error)
        return None

    # --- what is in it ---

    def sha256(self, name: str) -> str:
        """Hash of the file that is used, for records."""
        return file_sha256(self.path(name))

    def verify(self, name: str) -> str | None:
        """Read the file again, whatever is remembered, and compare its hash; licences do not matter here.

        Returns:
            None where nothing is wrong (or no hash is known); else the difference in words.

        Raises:
            WeightsMissing: no file of that content or name is at hand.
        """
        entry = self.entry(name)
        path, difference = self._look_up(entry)
        if path is None and not difference:
            raise WeightsMissing(missing_text(entry))
        expected = entry.sha256 or trusted_sha256(name)
        if path is None or expected is None:
            return difference or None
        found = read_sha256(path)
        return None if found == expected else differing_text(path, f"sha256 {expected}", f"sha256 {found}")

    def load_state_dict(self, name: str, part: str = "") -> dict[str, Tensor]:
        """Tensors of an entry by the keys our network uses; see ``convert``.

        ``part``: which of several networks in the file; "" for the main one.

        Raises:
            WeightsMissing: the file is not at hand, or its licence is not allowed.
            InputError: the file wants to run code, or holds no tensors.
        """
        return convert(name, read_checkpoint(self.path(name)), part)

    def load_into(self, module: nn.Module, name: str, part: str = "") -> None:
        """``load_state_dict`` put into a network; InputError names the first key that does not fit."""
        load_into(module, self.load_state_dict(name, part), name)

    # --- search ---

    def refresh(self) -> None:
        """Look into the folders again: a file was added since they were listed."""
        self._listing = None
        self._found.clear()

    def _look_up(self, entry: WeightEntry) -> tuple[Path | None, str]:
        """File of the entry, or None and what is wrong with one of its name ("" where there is none)."""
        known = self._found.get(entry.name)
        if known is not None and known.is_file():
            return known, ""
        found, difference = self._by_content(entry) if entry.sha256 else self._by_name(entry)
        if found is not None:
            self._found[entry.name] = found
        return found, difference

    def _by_content(self, entry: WeightEntry) -> tuple[Path | None, str]:
        difference = ""
        for path, size in self._files():
            alike = size == entry.size if entry.size is not None else path.name == entry.file  # what is worth hashing
            if alike and file_sha256(path) == entry.sha256:
                return path, ""
            if path.name == entry.file:
                found = f"sha256 {file_sha256(path)}" if alike else f"{size:,} bytes"
                expected = f"sha256 {entry.sha256}" if alike else f"{entry.size:,} bytes"
                difference = differing_text(path, expected, found)
        return None, difference

    def _by_name(self, entry: WeightEntry) -> tuple[Path | None, str]:
        difference, trusted = "", trusted_sha256(entry.name)
        for path, _ in self._files():
            if path.name == entry.file:
                if trusted is None or file_sha256(path) == trusted:
                    return path, ""
                difference = differing_text(path, f"sha256 {trusted}", f"sha256 {file_sha256(path)}")
                difference += "; if the new file is meant, import it with --replace"
        return None, difference

    def _files(self) -> Iterator[tuple[Path, int]]:
        if self._listing is None:
            self._listing = [item for folder in self._folders for item in _walk(folder)]
        yield from self._listing


def _bundled_folder() -> Path:
    return Path(str(files("reenact_zoo").joinpath("bundled", "weights")))


@cache
def _installed_folders() -> tuple[Path, ...]:
    """Where torchmetrics keeps the linear heads of LPIPS, which are recognised by sha256 like any other file."""
    spec = find_spec("torchmetrics")
    if spec is None or spec.origin is None:
        return ()
    return (Path(spec.origin).parent / "functional" / "image" / "lpips_models",)


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file():  # a dangling link is no file
                yield path, path.stat().st_size
