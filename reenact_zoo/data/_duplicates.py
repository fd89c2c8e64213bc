"""Clips with equal content, whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from reenact_zoo.datasets._files import entries
from reenact_zoo.video.images import FRAME_SUFFIXES
from reenact_zoo.weights.store import file_sha256


def copies_among(paths: Sequence[Path]) -> dict[Path, str]:
    """Clips with the content of an earlier one; only what agrees in length is read."""
    groups: dict[tuple[int, int], list[Path]] = {}
    for path in paths:
        groups.setdefault(_extent(path), []).append(path)
    first: dict[str, Path] = {}
    found = {}
    for group in groups.values():
        for path in group if len(group) > 1 else ():
            original = first.setdefault(_digest(path), path)
            if original != path:
                found[path] = f"'{path}', equal to '{original}'"
    return found


def _extent(path: Path) -> tuple[int, int]:
    """(bytes, frames): of a folder, the bytes of its first frame and the number of frames."""
    if path.is_dir():
        frames = _frames(path)
        return frames[0].stat().st_size, len(frames)
    return path.stat().st_size, 0


def _digest(path: Path) -> str:
    if not path.is_dir():
        return file_sha256(path)
    return hashlib.sha256("".join(file_sha256(frame) for frame in _frames(path)).encode()).hexdigest()


def _frames(folder: Path) -> list[Path]:
    return [path for path in entries(folder) if path.suffix.lower() in FRAME_SUFFIXES]
