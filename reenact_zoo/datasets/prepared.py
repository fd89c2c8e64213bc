"""Prepared data: what ``reenact-zoo data prepare`` wrote; any frame is read by itself, without its neighbours."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.consent import Removals, require_terms
from reenact_zoo.datasets import _shards
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.types import InputError

_OPEN_SHARDS = 16
_REMEMBERED_ARRAYS = 64


@dataclass
class PreparedConfig:
    """What to read.

    Attributes:
        root: the folder with index.parquet and its shards.
    """

    root: str = ""


class Prepared(ClipDataset):
    """Square frames and their annotations out of shards; terms and removals of the original dataset still hold.

    Attributes:
        about: how the data was made: dataset, settings, versions, what makes it partial.
        failed: clip → why it could not be prepared.
    """

    Config = PreparedConfig

    def __init__(self, config: PreparedConfig | None = None) -> None:
        self.config = config or PreparedConfig()
        if not self.config.root:
            raise InputError("prepared: no folder given; set 'root' to the folder with index.parquet (--root FOLDER)")
        self.root = Path(self.config.root).expanduser()
        self._table, self.about = _shards.read_index(self.root)
        self.dataset = str(self.about["dataset"])
        require_terms(self.dataset, self.root)
        self._check_shards()
        self._open: OrderedDict[str, int] = OrderedDict()
        self._arrays: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_arrays": OrderedDict()}

    def __del__(self) -> None:
        for file in self.__dict__.get("_open", {}).values():
            os.close(file)

    def _check_shards(self) -> None:
        for shard in self.about["shards"]:
            path = self.root / shard["name"]
            size = path.stat().st_size if path.is_file() else None
            if size != shard["size"]:
                state = "is missing" if size is None else f"has {size} of {shard['size']} bytes"
                raise InputError(f"prepared: '{path}' {state}; copy it again, or prepare the data again")

    @cached_property
    def failed(self) -> dict[str, str]:
        """Clip → reason."""
        names, errors = (self._table[column].to_pylist() for column in ("clip", "error"))
        return {name: error for name, error in zip(names, errors) if error}

    @property
    def clips(self) -> Sequence[Clip]:
        """In the order of the index, without the failed and the removed.

        Raises:
            InputError: none is left.
        """
        if not self._rows:
            raise InputError(f"prepared: '{self.root}' holds no clip that could be prepared and was not removed")
        return self._clips

    @cached_property
    def _clips(self) -> list[Clip]:
        return [self._clip(row) for row in self._rows.values()]

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Clip → row of the index."""
        removals = Removals.load(self.root, self.dataset)
        columns = (self._table[name].to_pylist() for name in ("clip", "identity", "people", "error"))
        return {
            name: row
            for row, (name, identity, people, error) in enumerate(zip(*columns))
            if not error and not removals.removes(name, identity, *(people or ()))
        }

    def _clip(self, row: int) -> Clip:
        cell = {name: self._table[name][row].as_py() for name in ("clip", "identity", "split", "frames", "frame_rate")}
        people, unknown = (self._table[name][row].as_py() or () for name in ("people", "unknown"))
        rate = Fraction(cell["frame_rate"]) if cell["frame_rate"] else None
        return Clip(
            cell["clip"], cell["identity"], cell["split"], cell["frames"], rate, frozenset(unknown), tuple(people)
        )

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(S, S, 3) RGB; one seek, one read, one picture decoded."""
        row = self._row(ref)
        content = self._member(row, *self._place(row, "frame", ref.index))
        try:
            return _shards.decode_frame(content)
        except ValueError as error:
            raise self._damaged(row, ref) from error

    def annotations(self, ref: FrameRef) -> dict[str, NDArray[Any]]:
        """What was prepared: landmarks (68, 2), coefficients (K,), parsing (19, S, S), matte (1, S, S)."""
        row = self._row(ref)
        return {name: self._annotation(name, row, ref) for name in self.about["spec"]["annotations"]}

    def _annotation(self, name: str, row: int, ref: FrameRef) -> NDArray[np.float32]:
        try:
            if name in _shards.PICTURES:
                content = self._member(row, *self._place(row, name, ref.index))
                return _shards.decode_picture(name, content, self.about["spec"]["size"])
            return self._array(name, row, ref.clip)[ref.index]
        except (ValueError, IndexError) as error:
            raise self._damaged(row, ref) from error

    def _array(self, name: str, row: int, clip: str) -> NDArray[np.float32]:
        key = (clip, name)
        if key not in self._arrays:
            self._arrays[key] = _shards.decode_array(self._member(row, *self._place(row, name, 0)))
            while len(self._arrays) > _REMEMBERED_ARRAYS:
                self._arrays.popitem(last=False)
        self._arrays.move_to_end(key)
        return self._arrays[key]

    def source_frame(self, ref: FrameRef) -> int:
        """The number that a frame had in the clip it was taken from."""
        return int(self._table["source_frames"][self._row(ref)][ref.index].as_py())

    def damaged(self) -> list[str]:
        """Clips whose bytes no longer have their sha256; reads everything."""
        wrong = []
        for name, row in self._rows.items():
            size, sha256 = (self._table[column][row].as_py() for column in ("size", "sha256"))
            if hashlib.sha256(self._member(row, 0, size)).hexdigest() != sha256:
                wrong.append(name)
        return wrong

    def _row(self, ref: FrameRef) -> int:
        row = self._rows.get(ref.clip)
        if row is None:
            reason = f": it failed: {self.failed[ref.clip]}" if ref.clip in self.failed else ""
            raise InputError(f"prepared: no clip '{ref.clip}' in '{self.root}'{reason}")
        frames = self._table["frames"][row].as_py()
        if not 0 <= ref.index < frames:
            raise InputError(f"prepared: clip '{ref.clip}' has the frames 0 to {frames - 1}, not {ref.index}")
        return row

    def _place(self, row: int, what: str, index: int) -> _shards.Place:
        offset, size = (self._table[f"{what}_{kind}"][row][index].as_py() for kind in ("offsets", "sizes"))
        return offset, size

    def _member(self, row: int, offset: int, size: int) -> bytes:
        shard, start = (self._table[name][row].as_py() for name in ("shard", "offset"))
        if shard not in self._open:
            try:
                self._open[shard] = os.open(self.root / shard, os.O_RDONLY)
            except OSError as error:
                raise InputError(f"prepared: cannot open '{self.root / shard}' ({error.strerror})") from error
            while len(self._open) > _OPEN_SHARDS:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(shard)
        return os.pread(self._open[shard], size, start + offset)

    def _damaged(self, row: int, ref: FrameRef) -> InputError:
        path = self.root / self._table["shard"][row].as_py()
        return InputError(f"prepared: '{path}' is damaged at {ref}; copy it again, or prepare the data again")
