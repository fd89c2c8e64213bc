"""What is known about single pairs, on disk as soon as it is known, so that a killed run goes on where it stopped.

Layout below a folder of results: ``cells/<picture key>/<writer>.jsonl``. The folder is named after everything that
decides the reenacted pictures (``evaluation.keys``), a value in it after everything that decides the value. A line is
one batch: its checksum, then JSON. A line that was cut off by a kill counts as never written, so batches are whole or
absent. Every process writes a file of its own; nothing is ever changed in place.

Pictures are not kept: 8 bits would change the values that a later metric reads from them, and floats outweigh the time
it takes to make them again.
"""

from __future__ import annotations

import base64
import json
import math
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.types import InputError

Rows = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Value:
    """What a metric says about one pair.

    Attributes:
        number: NaN where the pair has no value.
        faces: "found", "lost", "reference lost" or "both lost"; "" where the metric looks at no face.
    """

    number: float
    faces: str = ""


@dataclass
class Cell:
    """One pair.

    Attributes:
        reason: why there is no picture; "" where there is one.
        final: the reason follows from the pair and the method alone; else the pair is tried again (a file that could
            not be read, memory that ran out).
        truth: the true reenacted picture is known.
        values: by metric key.
        rows: what a ``SetMetric`` keeps of the pair, by metric key and row name.
    """

    reason: str = ""
    final: bool = True
    truth: bool = False
    values: dict[str, Value] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)

    def merge(self, later: Cell) -> None:
        """Add what a later batch found out."""
        self.reason, self.final, self.truth = later.reason, later.final, later.truth
        self.values |= later.values
        self.rows |= later.rows


@dataclass(frozen=True)
class Lap:
    """What a batch cost.

    Attributes:
        pictures: that the method made.
        method_s: seconds inside the method.
        annotation_s: seconds of estimating what the method requires.
        total_s: seconds in all, metrics included.
        memory_mb: highest resident memory of the process so far.
        device_memory_mb: highest memory on the accelerator; None on the CPU.
        warm: not the first batch of its process, which compiles kernels and fills caches.
    """

    pictures: int
    method_s: float
    annotation_s: float
    total_s: float
    memory_mb: float
    device_memory_mb: float | None
    warm: bool


class Cells:
    """The cells of one (method, protocol, seed).

    Args:
        folder: theirs alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Path | None = None

    def read(self) -> tuple[dict[str, Cell], list[Lap]]:
        """Pair key → what is known, and what it has cost so far."""
        known: dict[str, Cell] = {}
        laps = []
        for path in sorted(self._folder.glob("*.jsonl"), key=lambda p: (p.stat().st_mtime_ns, p.name)):
            for content in _whole_lines(path):
                for key, cell in content["pairs"].items():
                    known.setdefault(key, Cell()).merge(_decoded(cell))
                laps.append(Lap(**content["lap"]))
        return known, laps

    def append(self, pairs: Mapping[str, Cell], lap: Lap) -> None:
        """Keep a batch: when this returns, it survives a kill.

        Raises:
            InputError: the folder cannot be written.
        """
        content = {"pairs": {key: _encoded(cell) for key, cell in pairs.items()}, "lap": asdict(lap)}
        body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        line = b"%08x %b\n" % (zlib.crc32(body), body)
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = self._folder / f"{uuid.uuid4().hex[:12]}.jsonl"
            with self._file.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"cannot write cells to {self._folder}: {error.strerror or error}") from error


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Contents of the lines whose checksum is right."""
    with path.open("rb") as file:
        for line in file:
            check, _, body = line.rstrip(b"\n").partition(b" ")
            if check == b"%08x" % zlib.crc32(body):
                yield json.loads(body)


def _encoded(cell: Cell) -> dict[str, Any]:
    content: dict[str, Any] = {"values": {key: _value(value) for key, value in cell.values.items()}}
    if cell.rows:
        content["rows"] = {key: {n: _array(a) for n, a in rows.items()} for key, rows in cell.rows.items()}
    if cell.reason:
        content |= {"reason": cell.reason, "final": cell.final}
    if cell.truth:
        content["truth"] = True
    return content


def _value(value: Value) -> list[Any]:
    """JSON writes a float with as many digits as make it come back exactly; it has no NaN and no infinity."""
    number = value.number if math.isfinite(value.number) else str(value.number)
    return [number, value.faces] if value.faces else [number]


def _array(array: NDArray[Any]) -> list[Any]:
    return [array.dtype.str, list(array.shape), base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()]


def _decoded(content: dict[str, Any]) -> Cell:
    return Cell(
        reason=content.get("reason", ""),
        final=content.get("final", True),
        truth=content.get("truth", False),
        values={key: Value(float(v[0]), *v[1:]) for key, v in content["values"].items()},
        rows={key: {n: _from_text(*a) for n, a in rows.items()} for key, rows in content.get("rows", {}).items()},
    )


def _from_text(kind: str, shape: list[int], text: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), np.dtype(kind)).reshape(shape).copy()
