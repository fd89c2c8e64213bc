"""Where the user's files lie, and what is remembered about them: hashes of files read, and of files trusted once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from reenact_zoo.types import InputError

FOLDER_VARIABLE = "REENACT_ZOO_WEIGHTS"
CACHE_VARIABLE = "REENACT_ZOO_CACHE"


def cache_folder() -> Path:
    """User cache: $REENACT_ZOO_CACHE, else reenact_zoo under $XDG_CACHE_HOME or ~/.cache; it may not exist yet."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "reenact_zoo"


def own_folder() -> Path:
    """Where ``weights fetch`` and ``weights import`` put files: the user's own folder; it may not exist yet."""
    return cache_folder() / "weights"


def named_folders(folder: Path | None) -> list[Path]:
    """``folder``, else those that REENACT_ZOO_WEIGHTS names; InputError where one does not exist."""
    named = [folder] if folder else [Path(p) for p in os.environ.get(FOLDER_VARIABLE, "").split(os.pathsep) if p]
    folders = [path.expanduser() for path in named]
    for path in folders:
        if not path.is_dir():
            where = "weights folder" if folder else FOLDER_VARIABLE
            raise InputError(f"{where} names '{path}', which is not a folder; create it or correct the name")
    return folders


# --- hashes ---------------------------------------------------------------------------------------------------------


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file; remembered in the user cache under path, size and modification time."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    known = _read_table("sha256.json")
    if key not in known:
        known[key] = read_sha256(path)
        _write_table("sha256.json", known)
    return known[key]


def read_sha256(path: Path) -> str:
    """Hex sha256 of a file, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def trusted_sha256(name: str) -> str | None:
    """Hash that the file of an entry had when it was fetched or imported; None where it never was."""
    return _read_table("trusted_sha256.json").get(name)


def trust(name: str, sha256: str) -> None:
    """Remember the hash of an entry for which the manifest states none: trust on first use."""
    _write_table("trusted_sha256.json", _read_table("trusted_sha256.json") | {name: sha256})


def _read_table(name: str) -> dict[str, str]:
    try:
        table = json.loads((cache_folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def _write_table(name: str, table: dict[str, str]) -> None:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
            json.dump(table, file)
        Path(file.name).replace(folder / name)  # atomic: another process never reads half a file
    except OSError:
        pass  # a read-only home costs time, nothing else
