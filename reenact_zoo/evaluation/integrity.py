"""Whether a record says what was measured: its fields against their hashes, its numbers against the per-pair values."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reenact_zoo.types import InputError

_RELATIVE = 1e-9  # sums of the same float64 in another order, with room to spare


def digests(content: Mapping[str, Any]) -> dict[str, str]:
    """Field → hash of its plain value; metrics one by one, so that an edit is named closely."""
    return {name: _hash(value) for name, value in _parts(content)}


def _parts(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if name == "metrics":
            yield "metrics", list(value)
            yield from ((f"metrics.{metric}", result) for metric, result in value.items())
        elif name != "digests":
            yield name, value


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_digests(content: Mapping[str, Any], where: str) -> None:
    """Refuse a record with a field that is not what was written.

    Raises:
        InputError: names the field.
    """
    held = content["digests"]
    for name, value in digests(content).items():
        if held.get(name) != value:
            raise InputError(
                f"{where}: record.{name} is not what was written (its digest differs); was it edited by hand? Run it "
                "again"
            )


def check_numbers(content: Mapping[str, Any], table: pa.Table | None, where: str) -> None:
    """Refuse numbers that contradict each other or the per-pair values (where those are at hand).

    Raises:
        InputError: names the field.
    """
    pairs = content["num_pairs"]
    _between(content["num_failed"], 0, pairs, f"{where}: record.num_failed")
    if sum(content["failures"].values()) != content["num_failed"]:
        raise InputError(f"{where}: record.failures do not add up to num_failed = {content['num_failed']}")
    if content["detection_rate"] is not None:
        _between(content["detection_rate"], 0.0, 1.0, f"{where}: record.detection_rate")
    for name, result in content["metrics"].items():
        field = f"{where}: record.metrics.{name}"
        _between(result["n"], 0, pairs, f"{field}.n")
        if result["low"] is not None and result["high"] is not None and result["low"] > result["high"]:
            raise InputError(f"{field}.low is above high; was it edited by hand?")
        column = f"metric:{name}"
        if table is not None and column in table.column_names:
            _check_column(result, table.column(column).to_numpy(zero_copy_only=False), field)


def _check_column(result: Mapping[str, Any], values: NDArray[Any], field: str) -> None:
    present = values[~np.isnan(values)].astype(np.float64)
    if result["n"] != len(present):
        raise InputError(f"{field}.n is {result['n']}, but {len(present)} pairs have a value; was it edited by hand?")
    if not len(present):
        return
    mean = float(present.mean())
    if result["mean"] is None or not math.isclose(result["mean"], mean, rel_tol=_RELATIVE, abs_tol=1e-12):
        raise InputError(f"{field}.mean is {result['mean']}, its pairs say {mean!r}; was it edited by hand?")
    std = float(present.std(ddof=1)) if len(present) > 1 else None
    held = result["std"]
    if (held is None) != (std is None) or (std is not None and not math.isclose(held, std, rel_tol=1e-6, abs_tol=1e-9)):
        raise InputError(f"{field}.std is {held}, its pairs say {std!r}; was it edited by hand?")


def _between(value: float, low: float, high: float, field: str) -> None:
    if not low <= value <= high:
        raise InputError(f"{field} is {value}, which is not between {low} and {high}; was it edited by hand?")
