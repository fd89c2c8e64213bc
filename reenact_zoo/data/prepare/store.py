"""The output folder while it grows: what is whole is kept, what was cut off is made again.

    unfinished/plan.json              what is being made; another plan is refused
    unfinished/clip-00000012.tar      members of a clip that is done; its row in clip-00000012.json is written after it
    shard-00000.tar                   clips 0 … n - 1 in order, once all are done; then unfinished/shard-00000.json
    index.parquet                     last of all; then "unfinished" is removed

Every file is written beside its place, flushed to the disk and renamed, so that a file under its name is whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from reenact_zoo.data.prepare.clip import Done, Row
from reenact_zoo.datasets import _shards
from reenact_zoo.types import InputError

UNFINISHED = "unfinished"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store:
    """One preparation's folder.

    Args:
        out: final folder; new, empty, or one in which the same plan was begun.
        plan: decides the bytes; a folder of another plan is refused.
        count: clips there are, by number.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any], count: int) -> None:
        self.out, self.plan, self.count = out, dict(plan), count
        self.per_shard = int(plan["spec"]["clips_per_shard"])
        self._work = out / UNFINISHED
        self.finished = self._is_finished()
        if not self.finished:
            self._begin()

    @property
    def num_shards(self) -> int:
        """Shards of the whole."""
        return -(-self.count // self.per_shard)

    def _is_finished(self) -> bool:
        if not (self.out / _shards.INDEX).exists():
            return False
        about = _shards.read_index(self.out)[1]
        self._agree({key: about.get(key) for key in self.plan})
        return True

    def _begin(self) -> None:
        plan = self._work / "plan.json"
        if plan.exists():
            self._agree(json.loads(plan.read_text(encoding="utf-8")))
            return
        if self.out.exists() and not self._is_new():
            raise InputError(f"'{self.out}' is there already and not an empty folder; name a new one")
        with self._said():
            self._work.mkdir(parents=True, exist_ok=True)
        self._write(plan, json.dumps(self.plan, indent=1, sort_keys=True).encode())

    def _is_new(self) -> bool:
        """Empty, or left by a run that was killed before its plan was written."""
        if not self.out.is_dir():
            return False
        inside = list(self.out.iterdir())
        return not inside or (inside == [self._work] and {p.name for p in self._work.iterdir()} <= {"plan.part"})

    def _agree(self, plan: Mapping[str, Any]) -> None:
        different = _differences("", plan, self.plan)
        if different:
            raise InputError(
                f"'{self.out}' was begun with other settings ({'; '.join(different[:3])}); "
                "use the same, or name a new folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes into the folder meanwhile; the lock falls with the process, however it ends."""
        with self._said():
            file = (self._work / "lock").open("wb")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(f"another process is preparing '{self.out}'; wait for it") from error
            yield

    # --- clips and shards ---

    def todo(self) -> Iterator[int]:
        """Numbers of clips that are not whole yet, in order."""
        for shard in range(self.num_shards):
            if not self._rows_file(shard).exists():
                yield from (number for number in self._numbers(shard) if self._row(number) is None)

    def keep(self, number: int, done: Done) -> None:
        """Take a clip; its shard is written when it was the last of it."""
        if done.data:
            self._write(self._clip_file(number, "tar"), done.data)
        self._write(self._clip_file(number, "json"), json.dumps(done.row, sort_keys=True).encode())
        self._close(number // self.per_shard)

    def finish(self, on_row: Callable[[Row], None], rows: list[Row], about: Mapping[str, Any]) -> None:
        """Write what is left of the shards, then the index, and remove what was unfinished.

        Args:
            on_row: told every row of the index.
            rows: of clips that never came to be prepared; they stand last.
            about: further metadata of the index.
        """
        found, shards = [], []
        for shard in range(self.num_shards):
            self._close(shard)
            stored = json.loads(self._rows_file(shard).read_text(encoding="utf-8"))
            shards.append({key: stored[key] for key in ("name", "size", "sha256")})
            found += stored["rows"]
        for row in (found := [*found, *rows]):
            on_row(row)
        failed = sum(bool(row["error"]) for row in found)
        about = {**self.plan, **about, "shards": shards, "failed": failed}
        part = self.out / f"{_shards.INDEX}.part"
        with self._said(part):
            _shards.write_index(part, found, self.plan["spec"]["annotations"], about)
            _flush(part)
            part.replace(self.out / _shards.INDEX)
        shutil.rmtree(self._work)

    def tidy(self) -> None:
        """Remove what a run left that was killed after its index was written."""
        shutil.rmtree(self._work, ignore_errors=True)

    def _close(self, shard: int) -> None:
        """Join the clips of a shard that has all of them; clips that are in a shard already are removed."""
        numbers = self._numbers(shard)
        if not self._rows_file(shard).exists():
            rows = [self._row(number) for number in numbers]
            if None in rows:
                return
            self._join(shard, {number: row for number, row in zip(numbers, rows) if row is not None})
        for number in numbers:
            for kind in ("json", "tar"):
                self._clip_file(number, kind).unlink(missing_ok=True)

    def _join(self, shard: int, rows: Mapping[int, Row]) -> None:
        path = self.out / _shards.shard_name(shard)
        part = path.with_suffix(".part")
        digest, offset = hashlib.sha256(), 0
        with self._said(part), part.open("wb") as file:

            def add(data: bytes) -> int:
                file.write(data)
                digest.update(data)
                return len(data)

            for number, row in rows.items():
                if not row["error"]:
                    row |= {"shard": path.name, "offset": offset}
                    offset += add(self._clip_file(number, "tar").read_bytes())
            offset += add(_shards.END)
            _sync(file)
        part.replace(path)
        whole = {"name": path.name, "size": offset, "sha256": digest.hexdigest(), "rows": list(rows.values())}
        self._write(self._rows_file(shard), json.dumps(whole, sort_keys=True).encode())

    def _numbers(self, shard: int) -> range:
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.count))

    def _rows_file(self, shard: int) -> Path:
        return self._work / f"{_shards.shard_name(shard)[:-4]}.json"

    def _clip_file(self, number: int, kind: str) -> Path:
        return self._work / f"clip-{number:08d}.{kind}"

    def _row(self, number: int) -> Row | None:
        """Row of a clip that is whole; None where it has to be made."""
        try:
            row: Row = json.loads(self._clip_file(number, "json").read_bytes())
            if not row["error"]:
                data = self._clip_file(number, "tar").read_bytes()
                if hashlib.sha256(data).hexdigest() != row["sha256"]:
                    return None
        except (OSError, ValueError, KeyError):
            return None
        return row

    # --- writing ---

    def _write(self, path: Path, data: bytes) -> None:
        part = path.with_suffix(".part")
        with self._said(part):
            with part.open("wb") as file:
                file.write(data)
                _sync(file)
            part.replace(path)

    @contextmanager
    def _said(self, part: Path | None = None) -> Iterator[None]:
        """What the disk refuses becomes one line; the half file goes, what is whole stays."""
        try:
            yield
        except OSError as error:
            if part is not None:
                part.unlink(missing_ok=True)
            if error.errno in _FULL:
                raise InputError(
                    f"the disk of '{self.out}' is full; what is done is kept: make room and run the same command again"
                ) from error
            raise InputError(f"cannot write to '{self.out}' ({error.strerror}); check the folder") from error


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _differences(where: str, old: Any, new: Any) -> list[str]:
    """What changed, in words: "spec.quality 90 → 95"."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [text for key in keys for text in _differences(f"{where}.{key}".strip("."), old.get(key), new.get(key))]
    if where == "clips_sha256" and old != new:
        return ["the clips of the dataset are not the same"]
    return [f"{where} {old} → {new}"] if old != new else []
