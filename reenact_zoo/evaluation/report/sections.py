"""What the page shows of one protocol, as plain values for the template: leaderboard, plots, pairs, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reenact_zoo.evaluation.records import MetricResult, Record
from reenact_zoo.evaluation.report import conditions, pairs, plots, rivals
from reenact_zoo.evaluation.report.values import YAW_LABELS, Values
from reenact_zoo.evaluation.table import BOUNDS, MISSING, ResultTable, Row, build_table
from reenact_zoo.evaluation.table.results import name_of


def section(records: Sequence[Record]) -> dict[str, Any]:
    """Everything about the protocol of ``records``."""
    table = build_table(records)
    values = [Values.of(row.record) for row in table.rows]
    pictures = pairs.gallery(table, values)
    compared = rivals.comparisons(table)
    return {
        "id": records[0].protocol,
        "version": records[0].protocol_content["version"],
        "title": records[0].protocol_content["title"],
        "facts": conditions.protocol_facts(table.rows[0].record),
        "bins": _bins(values),
        "counts": table.counts,
        "columns": [conditions.card(column) for column in table.columns],
        "rows": [_row(table, i, values[i]) for i in range(len(table.rows))],
        "notes": table.notes,
        "plots": _plots(table, values),
        "gallery": pictures,
        "truth_known": any(pair["truth"] for pair in pictures),
        "aux_names": list(dict.fromkeys(name for p in pictures for o in p["outputs"] for name in o["aux"])),
        "data": pairs.pair_values(table, values),
        "duels": rivals.duels(table, compared),
        "faces": rivals.faces(table, compared),
        "runs": conditions.runs([row.record for row in table.rows]),
    }


def _bins(values: Sequence[Values]) -> list[dict[str, Any]]:
    counts = max(values, key=lambda v: len(v.pair_ids)).counts()
    if sum(counts) == 0:
        return []
    return [{"label": label, "count": count} for label, count in zip(YAW_LABELS, counts)]


def _row(table: ResultTable, index: int, values: Values) -> dict[str, Any]:
    row = table.rows[index]
    return {
        "name": name_of(row.record),
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
    return {
        "mean": column.text(result.mean),
        "std": "" if result.std is None else f"± {column.text(result.std)}",
        "interval": "" if result.low is None else f"{column.text(result.low)} … {column.text(result.high)}",
        "found": cell.share_found.strip(" ()"),
        "rank": cell.rank,
        "sort": [result.mean, *by_yaw],
        "texts": [column.text(result.mean), *map(column.text, by_yaw)],
        "tip": f"n = {result.n}" if result.n else result.unavailable or result.not_applicable or "no value",
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
        return f"--bound-{list(BOUNDS).index(row.record.method) % plots.NUM_GREYS}"
    return f"--method-{sum(not r.bound for r in table.rows[:index]) % plots.NUM_COLOURS}"


def _plots(table: ResultTable, values: Sequence[Values]) -> list[dict[str, str]]:
    series = [plots.Series(row.name, colour(table, i), dashed=row.bound) for i, row in enumerate(table.rows)]
    counts = values[0].counts()
    made = []
    for i, column in enumerate(table.columns):
        of_pairs = [v.metrics[column.name] for v in values]
        single = all(np.isnan(one).all() for one in of_pairs)
        drawing = plots.metric_plot(
            series,
            of_pairs,
            [v.by_yaw(column.name) for v in values] if sum(counts) and not single else [],
            YAW_LABELS,
            salt=f"{table.title}{column.name}",
            means=[row.cells[i].result.mean for row in table.rows],
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
