"""Records: one JSON per (protocol, method, seed) with everything needed to read its numbers, one Parquet of values.

Layout of a folder of results::

    records/<protocol>.<method>.json       the record; seeds other than 0 insert ".seed1" …
    records/<protocol>.<method>.parquet    its per-pair values, same order as the pairs of the protocol
    gallery/<key>/…                        small pictures for the report; a record lists its own
    cells/<key>/…                          what is known about single pairs, also of runs that were killed
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reenact_zoo.evaluation.integrity import check_digests, check_numbers, digests
from reenact_zoo.types import InputError

SCHEMA = 2
"""Raised whenever fields change; a record of a schema that is not in ``READABLE`` is refused."""

READABLE = (1, 2)
"""Schema 1 lacks what has a default here: seed, label, cells, digests, and the counts of lost faces."""


@dataclass
class MetricResult:
    """One cell of a table, and why it is empty where it is.

    Attributes:
        card: the metric's card as plain values, "weights": name → SHA-256 of each instrument's file, and "licences":
            name → their licence and whether it is permissive.
        mean: over the pairs that have a value; None where none has.
        std: sample standard deviation over pairs.
        low: lower end of the 95 % interval of the mean (bootstrap over persons).
        high: upper end.
        n: pairs with a value.
        missing: pairs that gave a picture but have no value (no face found, no truth).
        unavailable: what is lacking, in words, where the metric could not run at all; "" otherwise.
        not_applicable: why the metric has no meaning here, in words; "" otherwise.
        detection_rate: share of pairs, among those whose reference shows a face, in whose reenacted picture the
            metric's own instrument finds one (no picture, no face); None where the metric looks at no face.
        lost: pairs without a face in the reenacted picture although the reference shows one.
        lost_reference: pairs whose reference shows no face.
        mean_found: over the pairs in which all faces are found.
        n_found: how many those are.
        mean_penalised: over the pairs whose reference shows a face, a lost one counted as the card says; None where it
            states no penalty.
    """

    card: dict[str, Any]
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    missing: int = 0
    unavailable: str = ""
    not_applicable: str = ""
    detection_rate: float | None = None
    lost: int = 0
    lost_reference: int = 0
    mean_found: float | None = None
    n_found: int = 0
    mean_penalised: float | None = None


@dataclass
class Conditions:
    """On what and how fast; nothing here changes a metric.

    Attributes:
        versions: of Python and the libraries that compute.
        commit: of the checkout, with "+changes" where files differ from it; "" outside a checkout.
        device: what the method ran on, in words.
        threads: of PyTorch on the CPU.
        started: date and time, UTC, ISO 8601.
        seconds: wall time of all batches, also of runs that were killed and of metrics that were added later.
        method_seconds: of that, inside the method.
        annotation_seconds: of that, estimating what the method requires.
        frames_per_s: reenacted pictures per second inside the method, the first batch (warm-up) left out.
        peak_memory_mb: highest resident memory of the process so far.
        peak_device_memory_mb: highest memory on the accelerator; None on the CPU.
    """

    versions: dict[str, str]
    commit: str
    device: str
    threads: int
    started: str
    seconds: float
    method_seconds: float
    annotation_seconds: float
    frames_per_s: float | None
    peak_memory_mb: float
    peak_device_memory_mb: float | None = None


@dataclass
class GalleryPair:
    """Pictures of one pair, as paths relative to the folder of results; "" where there is none.

    ``aux`` holds what the method gave beside the reenacted picture, such as its flow in colours, by name.
    """

    pair_id: str
    source: str
    driving: str
    truth: str
    reenacted: str
    aux: dict[str, str] = field(default_factory=dict)


@dataclass
class Record:
    """What one method did on one protocol.

    Attributes:
        method: registered name, "module:Class", or "bound:NAME" for an end of the scale computed from the truth.
        config: the method's configuration.
        weights: SHA-256 of the method's checkpoint; "" without one.
        protocol: its name; ``protocol_content`` its fields, ``protocol_hash`` over them and the pairs file.
        pairs_hash: over the pairs that were run; decides whether two records may share a table.
        num_pairs: pairs that were asked for; ``num_failed`` of them gave no picture, ``failures`` says why.
        partial: fewer pairs than the protocol has (``--limit``).
        detection_rate: share of pairs in whose reenacted picture the detector finds a face; a failed pair counts as
            without; None if not measured.
        metrics: by name, in the protocol's order.
        gallery: pairs whose pictures were kept.
        seed: of random numbers; part of the record's key.
        label: name of the row where it is not the method's; part of the record's key.
        cells: key of the folder of cells: a hash of everything that decided the reenacted pictures.
        digests: field → hash of its content, so that an edit is found and named.
    """

    method: str
    config: dict[str, Any]
    weights: str
    protocol: str
    protocol_content: dict[str, Any]
    protocol_hash: str
    pairs_hash: str
    num_pairs: int
    num_failed: int
    failures: dict[str, int]
    partial: bool
    detection_rate: float | None
    metrics: dict[str, MetricResult]
    gallery: list[GalleryPair]
    conditions: Conditions
    seed: int = 0
    label: str = ""
    cells: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA
    folder: str = field(default="", metadata={"stored": False})

    @property
    def oracle(self) -> bool:
        """The method was handed the truth instead of estimates: shown, never ranked."""
        return str(self.protocol_content.get("annotations")) == "oracle"

    @property
    def stem(self) -> str:
        """File name without suffix."""
        seed = f".seed{self.seed}" if self.seed else ""
        return f"{_plain(self.protocol)}.{_plain(self.title)}{seed}"

    @property
    def title(self) -> str:
        """Name of the row."""
        return self.label or self.method

    @property
    def bound(self) -> bool:
        """The pictures were computed from the truth: an end of the scale, never ranked."""
        return self.method.startswith("bound:")

    def pair_values(self) -> pa.Table:
        """Per-pair values: pair_id, source, driving, persons, delta_yaw_deg, status, reason, one column a metric.

        Raises:
            InputError: the Parquet file is missing, unreadable, or of another length than the record says.
        """
        return _read_values(Path(self.folder) / "records" / f"{self.stem}.parquet", self.num_pairs)


def _read_values(path: Path, num_pairs: int) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}: {error}; run the benchmark again") from error
    if table.num_rows != num_pairs:
        raise InputError(f"{path} has {table.num_rows} rows, its record says num_pairs = {num_pairs}")
    return table


def _plain(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name)


def write_record(record: Record, values: Mapping[str, Any], out: Path) -> Path:
    """Write both files below ``out``, and ``record.digests``; each file appears whole or not at all, the JSON last.

    Args:
        record: goes into the JSON file.
        values: column name → list or array of per-pair values.
        out: folder of results; becomes the record's ``folder``.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    folder = out / "records"
    record.folder = str(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{record.stem}.json"
        arrays = {name: pa.array(column, from_pandas=True) for name, column in values.items()}  # NaN becomes null
        table = pa.table(arrays).replace_schema_metadata({"reenact_zoo.pairs_hash": record.pairs_hash})
        _replace(path.with_suffix(".parquet"), lambda part: pq.write_table(table, part))
        content = plain({f.name: getattr(record, f.name) for f in _stored(Record)})
        record.digests = content["digests"] = digests(content)
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        _replace(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot write records to {folder}: {error.strerror or error}") from error
    return path


def _stored(schema: Any) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(schema) if f.metadata.get("stored", True)]


def _replace(path: Path, write: typing.Callable[[Path], Any]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Plain JSON values; NaN and infinity, which JSON lacks, become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def read_record(path: Path) -> Record:
    """One record.

    Raises:
        InputError: truncated, of another schema, or a field is missing, unknown or of the wrong kind; names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read the record {path}: {error}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(content, dict) and schema not in READABLE:
        raise InputError(f"{path}: schema is {schema}, this version reads {SCHEMA}; run it again")
    record: Record = _build(Record, _completed(content) if schema == 1 else content, str(path), "record")
    record.folder = str(path.parent.parent)
    values = path.with_suffix(".parquet")
    check_numbers(content, _read_values(values, record.num_pairs) if values.is_file() else None, str(path))
    if schema != 1:
        check_digests(content, str(path))
    return record


def _completed(content: dict[str, Any]) -> dict[str, Any]:
    """A record of schema 1 with the fields that came later, at their defaults."""
    later = {f.name: f.default for f in dataclasses.fields(MetricResult) if f.name in _LATER}
    metrics = {name: {**later, **result} for name, result in dict(content.get("metrics", {})).items()}
    gallery = [{"aux": {}, **pair} for pair in content.get("gallery", [])]
    return {**content, "metrics": metrics, "gallery": gallery, "seed": 0, "label": "", "cells": "", "digests": {}}


_LATER = ("detection_rate", "lost", "lost_reference", "mean_found", "n_found", "mean_penalised")


def read_records(folder: Path) -> list[Record]:
    """All records below ``folder``, sorted by protocol and method; [] where there are none.

    Raises:
        InputError: no such folder, or a record that cannot be trusted.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; run a benchmark first")
    return [read_record(path) for path in sorted((folder / "records").glob("*.json"))]


def _build(schema: Any, value: Any, path: str, where: str) -> Any:
    """``value`` as ``schema`` (dataclass, container or scalar annotation), every field checked by name and kind."""
    origin, arguments = typing.get_origin(schema), typing.get_args(schema)
    if schema is Any:
        return value
    if dataclasses.is_dataclass(schema):
        return _build_dataclass(schema, value, path, where)
    if origin is types.UnionType:
        inner = next(kind for kind in arguments if kind is not type(None))
        return None if value is None else _build(inner, value, path, where)
    if origin is dict and isinstance(value, dict):
        return {key: _build(arguments[1], item, path, f"{where}.{key}") for key, item in value.items()}
    if origin is list and isinstance(value, list):
        return [_build(arguments[0], item, path, f"{where}[{i}]") for i, item in enumerate(value)]
    if schema is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not schema:
        name = getattr(schema, "__name__", str(schema))
        raise InputError(f"{path}: {where} must be {name}, found {type(value).__name__}; was it edited by hand?")
    return value


def _build_dataclass(schema: Any, value: Any, path: str, where: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{path}: {where} must hold fields, found {type(value).__name__}; was it edited by hand?")
    stored = _stored(schema)
    for name in {f.name for f in stored} ^ set(value):
        state = "missing" if name not in value else "unknown"
        raise InputError(f"{path}: field '{where}.{name}' is {state}; was it edited by hand?")
    hints = typing.get_type_hints(schema)
    return schema(**{f.name: _build(hints[f.name], value[f.name], path, f"{where}.{f.name}") for f in stored})
