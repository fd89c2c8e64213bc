"""Looking into many files: how many frames, how fast, how large; remembered until the file changes.

VoxCeleb has some 150,000 clips; opening each takes milliseconds, looking up what was seen the last time microseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from reenact_zoo.types import InputError
from reenact_zoo.video.read import RandomAccessVideo
from reenact_zoo.weights.store import cache_folder

_THREADS = 8


@dataclass(frozen=True)
class Probe:
    """What a look at a video, a frame folder or a still image tells.

    Attributes:
        num_frames: at least 1.
        rate: frames per second as "30000/1001"; "" for frame folders and stills.
        even: False where frames do not lie on an even grid in time.
        audio: whether there is sound.
        width, height: as handed out.
    """

    num_frames: int
    rate: str
    even: bool
    audio: bool
    width: int
    height: int

    @property
    def frame_rate(self) -> Fraction | None:
        """``rate`` as a number; None without one."""
        return Fraction(self.rate) if self.rate else None


def probe_all(paths: Sequence[Path]) -> list[Probe | InputError]:
    """What each path holds, or why it cannot be read, in the same order."""
    keys = [_key(path) for path in paths]
    results: list[Probe | InputError | None] = list(_remembered(keys))
    new = [i for i, result in enumerate(results) if result is None]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:  # FFmpeg works outside the interpreter's lock
        found = list(pool.map(_probe, [paths[i] for i in new]))
    for i, result in zip(new, found):
        results[i] = result
    _remember({keys[i]: result for i, result in zip(new, found) if keys[i] and isinstance(result, Probe)})
    return [result for result in results if result is not None]


def _probe(path: Path) -> Probe | InputError:
    try:
        with RandomAccessVideo(path, cache_frames=1) as video:
            info = video.info
            rate = str(info.frame_rate) if info.kind == "video" else ""
            return Probe(len(video), rate, not info.variable_rate, info.has_audio, info.width, info.height)
    except InputError as error:
        return error


def _key(path: Path) -> str:
    """Names one state of a file; "" for folders, whose files may change behind their back, and for what is missing."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{path.absolute()}\x1f{state.st_size}\x1f{state.st_mtime_ns}" if path.is_file() else ""


def _remembered(keys: Sequence[str]) -> list[Probe | None]:
    with contextlib.suppress(sqlite3.Error, OSError, ValueError, TypeError), _database() as rows:
        query = "SELECT probe FROM probes_1 WHERE key = ?"
        stored = [rows.execute(query, (key,)).fetchone() if key else None for key in keys]
        return [Probe(**json.loads(row[0])) if row else None for row in stored]
    return [None] * len(keys)


def _remember(probes: dict[str, Probe]) -> None:
    with contextlib.suppress(sqlite3.Error, OSError), _database() as rows, rows:  # no cache is no harm
        rows.executemany(
            "INSERT OR REPLACE INTO probes_1 VALUES (?, ?)",
            [(key, json.dumps(asdict(probe))) for key, probe in probes.items()],
        )


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "probes.sqlite", timeout=5)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS probes_1 (key TEXT PRIMARY KEY, probe TEXT)")
        yield connection
