"""Tables from records alone: one row a method, one column a metric; ranked only where that means something."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reenact_zoo.evaluation.records import MetricResult, Record
from reenact_zoo.types import InputError

BOUNDS = {
    "copy_source": {
        "self": "ignores the motion",
        "cross": "keeps the identity, ignores the motion",
    },
    "copy_driving": {
        "self": "is the truth itself on self pairs",
        "cross": "has the motion, loses the identity",
    },
}
"""Rows that show the ends of the scale, and what they do by setting. Each wins some metrics by construction, so none is
ranked."""

MISSING = "–"
_ARROWS = {True: "↑", False: "↓", None: ""}


@dataclass(frozen=True)
class Column:
    """A metric under one card."""

    name: str
    card: dict[str, Any]

    @property
    def arrow(self) -> str:
        """↑ or ↓ towards better; "" where neither end is good by itself."""
        return _ARROWS[self.card["higher_is_better"]]

    @property
    def title(self) -> str:
        """Title with unit, without arrow."""
        return f"{self.card['title']} [{self.card['unit']}]" if self.card["unit"] else str(self.card["title"])

    @property
    def head(self) -> str:
        """Title with unit and arrow."""
        return f"{self.title} {self.arrow}".rstrip()

    def text(self, value: float | None) -> str:
        """A number with the card's decimals."""
        return MISSING if value is None else f"{value:.{self.card['digits']}f}"


@dataclass(frozen=True)
class Cell:
    """A metric's result for a method; ``rank`` counts from 1 among the ranked rows, None where nothing is ranked."""

    column: Column
    result: MetricResult
    rank: int | None = None

    @property
    def text(self) -> str:
        """Mean ± standard deviation, or "–"."""
        if self.result.mean is None:
            return MISSING
        spread = "" if self.result.std is None else f" ± {self.column.text(self.result.std)}"
        return self.column.text(self.result.mean) + spread


@dataclass(frozen=True)
class Row:
    """A method; ``marks`` are words that limit what the row may be compared with ("oracle", "partial", "bound")."""

    record: Record
    cells: list[Cell]
    marks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Method with the marks a reader must see."""
        shown = [mark for mark in self.marks if mark != "bound"]
        return f"{self.record.method} ({', '.join(shown)})" if shown else self.record.method

    @property
    def bound(self) -> bool:
        """Whether the row only shows an end of the scale."""
        return "bound" in self.marks

    @property
    def ranked(self) -> bool:
        """Whether the row competes."""
        return not self.marks

    @property
    def counts(self) -> dict[str, str]:
        """What every row states beside its metrics."""
        rate = self.record.detection_rate
        return {
            "pairs": str(self.record.num_pairs),
            "failed": str(self.record.num_failed),
            "face found": MISSING if rate is None else f"{100 * rate:.1f} %",
        }


@dataclass(frozen=True)
class ResultTable:
    """One protocol's results; notes say what is absent and why."""

    title: str
    columns: list[Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> list[str]:
        """Which of the rows' counts to show: the detection rate unless it is a column already."""
        own = {"face found"} if any(column.name == "detection_rate" for column in self.columns) else set()
        return [name for name in self.rows[0].counts if name not in own]

    def print(self, console: Any) -> None:
        """Print to a rich console: metrics as rows, because they outnumber the methods."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, header_style="", pad_edge=False)
        table.add_column("", no_wrap=True)
        for row in self.rows:
            table.add_column(Text(row.name, style="italic" if row.bound else "bold"), justify="right")
        for i, column in enumerate(self.columns):
            cells = [Text(row.cells[i].text, style=_STYLES.get(row.cells[i].rank or 0, "")) for row in self.rows]
            table.add_row(Text(column.head), *cells, end_section=i == len(self.columns) - 1)
        for name in self.counts:
            table.add_row(Text(name, style="dim"), *[Text(row.counts[name], style="dim") for row in self.rows])
        console.print(Text(self.title, style="bold"), soft_wrap=True)
        console.print(table)
        for note in self.notes:
            console.print(Text(f"· {note}", style="dim"), soft_wrap=True)
        console.print()

    def markdown(self) -> str:
        """Pipe table; best bold, second underlined."""
        frames = {1: "**{}**", 2: "<u>{}</u>"}
        head = ["method", *[column.head for column in self.columns], *self.counts]
        lines = [f"### {self.title}", "", _piped(head), _piped(["---", *["---:"] * (len(head) - 1)])]
        for row in self.rows:
            cells = [frames.get(cell.rank or 0, "{}").format(cell.text) for cell in row.cells]
            lines.append(_piped([row.name, *cells, *[row.counts[name] for name in self.counts]]))
        notes = ["", *[f"- {note}" for note in self.notes]] if self.notes else []
        return "\n".join([*lines, *notes])

    def csv(self) -> str:
        """One line per (method, metric): full precision, interval, counts and reasons; made to be read by programs."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["protocol", "method", "marks", "metric", "card", "unit", "direction", *_NUMBERS, "why_empty"])
        for row in self.rows:
            for cell in row.cells:
                card, result = cell.column.card, cell.result
                numbers = ["" if (v := getattr(result, name)) is None else repr(v) for name in _NUMBERS]
                identity = [row.record.protocol, row.record.method, " ".join(row.marks), cell.column.name]
                about = [f"{card['name']}.v{card['version']}", card["unit"], cell.column.arrow]
                writer.writerow([*identity, *about, *numbers, result.unavailable or result.not_applicable])
        return out.getvalue().rstrip("\n")

    def latex(self) -> str:
        """Tabular for the booktabs package."""
        frames = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
        lines = [f"% {self.title}", rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}", r"\toprule"]
        lines += [" & ".join(["Method", *[_tex(column.head) for column in self.columns]]) + r" \\", r"\midrule"]
        for row in self.rows:
            cells = [frames.get(cell.rank or 0, "%s") % _tex(cell.text) for cell in row.cells]
            lines.append(" & ".join([_tex(row.name), *cells]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", *[f"% {note}" for note in self.notes]]
        return "\n".join(lines)


_STYLES = {1: "bold green", 2: "underline"}
_NUMBERS = ("mean", "std", "low", "high", "n", "missing")
_TEX = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$"}
_TEX |= {"–": "--", "Δ": r"$\Delta$", "°": r"$^\circ$"}


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def build_table(records: Sequence[Record]) -> ResultTable:
    """Table of the records of one protocol.

    Competing rows come first, bounds last; each column is ranked over the competing rows when there are two or more,
    and only where its card has a direction. Values that look equal at the card's decimals share a rank.

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
    return ResultTable(title, columns, _ranked(rows, columns), _notes(records))


def _order(record: Record) -> tuple[bool, int, str]:
    position = list(BOUNDS).index(record.method) if record.method in BOUNDS else 0
    return record.method in BOUNDS, position, record.method


def _refuse_mixed_protocols(records: Sequence[Record]) -> None:
    first = records[0]
    for record in records[1:]:
        if record.protocol != first.protocol:
            raise InputError(f"one table, one protocol: got '{first.protocol}' and '{record.protocol}'")
        if record.protocol_hash != first.protocol_hash:
            raise InputError(
                f"'{first.method}' and '{record.method}' were measured under different contents of protocol "
                f"'{record.protocol}' ({first.protocol_hash[:8]}, {record.protocol_hash[:8]}); run one of them again"
            )
    whole = [record for record in records if not record.partial]
    for record in whole[1:]:
        if record.pairs_hash != whole[0].pairs_hash:
            raise InputError(
                f"'{whole[0].method}' and '{record.method}' were measured on different pairs; run one of them again"
            )


def _shown_metrics(records: Sequence[Record]) -> list[str]:
    """Metrics with a number in some record, in the protocol's order."""
    names = dict.fromkeys(name for record in records for name in record.metrics)
    return [n for n in names if any(n in r.metrics and r.metrics[n].mean is not None for r in records)]


_OF_FILES = ("weights", "licences")  # parts of a card that follow from the weight files at hand


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
            why = f"'{record.method}' was measured with another {changed} than '{newest[name].method}'; run it again"
            kept[name] = MetricResult({**newest[name].metrics[name].card}, unavailable=why)
    return dataclasses.replace(record, metrics=kept)


def _changed_files(card: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Weight entries in which two cards differ, in words; "" where they agree."""
    old, new = card.get("weights", {}), current.get("weights", {})
    return " and ".join(sorted(entry for entry in {*old, *new} if old.get(entry) != new.get(entry)))


def _one_card(name: str, records: Sequence[Record]) -> dict[str, Any]:
    """The card all numbers of a column share; numbers under different cards are not comparable."""
    held = [(r.method, r.metrics[name].card) for r in records if name in r.metrics and r.metrics[name].mean is not None]
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
        better, digits = column.card["higher_is_better"], column.card["digits"]
        shown = {id(r): round(m, digits) for r in rows if r.ranked and (m := r.cells[i].result.mean) is not None}
        if better is None or len(shown) < 2:
            continue
        for row in rows:
            if id(row) in shown:
                rank = 1 + sum(_beats(other, shown[id(row)], better) for other in shown.values())
                row.cells[i] = Cell(column, row.cells[i].result, rank)
    return rows


def _beats(a: float, b: float, higher_is_better: bool) -> bool:
    return a > b if higher_is_better else a < b


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
        notes |= dict.fromkeys(f"{record.method}: {n} failed: {why}" for why, n in record.failures.items())
        notes |= dict.fromkeys(_missing_values(record))
    if any(record.method in BOUNDS for record in records):
        notes["copy_source and copy_driving are the ends of the scale and are not ranked"] = None
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
        f"{record.method}: no face or no truth in {count} pairs, which have no value for {', '.join(names)}"
        for count, names in sorted(by_count.items())
    ]
