"""Paper and measurement held against each other, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from reenact_zoo.evaluation.paper import Paper, PaperColumn, PaperRow, PaperSetting, PaperTable, Published, published
from reenact_zoo.evaluation.records import MetricResult, Record
from reenact_zoo.evaluation.reproduction.lacking import Lacking


class Verdict(StrEnum):
    """What can be said of one published number."""

    REPRODUCED = "reproduced"
    OFF = "off"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Check:
    """One published number and what became of it here.

    Attributes:
        cell: the published number.
        verdict: "reproduced" where the 95 % interval of our mean touches the range of means that print as the paper's.
        reasons: why it is not comparable or was not run, sentence by sentence; remarks otherwise.
        measured: ours, where a record holds it, comparable or not.
        difference: ours minus the paper's, where the verdict is "reproduced" or "off".
    """

    cell: Published
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    measured: MetricResult | None = None
    difference: float | None = None


@dataclass(frozen=True)
class Reproduction:
    """A published table beside the records of one folder; ``key`` is the table's key in the paper."""

    paper: Paper
    key: str
    table: PaperTable
    checks: list[Check]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many cells got which verdict."""
        return {verdict: sum(check.verdict is verdict for check in self.checks) for verdict in Verdict}


def reproduce(
    paper: Paper, key: str, records: Sequence[Record], measurer: Any, folder: Path | None = None
) -> Reproduction:
    """Verdicts of every cell of one published table.

    Args:
        paper: its table ``key`` is looked at.
        key: of the table.
        records: of any protocols and methods; those that belong to no cell are not looked at.
        measurer: knows which instruments' weights are at hand, for cells that were not run.
        folder: where the records lie, for the commands that are proposed.
    """
    table, lacking = paper.tables[key], Lacking(measurer, folder)
    return Reproduction(paper, key, table, [_check(cell, table, records, lacking) for cell in published(table)])


def _check(cell: Published, table: PaperTable, records: Sequence[Record], lacking: Lacking) -> Check:
    row, setting, column = table.rows[cell.row], table.settings[cell.setting], table.columns[cell.column]
    barred = [part.not_comparable for part in (setting, row, column) if part.not_comparable]
    record = _record(row, setting, records)
    result = record.metrics.get(column.metric) if record and column.metric else None
    if barred:
        if record is not None and column.timing:
            barred += _timing(record)
        shown = result if result is not None and result.mean is not None else None
        return Check(cell, Verdict.NOT_COMPARABLE, tuple(barred), shown)
    if record is None:
        return Check(cell, Verdict.NOT_RUN, lacking.reasons(row, setting, column))
    if result is None:
        why = f"the record of '{record.title}' on '{record.protocol}' was made without '{column.metric}': run it again"
        return Check(cell, Verdict.NOT_RUN, (why,))
    if result.unavailable:
        return Check(cell, Verdict.NOT_RUN, (f"when it was run, metric '{column.metric}' {result.unavailable}",))
    if hindrances := tuple(_hindrances(record, result, column)):
        return Check(cell, Verdict.NOT_COMPARABLE, hindrances, result if result.mean is not None else None)
    return _compared(cell, record, result)


def _record(row: PaperRow, setting: PaperSetting, records: Sequence[Record]) -> Record | None:
    """The record of the row, the whole one with the lowest seed before others; None where there is none."""
    fitting = [
        record
        for record in records
        if record.method == row.method and record.protocol == setting.protocol and _has(record.config, row.config)
    ]
    return min(fitting, key=lambda r: (r.oracle, r.partial, r.seed, r.label), default=None)


def _has(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(_value(config, key) == value for key, value in wanted.items())


def _value(config: Mapping[str, Any], dotted: str) -> Any:
    found: Any = config
    for key in dotted.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _timing(record: Record) -> list[str]:
    rate = record.conditions.frames_per_s
    where = f"on {record.conditions.device}"
    return [f"here the whole method took {1 / rate:.3g} s for one picture {where}"] if rate else []


def _hindrances(record: Record, result: MetricResult, column: PaperColumn) -> Iterator[str]:
    if result.not_applicable:
        yield f"metric '{column.metric}' is {result.not_applicable}"
    elif result.mean is None:
        yield f"no pair gave a value: {record.num_failed} of {record.num_pairs} failed, the others show no face"
    if record.partial:
        yield f"only the first {record.num_pairs} pairs were run (--limit)"
    if record.oracle:
        yield "the method was handed the truth instead of estimates"
    if column.unit and result.card["unit"] != column.unit:
        yield f"the paper's unit is '{column.unit}', ours is '{result.card['unit']}'"
    if result.mean is not None and (result.low is None or result.high is None):
        yield "our mean has no interval: fewer than two persons"


def _compared(cell: Published, record: Record, result: MetricResult) -> Check:
    assert result.mean is not None
    assert result.low is not None
    assert result.high is not None
    half = 0.5 * 10.0**-cell.digits  # every mean this close is printed as the paper's
    inside = result.low - half <= cell.mean <= result.high + half
    failed = f"{record.num_failed} of {record.num_pairs} pairs failed and are not in our mean"
    remarks = (failed,) if record.num_failed else ()
    verdict = Verdict.REPRODUCED if inside else Verdict.OFF
    return Check(cell, verdict, remarks, result, result.mean - cell.mean)
