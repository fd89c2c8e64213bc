"""Single pairs on the page: the values of all of them, and the pictures of those that the runs kept."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reenact_zoo.evaluation.records import GalleryPair
from reenact_zoo.evaluation.report.values import Floats, Values
from reenact_zoo.evaluation.table import MISSING, ResultTable
from reenact_zoo.evaluation.table.results import name_of
from reenact_zoo.types import InputError

_SIGNIFICANT = 6  # digits of a value in the page; the Parquet file has them all


def pair_values(table: ResultTable, values: Sequence[Values]) -> dict[str, Any]:
    """Everything by which the page's script orders, filters and writes pairs, ready for JSON.

    "values"[metric][row][pair] is None where there is no value; "failed"[row] are the pairs without a picture. Rows are
    those of the table; a row that was run on fewer pairs has no values on the others.
    """
    longest = max(values, key=lambda v: len(v.pair_ids))
    ids = longest.pair_ids
    columns = [c for c in table.columns if any(not np.isnan(v.metrics[c.name]).all() for v in values)]
    return {
        "pairs": ids,
        "yaw": [_number(yaw) for yaw in longest.delta_yaw_deg],
        "bins": [0 if (b := longest.bin_of(pair_id)) is None else b + 1 for pair_id in ids],
        "rows": [name_of(row.record) for row in table.rows],
        "competes": [not row.bound for row in table.rows],
        "metrics": [
            {
                "name": column.name,
                "head": column.head,
                "digits": column.card["digits"],
                "better": {True: 1, False: -1, None: 0}[column.card["higher_is_better"]],
            }
            for column in columns
        ],
        "values": [[_placed(v.metrics[column.name], v, ids) for v in values] for column in columns],
        "failed": [[i for i, pair_id in enumerate(ids) if _reason(v, pair_id)] for v in values],
    }


def _placed(of_pairs: Floats, values: Values, ids: Sequence[str]) -> list[float | None]:
    return [_number(of_pairs[values.places[i]]) if i in values.places else None for i in ids]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{_SIGNIFICANT}g}")


def _reason(values: Values, pair_id: str) -> str:
    return values.reasons[values.places[pair_id]] if pair_id in values.places else ""


def gallery(table: ResultTable, values: Sequence[Values]) -> list[dict[str, Any]]:
    """The pairs of which every row kept pictures, with the pictures inside."""
    by_row = [{pair.pair_id: pair for pair in row.record.gallery} for row in table.rows]
    longest = max(values, key=lambda v: len(v.pair_ids))
    folder = Path(table.rows[0].record.folder)
    shown = []
    for pair in table.rows[0].record.gallery:
        if not all(pair.pair_id in pairs for pairs in by_row):
            continue  # a partial run beside a whole one keeps other pairs
        yaw = values[0].delta_yaw_deg[values[0].places[pair.pair_id]]
        shown.append(
            {
                "id": pair.pair_id,
                "index": longest.places[pair.pair_id],
                "bin": values[0].bin_of(pair.pair_id),
                "yaw": MISSING if np.isnan(yaw) else f"{yaw:.0f}°",
                "source": _embedded(folder, pair.source),
                "driving": _embedded(folder, pair.driving),
                "truth": _embedded(folder, pair.truth),
                "outputs": [
                    _output(folder, pairs[pair.pair_id], _reason(v, pair.pair_id))
                    for pairs, v in zip(by_row, values, strict=True)
                ],
            }
        )
    return shown


def _output(folder: Path, pair: GalleryPair, reason: str) -> dict[str, Any]:
    return {
        "picture": _embedded(folder, pair.reenacted),
        "reason": reason,
        "aux": {name: _embedded(folder, path) for name, path in pair.aux.items()},
    }


def _embedded(folder: Path, picture: str) -> str:
    """Picture as a data URI, so that the page is one file; "" where there is none."""
    if not picture:
        return ""
    try:
        data = (folder / picture).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the picture {folder / picture}; run the benchmark again") from error
    kind = "png" if picture.endswith(".png") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
