"""Where weight files are found, how they are recognised, and how they are loaded without running code from them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

FOLDER_VARIABLE = "REENACT_ZOO_WEIGHTS"
CACHE_VARIABLE = "REENACT_ZOO_CACHE"


class WeightsMissing(InputError):
    """A weight file is not at hand; the text says which file, its size and licence, and where to put it."""


@dataclass(frozen=True)
class WeightEntry:
    """One line of the manifest; see weights/manifest.yaml for the meaning of each field."""

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


def cache_folder() -> Path:
    """User cache: $REENACT_ZOO_CACHE, else reenact_zoo under $XDG_CACHE_HOME or ~/.cache; it may not exist yet."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "reenact_zoo"


@cache
def manifest() -> dict[str, WeightEntry]:
    """All entries by name, in the manifest's order."""
    text = files("reenact_zoo.weights").joinpath("manifest.yaml").read_text(encoding="utf-8")
    entries = [WeightEntry(**{**item, "urls": tuple(item["urls"])}) for item in yaml.safe_load(text)]
    return {entry.name: entry for entry in entries}


class WeightStore:
    """Finds weights in a folder of the user's (searched recursively), then the user cache, then the package.

    A file is recognised by size and sha256, whatever its name; an entry without a sha256 is recognised by name.

    Args:
        folder: overrides the environment variable REENACT_ZOO_WEIGHTS, which may name several folders as PATH does.

    Raises:
        InputError: the named folder does not exist.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folders = [*_user_folders(folder), cache_folder() / "weights", _bundled_folder()]
        self._found: dict[str, Path] = {}
        self._listing: list[tuple[Path, int]] | None = None

    def known(self, name: str) -> bool:
        """Whether the manifest has an entry of this name."""
        return name in manifest()

    def describe(self, name: str) -> str:
        """What a person has to look for: name, file, size, licence."""
        entry = self.entry(name)
        size = f", {entry.size / 1e6:.1f} MB" if entry.size else ""
        return f"weights '{name}' ({entry.file}{size}, {entry.licence})"

    def entry(self, name: str) -> WeightEntry:
        """Manifest entry; InputError with the nearest name where there is none."""
        if name not in manifest():
            raise InputError(f"unknown weights '{name}'; {nearest(name, manifest())}")
        return manifest()[name]

    def path(self, name: str) -> Path:
        """File of an entry.

        Raises:
            WeightsMissing: no folder holds it (or only a file of that name with another content).
        """
        entry = self.entry(name)
        if name not in self._found or not self._found[name].is_file():
            self._found[name] = self._search(entry)
        return self._found[name]

    def available(self, name: str) -> bool:
        """Whether ``path`` would succeed."""
        try:
            self.path(name)
        except WeightsMissing:
            return False
        return True

    def missing(self, name: str) -> str | None:
        """None where the entry is at hand, else the sentence ``WeightsMissing`` would carry."""
        try:
            self.path(name)
        except WeightsMissing as error:
            return str(error)
        return None

    def sha256(self, name: str) -> str:
        """Hash of the file that is used, for records."""
        return file_sha256(self.path(name))

    def verify(self, name: str) -> bool:
        """Hash the file again, whatever is remembered; True where it is the manifest's sha256 or none is stated."""
        expected = self.entry(name).sha256
        return expected is None or _hash(self.path(name)) == expected

    def load_state_dict(self, name: str) -> dict[str, Tensor]:
        """Tensors by key; a "state_dict" level and the prefix "module." are removed.

        Tries safetensors, then ``torch.load(weights_only=True)``, then a pickle of arrays.

        Raises:
            WeightsMissing: the file is not at hand.
            InputError: the file wants to run code, or holds no tensors.
        """
        return load_tensors(self.path(name))

    def _search(self, entry: WeightEntry) -> Path:
        impostor = None
        for path, size in self._files():
            if entry.sha256 is None:
                if path.name == entry.file:
                    return path
            elif size == entry.size and file_sha256(path) == entry.sha256:
                return path
            elif path.name == entry.file:
                impostor = path
        raise WeightsMissing(_missing_text(entry, impostor))

    def _files(self) -> Iterator[tuple[Path, int]]:
        if self._listing is None:
            self._listing = [item for folder in self._folders for item in _walk(folder)]
        yield from self._listing


def _user_folders(folder: Path | None) -> list[Path]:
    named = [folder] if folder else [Path(p) for p in os.environ.get(FOLDER_VARIABLE, "").split(os.pathsep) if p]
    folders = [path.expanduser() for path in named]
    for path in folders:
        if not path.is_dir():
            where = "weights folder" if folder else FOLDER_VARIABLE
            raise InputError(f"{where} names '{path}', which is not a folder; create it or correct the name")
    return folders


def _bundled_folder() -> Path:
    return Path(str(files("reenact_zoo").joinpath("bundled", "weights")))


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file():  # a dangling link is no file
                yield path, path.stat().st_size


def _missing_text(entry: WeightEntry, impostor: Path | None) -> str:
    size = f"{entry.size:,} bytes, " if entry.size else ""
    text = f"weights '{entry.name}' are not at hand: put {entry.file} ({size}licence: {entry.licence}) "
    text += f"into the folder that {FOLDER_VARIABLE} names or into {cache_folder() / 'weights'}"
    if entry.urls:
        text += f"; source: {entry.urls[0]}"
    if impostor is not None:
        text += f"; {impostor} has that name, but its size or sha256 is another (expected {entry.sha256})"
    return text


# --- hashes ---------------------------------------------------------------------------------------------------------


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file; remembered in the user cache under path, size and modification time."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    known = _read_memo()
    if key not in known:
        known[key] = _hash(path)
        _write_memo(known)
    return known[key]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _memo_path() -> Path:
    return cache_folder() / "sha256.json"


def _read_memo() -> dict[str, str]:
    try:
        memo = json.loads(_memo_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memo if isinstance(memo, dict) else {}


def _write_memo(memo: dict[str, str]) -> None:
    target = _memo_path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as file:
            json.dump(memo, file)
        Path(file.name).replace(target)  # atomic: another process never reads half a file
    except OSError:
        pass  # a read-only home costs time, nothing else


# --- loading --------------------------------------------------------------------------------------------------------


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by key, without ever running code from it; see ``WeightStore.load_state_dict``."""
    content = _load(path)
    inner = content.get("state_dict")
    tensors = {
        key.removeprefix("module."): value
        for key, value in (inner if isinstance(inner, dict) else content).items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise InputError(f"{path.name} holds no tensors")
    return tensors


def _load(path: Path) -> dict[str, Any]:
    import pickle
    import warnings

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from reenact_zoo.weights.arrays import load_arrays

    try:
        return dict(load_file(path))
    except SafetensorError:
        pass  # another format
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pickle of arrays is announced as an unusual protocol, then refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        arrays = load_arrays(path)
        return {key: torch.from_numpy(value.copy()) for key, value in arrays.items() if _is_numeric(value)}
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds a {type(content).__name__}, not a state dict")
    return content


def _is_numeric(value: Any) -> bool:
    return hasattr(value, "dtype") and value.dtype.kind in "fiub"
