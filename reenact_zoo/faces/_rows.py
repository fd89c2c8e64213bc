"""Measured rows by image and signature: the latest in memory, all of them in one SQLite file where a folder is given.

One file in write-ahead mode serves any number of processes, and 100,000 images do not become 100,000 files. A cache may
never be the reason that a run stops: whatever goes wrong with the file costs time only.
"""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[Any]  # float32 numbers, or the uint8 of a picture (empty where there is no face)

FILE = "measured.sqlite"
MEMORY_BYTES = 64 * 2**20
DISK_BYTES = 2 * 2**30  # rows of about three million images; the oldest quarter goes when it is reached
PAGE_BYTES = 4096
SCHEMA = 1
WAIT_S = 20.0  # for a lock; a transaction takes milliseconds, a clean-up seconds
_LOOKED_UP_AT_ONCE = 500  # SQLite takes 999 parameters or more
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


class Rows:
    """Rows of numbers by (image, signature).

    Args:
        folder: where the file lies; None: memory only.
        disk_bytes: bound of the file.
    """

    def __init__(self, folder: Path | None, disk_bytes: int = DISK_BYTES) -> None:
        self._memory: OrderedDict[tuple[str, str], Row] = OrderedDict()
        self._memory_bytes = 0
        self._disk = _Disk(folder / FILE, disk_bytes) if folder is not None else None

    def get(self, keys: Iterable[str], signature: str) -> dict[str, Row]:
        """Those of the images that were measured."""
        found, unknown = {}, []
        for key in dict.fromkeys(keys):
            if (row := self._memory.get((key, signature))) is None:
                unknown.append(key)
            else:
                self._memory.move_to_end((key, signature))
                found[key] = row
        if unknown and self._disk is not None:
            stored = self._disk.get(unknown, signature)
            self._remember(stored, signature)
            found |= stored
        return found

    def put(self, rows: Mapping[str, Row], signature: str) -> None:
        """Keep rows."""
        self._remember(rows, signature)
        if self._disk is not None:
            self._disk.put(rows, signature)

    def _remember(self, rows: Mapping[str, Row], signature: str) -> None:
        for key, row in rows.items():
            if (before := self._memory.pop((key, signature), None)) is not None:
                self._memory_bytes -= _weight(before)
            self._memory[key, signature] = row
            self._memory_bytes += _weight(row)
        while self._memory_bytes > MEMORY_BYTES and len(self._memory) > 1:
            self._memory_bytes -= _weight(self._memory.popitem(last=False)[1])


def _weight(row: Row) -> int:
    return row.nbytes + 300  # of keys and objects


class _Disk:
    """The file. Every process opens it for itself, also a forked one."""

    def __init__(self, path: Path, bound: int) -> None:
        self._path, self._bound = path, bound
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._given_up = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}  # a worker process opens it again

    def get(self, keys: list[str], signature: str) -> dict[str, Row]:
        """Those of the rows that are there and whole."""
        found: dict[str, Row] = {}
        for first in range(0, len(keys), _LOOKED_UP_AT_ONCE):
            names = {_name(key, signature): key for key in keys[first : first + _LOOKED_UP_AT_ONCE]}
            marks = ",".join("?" * len(names))
            query = f"SELECT name, value FROM rows WHERE name IN ({marks})"  # question marks only
            for name, value in self._ask(query, list(names)):
                if (row := _decoded(value)) is not None:
                    found[names[name]] = row
        return found

    def put(self, rows: Mapping[str, Row], signature: str) -> None:
        """Keep rows; what does not fit makes the oldest quarter go."""
        pairs = [(_name(key, signature), _encoded(row)) for key, row in rows.items()]
        for _ in range(2):
            try:
                self._write("INSERT OR REPLACE INTO rows (name, value) VALUES (?, ?)", pairs)
                return
            except sqlite3.Error as error:
                if _code(error) != sqlite3.SQLITE_FULL:
                    self._recover(error)
                    return
            try:
                self._write("DELETE FROM rows WHERE id <= (SELECT min(id) + (max(id) - min(id)) / 4 FROM rows)", [()])
            except sqlite3.Error as error:  # the disk itself is full
                self._recover(error)
                return

    def _write(self, statement: str, parameters: list[tuple[Any, ...]]) -> None:
        connection = self._open()
        if connection is not None:
            with connection:  # one transaction
                connection.executemany(statement, parameters)

    def _ask(self, query: str, names: list[bytes]) -> list[tuple[bytes, bytes]]:
        try:
            connection = self._open()
            return [] if connection is None else connection.execute(query, names).fetchall()
        except sqlite3.Error as error:
            self._recover(error)
            return []

    def _open(self) -> sqlite3.Connection | None:
        """The connection of this process; None where the folder cannot be used."""
        if self._process != os.getpid():
            self._connection, self._process, self._given_up = None, os.getpid(), False
        if self._connection is None and not self._given_up:
            try:
                self._connection = self._connected()
            except (sqlite3.Error, OSError) as error:
                self._recover(error)
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        """A connection; patient, because SQLite does not wait while another process turns the write-ahead mode on."""
        for _ in range(100):
            try:
                return self._connected_at_once()
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY:
                    raise
                time.sleep(0.02)
        return self._connected_at_once()

    def _connected_at_once(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=WAIT_S, check_same_thread=False)
        try:
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", f"journal_size_limit = {16 * 2**20}"):
                connection.execute(f"PRAGMA {pragma}")
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, SCHEMA):
                raise _OtherSchema("another schema")
            connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, name BLOB UNIQUE, value BLOB)")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute(f"PRAGMA max_page_count = {max(16, self._bound // PAGE_BYTES)}")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _recover(self, error: BaseException) -> None:
        """A damaged file is made anew; lasting trouble (read-only, disk full) is met by doing without the file."""
        self.close()
        if isinstance(error, _OtherSchema) or _code(error) in _DAMAGED:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            try:
                self._connection, self._given_up = self._connected(), False
            except (sqlite3.Error, OSError):
                self._given_up = True
        else:
            self._given_up = _code(error) not in _BUSY

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None


class _OtherSchema(sqlite3.Error):
    """The file was made by another version."""


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF  # extended codes keep the kind in their low byte


def _name(key: str, signature: str) -> bytes:
    return bytes.fromhex(key)[:16] + signature.encode()


def _encoded(row: Row) -> bytes:
    """Kind, CRC of the rest, numbers; pictures are compressed, because most of their pixels are alike."""
    kind, body = (b"p", zlib.compress(row.tobytes(), 1)) if row.dtype == np.uint8 else (b"n", row.tobytes())
    return kind + zlib.crc32(body).to_bytes(4, "little") + body


def _decoded(value: bytes) -> Row | None:
    """The row, or None where the bytes are not what was written."""
    kind, check, body = value[:1], value[1:5], value[5:]
    if kind not in (b"p", b"n") or zlib.crc32(body).to_bytes(4, "little") != check:
        return None
    return np.frombuffer(zlib.decompress(body), np.uint8) if kind == b"p" else np.frombuffer(body, np.float32)
