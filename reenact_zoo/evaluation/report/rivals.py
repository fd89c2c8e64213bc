"""Methods against each other on the page: paired differences as a matrix a metric, and scores with faces lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reenact_zoo.evaluation.comparison import Comparison, Duel, compare, title_of
from reenact_zoo.evaluation.table import BOUNDS, MISSING, Column, ResultTable, Row
from reenact_zoo.evaluation.table.results import name_of

LEVEL = 0.05
"""Corrected p-values below it count as a difference."""


def comparisons(table: ResultTable) -> dict[str, Comparison]:
    """Metric → comparison of the table's rows; of those over all pairs where some are partial."""
    records = [row.record for row in table.rows]
    alike = len({record.pairs_hash for record in records}) == 1
    return compare(records if alike else [r for r in records if not r.partial], list(BOUNDS))


def duels(table: ResultTable, found: Mapping[str, Comparison]) -> list[dict[str, Any]]:
    """One matrix for each metric under which two rows or more compete; a cell is its row minus its column."""
    names = {title_of(row.record): name_of(row.record) for row in table.rows}
    return [
        {"name": column.name, "head": column.head, **_matrix(column, found[column.name].duels, names)}
        for column in table.columns
        if column.name in found and found[column.name].duels
    ]


def _matrix(column: Column, of_metric: Sequence[Duel], names: Mapping[str, str]) -> dict[str, Any]:
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for duel in of_metric:
        cells[duel.first, duel.second] = matrix_cell(column, duel, turned=False)
        cells[duel.second, duel.first] = matrix_cell(column, duel, turned=True)
    titles = [title for title in names if any(title in pair for pair in cells)]
    return {
        "titles": [names[title] for title in titles],
        "rows": [{"title": names[a], "cells": [cells.get((a, b)) for b in titles]} for a in titles],
    }


def matrix_cell(column: Column, duel: Duel, *, turned: bool) -> dict[str, str]:
    """Texts of one cell; "verdict" is better, worse, differs, open (no difference shown) or untested."""
    d = duel.difference
    if d.mean is None:
        return {"mean": MISSING, "interval": "", "p": "no pair in common", "wins": "", "verdict": "untested"}
    sign = -1.0 if turned else 1.0
    mean, ends = sign * d.mean, sorted(sign * end for end in (d.low, d.high) if end is not None)
    digits = column.card["digits"] + 1  # differences are smaller than values
    wins = d.win_rate if d.win_rate is None or not turned else 1 - d.win_rate
    return {
        "mean": f"{mean:+.{digits}f}",
        "interval": f"[{ends[0]:+.{digits}f}, {ends[1]:+.{digits}f}]" if ends else "",
        "p": "no test: too few persons" if duel.p_holm is None else f"p {_p_text(duel.p_holm)}",
        "wins": "" if wins is None else f"better on {100 * wins:.0f} % of {d.n}",
        "verdict": _verdict(column, mean, duel.p_holm),
    }


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _verdict(column: Column, mean: float, p: float | None) -> str:
    better = column.card["higher_is_better"]
    if p is None:
        return "untested"
    if p >= LEVEL or mean == 0:
        return "open"
    if better is None:
        return "differs"
    return "better" if (mean > 0) == better else "worse"


def faces(table: ResultTable, found: Mapping[str, Comparison]) -> list[dict[str, Any]]:
    """One entry for each metric that looks at faces: how often they were lost, and what it says in either reading."""
    shown = []
    for i, column in enumerate(table.columns):
        if all(row.cells[i].result.detection_rate is None for row in table.rows):
            continue
        comparison = found.get(column.name, Comparison())
        rows = [_face_row(column, row, i, comparison) for row in table.rows]
        about = {"card": column.card["face_missing"], "penalty": column.card.get("penalty")}
        shown.append({"head": column.head, "common": comparison.n_common, "rows": rows, **about})
    return shown


def _face_row(column: Column, row: Row, i: int, comparison: Comparison) -> dict[str, Any]:
    result = row.cells[i].result
    rate = result.detection_rate
    return {
        "name": name_of(row.record),
        "found": MISSING if rate is None else f"{100 * rate:.1f} %",
        "lost": result.lost,
        "lost_reference": result.lost_reference,
        "mean": column.text(result.mean),
        "of_found": f"{column.text(result.mean_found)} (n = {result.n_found})",
        "of_common": column.text(comparison.common_means.get(title_of(row.record))),
        "penalised": column.text(result.mean_penalised),
    }
