"""Tables of results from records alone: who shares a table, a column and a rank, and what the notes must say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reenact_zoo.evaluation.records import MetricResult, Record
from reenact_zoo.evaluation.statistics import ranks
from reenact_zoo.evaluation.table.results import BOUNDS, Cell, Column, ResultTable, Row, name_of
from reenact_zoo.types import InputError


def build_table(records: Sequence[Record]) -> ResultTable:
    """Table of the records of one protocol.

    Competing rows come first, bounds last; each column is ranked over the competing rows when there are two or more,
    and only where its card has a direction. Rows whose intervals overlap share a rank; where one has
    none, rows share a rank that look equal at the card's decimals.

    A weight file that changed between two runs empties the older cells of the metrics it is behind, and no others.

    Raises:
        InputError: no record; records of different protocols, versions or pairs; one metric under different cards.
    """
    if not records:
        raise InputError("no records to make a table of; run a benchmark first")
    _refuse_mixed_protocols(records)
    records = _without_stale_cells(records)
    columns = [Column(name, _one_card(name, records)) for name in _shown_metrics(records)]
    alike = _all_partial_alike(records)
    rows = [_row(record, columns, partial=record.partial and not alike) for record in sorted(records, key=_order)]
    content = records[0].protocol_content
    title = f"{records[0].protocol} v{content['version']}: {content['title']}"
    if alike:
        title += f" (partial: the first {records[0].num_pairs} pairs only)"
    rows = _ranked(rows, columns)
    return ResultTable(title, columns, rows, [*_ties(rows), *_faces(rows), *_notes(records)])


def _order(record: Record) -> tuple[bool, int, str]:
    position = list(BOUNDS).index(record.method) if record.method in BOUNDS else 0
    return record.method in BOUNDS, position, name_of(record)


def _refuse_mixed_protocols(records: Sequence[Record]) -> None:
    first = records[0]
    for record in records[1:]:
        if record.protocol != first.protocol:
            raise InputError(f"one table, one protocol: got '{first.protocol}' and '{record.protocol}'")
        if record.protocol_hash != first.protocol_hash:
            raise InputError(
                f"'{name_of(first)}' and '{name_of(record)}' were measured under different contents of protocol "
                f"'{record.protocol}' ({first.protocol_hash[:8]}, {record.protocol_hash[:8]}); run one of them again"
            )
    whole = [record for record in records if not record.partial]
    for record in whole[1:]:
        if record.pairs_hash != whole[0].pairs_hash:
            raise InputError(
                f"'{name_of(whole[0])}' and '{name_of(record)}' were measured on different pairs; run one of them again"
            )


def _shown_metrics(records: Sequence[Record]) -> list[str]:
    """Metrics with a number in some record, in the protocol's order."""
    names = dict.fromkeys(name for record in records for name in record.metrics)
    return [n for n in names if any(n in r.metrics and r.metrics[n].mean is not None for r in records)]


_OF_FILES = ("weights", "licences", "about")  # parts of a card that follow from files and pictures at hand


def _without_stale_cells(records: Sequence[Record]) -> list[Record]:
    """Records in which what was measured with other weight files than in the newest record is emptied and explained."""
    newest: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: r.conditions.started):
        newest |= dict.fromkeys((name for name, result in record.metrics.items() if result.mean is not None), record)
    return [_without_stale(record, newest) for record in records]


def _without_stale(record: Record, newest: Mapping[str, Record]) -> Record:
    kept = {}
    for name, result in record.metrics.items():
        kept[name] = result
        if result.mean is not None and (changed := _changed_files(result.card, newest[name].metrics[name].card)):
            than = name_of(newest[name])
            why = f"'{name_of(record)}' was measured with another {changed} than '{than}'; run it again"
            kept[name] = MetricResult({**newest[name].metrics[name].card}, unavailable=why)
    return dataclasses.replace(record, metrics=kept)


def _changed_files(card: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Weight entries in which two cards differ, in words; "" where they agree."""
    old, new = card.get("weights", {}), current.get("weights", {})
    return " and ".join(sorted(entry for entry in {*old, *new} if old.get(entry) != new.get(entry)))


def _one_card(name: str, records: Sequence[Record]) -> dict[str, Any]:
    """The card all numbers of a column share; numbers under different cards are not comparable."""
    held = [
        (name_of(r), r.metrics[name].card) for r in records if name in r.metrics and r.metrics[name].mean is not None
    ]
    method, card = held[0]
    for other, second in held[1:]:
        for key in sorted({*card, *second} - {*_OF_FILES}):
            if card.get(key) != second.get(key):
                raise InputError(
                    f"'{name}' of '{method}' and of '{other}' are under different cards ({key}: {card.get(key)!r}, "
                    f"{second.get(key)!r}) and share no column; run one of them again"
                )
    return card


def _all_partial_alike(records: Sequence[Record]) -> bool:
    """Partial runs over the same pairs are comparable with each other: the table as a whole is marked."""
    return all(record.partial for record in records) and len({record.pairs_hash for record in records}) == 1


def _row(record: Record, columns: Sequence[Column], *, partial: bool) -> Row:
    facts = {"oracle": record.oracle, "partial": partial, "bound": record.method in BOUNDS}
    cells = [Cell(c, record.metrics.get(c.name, MetricResult(c.card))) for c in columns]
    return Row(record, cells, tuple(name for name, true in facts.items() if true))


def _ranked(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    for i, column in enumerate(columns):
        better = column.card["higher_is_better"]
        competing = [row for row in rows if row.ranked and row.cells[i].result.mean is not None]
        if better is None or len(competing) < 2:
            continue
        found = ranks([_as_shown(row.cells[i]) for row in competing], better)
        for row, rank in zip(competing, found, strict=True):
            row.cells[i] = Cell(column, row.cells[i].result, rank)
    return rows


def _as_shown(cell: Cell) -> tuple[float, float | None, float | None]:
    mean, low, high = cell.result.mean, cell.result.low, cell.result.high
    assert mean is not None
    digits = cell.column.card["digits"]
    return (round(mean, digits), None, None) if low is None or high is None else (mean, low, high)


def _ties(rows: Sequence[Row]) -> list[str]:
    """How to read a shared rank, where intervals decided any."""
    decided = any(cell.rank is not None and cell.result.low is not None for row in rows for cell in row.cells)
    return ["rows share a rank where their 95 % intervals overlap; bold: no row is better"] if decided else []


def _faces(rows: Sequence[Row]) -> list[str]:
    """How often a metric found the face where it did not always, and what it says with a lost face counted."""
    notes: dict[str, None] = {}
    for cells in zip(*(row.cells for row in rows), strict=True):
        if any(cell.share_found for cell in cells):
            notes["(…%): share of pairs in which the metric found the face; without it: in all of them"] = None
        if any(cell.result.mean_penalised not in (None, cell.result.mean) for cell in cells):
            column = cells[0].column
            means = [
                f"{name_of(row.record)} {column.text(cell.result.mean_penalised)}"
                for row, cell in zip(rows, cells, strict=True)
            ]
            notes[f"{column.title}, a lost face counted as the card says: {', '.join(means)}"] = None
    return list(notes)


def _notes(records: Sequence[Record]) -> list[str]:
    notes = dict.fromkeys(
        f"{name}: unavailable: {result.unavailable}"
        for record in records
        for name, result in record.metrics.items()
        if result.unavailable
    )
    notes |= dict.fromkeys(
        f"{name}: not applicable: {result.not_applicable}"
        for record in records
        for name, result in record.metrics.items()
        if result.not_applicable
    )
    notes |= dict.fromkeys(_research_only(records))
    for record in records:
        notes |= dict.fromkeys(f"{name_of(record)}: {n} failed: {why}" for why, n in record.failures.items())
        notes |= dict.fromkeys(_missing_values(record))
    ends = [name_of(record) for record in sorted(records, key=_order) if record.method in BOUNDS]
    if ends:
        notes[f"not ranked, because they only show the ends of the scale: {', '.join(ends)}"] = None
    return list(notes)


def _research_only(records: Sequence[Record]) -> list[str]:
    """One sentence for each weight file that may be used for research only, with the metrics that it is behind."""
    behind: dict[str, dict[str, None]] = {}
    for record in records:
        for name, result in record.metrics.items():
            for entry, about in result.card.get("licences", {}).items():
                if result.mean is not None and not about["permissive"]:
                    behind.setdefault(entry, {})[name] = None
    return [f"{', '.join(names)}: with research-only weights '{entry}'" for entry, names in sorted(behind.items())]


def _missing_values(record: Record) -> list[str]:
    """One sentence for all metrics that lack equally many values: they mostly lack them for one reason, a lost face."""
    by_count: dict[int, list[str]] = {}
    for name, result in record.metrics.items():
        if result.missing and not (result.unavailable or result.not_applicable):
            by_count.setdefault(result.missing, []).append(name)
    return [
        f"{name_of(record)}: no face or no truth in {count} pairs, which have no value for {', '.join(names)}"
        for count, names in sorted(by_count.items())
    ]
