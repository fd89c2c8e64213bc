"""What the page shows of one protocol, as plain values for the template: leaderboard, plots, gallery, conditions."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.evaluation.records import MetricResult, Record
from reenact_zoo.evaluation.report import plots
from reenact_zoo.evaluation.table import BOUNDS, MISSING, Column, ResultTable, Row, build_table
from reenact_zoo.types import InputError

YAW_EDGES_DEG = (0.0, 15.0, 30.0, np.inf)
YAW_LABELS = ("0–15°", "15–30°", "> 30°")


@dataclass(frozen=True)
class Values:
    """Per-pair values of one record."""

    pair_ids: list[str]
    delta_yaw_deg: NDArray[np.float64]
    metrics: dict[str, NDArray[np.float64]]
    reasons: dict[str, str]

    @classmethod
    def of(cls, record: Record) -> Values:
        """Read the record's Parquet file."""
        table = record.pair_values().to_pydict()
        metrics = {name: _floats(table.get(f"metric:{name}", [np.nan] * record.num_pairs)) for name in record.metrics}
        reasons = dict(zip(table["pair_id"], table["reason"]))
        return cls(table["pair_id"], _floats(table["delta_yaw_deg"]), metrics, reasons)

    def by_yaw(self, name: str) -> list[float]:
        """Mean of a metric in each bin of |delta yaw|; NaN in an empty one."""
        return [_mean(self.metrics[name][members]) for members in self._members()]

    def counts(self) -> list[int]:
        """Pairs in each bin of |delta yaw|."""
        return [int(members.sum()) for members in self._members()]

    def _members(self) -> list[NDArray[np.bool_]]:
        yaw = self.delta_yaw_deg
        return [(yaw >= low) & (yaw < high) for low, high in pairwise(YAW_EDGES_DEG)]

    def value(self, name: str, pair_id: str) -> float | None:
        """Of one pair; None where it has none."""
        value = float(self.metrics[name][self.pair_ids.index(pair_id)])
        return None if np.isnan(value) else value

    def bin_of(self, pair_id: str) -> int | None:
        """Index into ``YAW_LABELS``; None where the turn is unknown."""
        yaw = self.delta_yaw_deg[self.pair_ids.index(pair_id)]
        return None if np.isnan(yaw) else int(np.searchsorted(YAW_EDGES_DEG, yaw, side="right")) - 1


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def section(records: Sequence[Record]) -> dict[str, Any]:
    """Everything about the protocol of ``records``."""
    table = build_table(records)
    values = [Values.of(row.record) for row in table.rows]
    gallery = _gallery(table, values)
    return {
        "id": records[0].protocol,
        "version": records[0].protocol_content["version"],
        "title": records[0].protocol_content["title"],
        "facts": _facts(table.rows[0].record),
        "bins": _bins(values),
        "counts": table.counts,
        "columns": [_column(column) for column in table.columns],
        "rows": [_row(table, i, values[i]) for i in range(len(table.rows))],
        "notes": table.notes,
        "plots": _plots(table, values),
        "gallery": gallery,
        "truth_known": any(pair["truth"] for pair in gallery),
        "gallery_metrics": [{"name": c.name, "head": c.head} for c in table.columns],
        "conditions": [_conditions(row.record) for row in table.rows],
    }


def _facts(record: Record) -> list[tuple[str, str]]:
    content = record.protocol_content
    crop = content["crop"]["policy"]
    return [
        ("setting", f"{content['setting']}-reenactment"),
        ("motion", content["motion"]),
        ("data", content["dataset"]["name"]),
        ("pictures", f"{content['resolution']} × {content['resolution']} px"),
        ("crop", "whole frame" if crop == "none" else f"around the {crop}"),
        ("annotations", "estimated from pixels" if content["annotations"] == "estimated" else "oracle: the truth"),
        ("pairs", f"{record.num_pairs}{' (partial run)' if record.partial else ''}"),
        ("hash", record.protocol_hash[:10]),
    ]


def _bins(values: Sequence[Values]) -> list[dict[str, Any]]:
    counts = values[0].counts()
    if sum(counts) == 0:
        return []
    return [{"label": label, "count": count} for label, count in zip(YAW_LABELS, counts)]


def _column(column: Column) -> dict[str, Any]:
    card = column.card
    return {
        "name": column.name,
        "title": card["title"],
        "unit": card["unit"],
        "arrow": column.arrow,
        "better": {True: "higher", False: "lower", None: ""}[card["higher_is_better"]],
        "card": f"{card['name']}.v{card['version']}",
        "compares": card["compares"],
        "face_missing": card["face_missing"],
        "reference": card["reference"],
        "weights": {name: sha[:12] for name, sha in card.get("weights", {}).items()},
    }


def _row(table: ResultTable, index: int, values: Values) -> dict[str, Any]:
    row = table.rows[index]
    return {
        "method": row.record.method,
        "colour": colour(table, index),
        "note": BOUNDS.get(row.record.method, {}).get(row.record.protocol_content["setting"], ""),
        "marks": [mark for mark in row.marks if mark != "bound"],
        "bound": row.bound,
        "counts": _counts(table, row),
        "cells": [_cell(table, row, i, values) for i in range(len(table.columns))],
    }


def _counts(table: ResultTable, row: Row) -> list[dict[str, Any]]:
    record = row.record
    sort = {"pairs": record.num_pairs, "failed": record.num_failed, "face found": record.detection_rate}
    rate = record.conditions.frames_per_s
    speed = {"text": MISSING if rate is None else f"{rate:,.0f}", "sort": rate, "warn": False}
    shown = [{"text": row.counts[n], "sort": sort[n], "warn": n == "failed" and sort[n] != 0} for n in table.counts]
    return [*shown, speed]


def _cell(table: ResultTable, row: Row, i: int, values: Values) -> dict[str, Any]:
    column, cell = table.columns[i], row.cells[i]
    by_yaw = [None if np.isnan(v) else v for v in values.by_yaw(column.name)]
    result = cell.result
    interval = "" if result.low is None else f"95 % interval {column.text(result.low)} to {column.text(result.high)}, "
    return {
        "mean": column.text(result.mean),
        "std": "" if result.std is None else f"± {column.text(result.std)}",
        "rank": cell.rank,
        "sort": [result.mean, *by_yaw],
        "texts": [column.text(result.mean), *map(column.text, by_yaw)],
        "tip": f"{interval}n = {result.n}" if result.n else result.unavailable or result.not_applicable or "no value",
        "dot": _dot(table, i, result),
    }


def _dot(table: ResultTable, i: int, result: MetricResult) -> dict[str, float] | None:
    """Place of mean and interval between the column's ends, in [0, 1], larger is better; None where all are equal."""
    results = [row.cells[i].result for row in table.rows]
    ends = [v for r in results for v in (r.mean, r.low, r.high) if v is not None]
    if result.mean is None or min(ends) == max(ends):
        return None
    better = table.columns[i].card["higher_is_better"] is not False

    def place(value: float) -> float:
        share = (value - min(ends)) / (max(ends) - min(ends))
        return round(share if better else 1 - share, 4)

    line = sorted(place(result.mean if end is None else end) for end in (result.low, result.high))
    return {"at": place(result.mean), "from": line[0], "to": line[1]}


def colour(table: ResultTable, index: int) -> str:
    """CSS variable of a row's colour: greys for bounds, a palette for methods."""
    row = table.rows[index]
    if row.record.method in BOUNDS:
        return f"--bound-{list(BOUNDS).index(row.record.method) % 2}"
    return f"--method-{sum(not r.bound for r in table.rows[:index]) % plots.NUM_COLOURS}"


def _plots(table: ResultTable, values: Sequence[Values]) -> list[dict[str, str]]:
    series = [plots.Series(row.name, colour(table, i), dashed=row.bound) for i, row in enumerate(table.rows)]
    counts = values[0].counts()
    made = []
    for column in table.columns:
        drawing = plots.metric_plot(
            series,
            [v.metrics[column.name] for v in values],
            [v.by_yaw(column.name) for v in values] if sum(counts) else [],
            YAW_LABELS,
            salt=f"{table.title}{column.name}",
        )
        better = {True: "higher is better", False: "lower is better", None: "no direction"}
        made.append(
            {
                "head": column.title,
                "better": better[column.card["higher_is_better"]],
                "arrow": column.arrow,
                "compares": column.card["compares"],
                "svg": drawing,
            }
        )
    return made


def _gallery(table: ResultTable, values: Sequence[Values]) -> list[dict[str, Any]]:
    by_row = [{pair.pair_id: pair for pair in row.record.gallery} for row in table.rows]
    folder = Path(table.rows[0].record.folder)
    shown = []
    for pair in table.rows[0].record.gallery:
        if not all(pair.pair_id in pairs for pairs in by_row):
            continue  # a partial run beside a whole one keeps other pairs
        yaw = values[0].delta_yaw_deg[values[0].pair_ids.index(pair.pair_id)]
        outputs = [
            {
                "picture": _embedded(folder, by_row[i][pair.pair_id].reenacted),
                "reason": values[i].reasons[pair.pair_id],
                "values": {c.name: c.text(values[i].value(c.name, pair.pair_id)) for c in table.columns},
            }
            for i in range(len(table.rows))
        ]
        shown.append(
            {
                "id": pair.pair_id,
                "bin": values[0].bin_of(pair.pair_id),
                "yaw": MISSING if np.isnan(yaw) else f"{yaw:.0f}°",
                "source": _embedded(folder, pair.source),
                "driving": _embedded(folder, pair.driving),
                "truth": _embedded(folder, pair.truth),
                "outputs": outputs,
            }
        )
    return shown


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


def _conditions(record: Record) -> dict[str, Any]:
    c = record.conditions
    memory = f"{c.peak_memory_mb:,.0f} MB"
    if c.peak_device_memory_mb is not None:
        memory += f" + {c.peak_device_memory_mb:,.0f} MB on the device"
    return {
        "method": record.method,
        "configuration": ", ".join(f"{k}={v}" for k, v in record.config.items()) or MISSING,
        "weights": record.weights[:12] or "none needed",
        "device": f"{c.device}, {c.threads} thread{'s' if c.threads != 1 else ''}",
        "speed": MISSING if c.frames_per_s is None else f"{c.frames_per_s:,.1f} pictures/s",
        "time": f"{c.seconds:.1f} s, of it method {c.method_seconds:.1f} s, annotations {c.annotation_seconds:.1f} s",
        "memory": memory,
        "made": c.started.replace("T", " ").replace("+00:00", " UTC"),
        "commit": c.commit[:12] + ("+changes" if c.commit.endswith("+changes") else "") or MISSING,
        "versions": ", ".join(f"{name} {number}" for name, number in c.versions.items()),
    }
