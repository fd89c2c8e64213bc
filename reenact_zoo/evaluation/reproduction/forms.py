"""Paper and measured side by side, set as a table for each setting with numbered reasons below all of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from reenact_zoo.evaluation.paper import PaperColumn
from reenact_zoo.evaluation.reproduction.verdict import Check, Reproduction, Verdict
from reenact_zoo.evaluation.table.sheet import MISSING, Entry, Line, Sheet, html_list, markdown_safe

_ARROWS = {True: "↑", False: "↓", None: ""}
_HEAD = ["paper", "table", "setting", "protocol", "row", "method", "column", "metric", "paper_mean", "paper_std"]
_HEAD += ["mean", "std", "low", "high", "n", "verdict", "difference", "reasons", "uncertain"]


def print_reproduction(made: Reproduction, console: Any) -> None:
    """Print to a rich console."""
    from rich.text import Text

    console.print(Text(headline(made), style="bold"), "", soft_wrap=True)
    for sheet in sheets(made):
        sheet.print(console)
    for note in notes(made):
        console.print(Text(note, style="dim"), soft_wrap=True)


def markdown(made: Reproduction) -> str:
    """A heading, a pipe table for each setting, the reasons as a list."""
    parts = [f"## {markdown_safe(headline(made))}", *(sheet.markdown() for sheet in sheets(made))]
    return "\n\n".join([*parts, "\n".join(f"- {markdown_safe(note)}" for note in notes(made))])


def latex(made: Reproduction) -> str:
    """A tabular for each setting (package booktabs), the rest as comments."""
    parts = [f"% {headline(made)}", *(sheet.latex() for sheet in sheets(made)), *(f"% {n}" for n in notes(made))]
    return "\n".join(parts)


def html(made: Reproduction) -> str:
    """A table element for each setting and the reasons as a list, to put into a page."""
    return "\n".join([*(sheet.html() for sheet in sheets(made)), *html_list([headline(made), *notes(made)])])


def as_csv(made: Reproduction) -> str:
    """One line a cell with everything said about it; made to be read by programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEAD)
    for check in made.checks:
        cell, ours = check.cell, check.measured
        setting, row = made.table.settings[cell.setting], made.table.rows[cell.row]
        address = [made.paper.name, made.key, cell.setting, setting.protocol, cell.row, row.method, cell.column]
        numbers = [cell.mean, cell.std, *(getattr(ours, name, None) for name in ("mean", "std", "low", "high", "n"))]
        words = [check.verdict, check.difference, "; ".join(check.reasons), "; ".join(cell.uncertain)]
        line = [*address, made.table.columns[cell.column].metric, *numbers, *words]
        writer.writerow(["" if value is None else value for value in line])
    return out.getvalue().rstrip("\n")


def headline(made: Reproduction) -> str:
    """Paper, table, and how many cells got which verdict."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in made.counts.items() if count)
    return f"{made.paper.name}/{made.key}, {made.table.title}: {len(made.checks)} cells: {counts}"


def sheets(made: Reproduction) -> list[Sheet]:
    """One table a setting: rows and columns as printed, in every cell "paper / measured" and the verdict."""
    numbers = _numbered(made)
    return [_sheet(made, setting, numbers) for setting in made.table.cells]


def _sheet(made: Reproduction, key: str, numbers: dict[str, int]) -> Sheet:
    checks = {(c.cell.row, c.cell.column): c for c in made.checks if c.cell.setting == key}
    columns = {column: made.table.columns[column] for _, column in checks}
    empty = Entry(MISSING)
    lines = [
        Line(
            made.table.rows[row].title,
            [_entry(checks[row, c], numbers) if (row, c) in checks else empty for c in columns],
        )
        for row in dict.fromkeys(row for row, _ in checks)
    ]
    setting = made.table.settings[key]
    protocol = f", protocol {setting.protocol}" if setting.protocol else ""
    return Sheet(f"{setting.title}{protocol}: paper / measured", "row", [_title(c) for c in columns.values()], lines)


def _title(column: PaperColumn) -> str:
    unit = f" [{column.unit}]" if column.unit else ""
    return f"{column.title}{unit} {_ARROWS[column.higher_is_better]}".rstrip()


def _entry(check: Check, numbers: dict[str, int]) -> Entry:
    doubt = "?" if check.cell.uncertain else ""
    marks = ", ".join(str(numbers[reason]) for reason in check.reasons)
    said = str(check.verdict)
    if check.verdict is Verdict.OFF:
        said = f"off by {check.difference:+.{check.cell.digits}f}"
    text = f"{check.cell.text}{doubt} / {_measured(check)} {said}"
    return Entry(f"{text} [{marks}]" if marks else text, 1 if check.verdict is Verdict.REPRODUCED else None)


def _measured(check: Check) -> str:
    ours, digits = check.measured, check.cell.digits
    if ours is None or ours.mean is None:
        return MISSING
    return f"{ours.mean:.{digits}f}" + ("" if ours.std is None else f"±{ours.std:.{digits}f}")


def _numbered(made: Reproduction) -> dict[str, int]:
    reasons = dict.fromkeys(reason for check in made.checks for reason in check.reasons)
    return {reason: i for i, reason in enumerate(reasons, start=1)}


def notes(made: Reproduction) -> list[str]:
    """What the numbers in brackets mean; then doubts, known differences and corrections."""
    found = [f"[{number}] {reason}" for reason, number in _numbered(made).items()]
    return [*found, *_doubts(made), *_differences(made), *made.paper.corrections]


def _doubts(made: Reproduction) -> Iterator[str]:
    for doubt in made.table.uncertain:
        yield f"? {doubt.cells}: {doubt.why}"


def _differences(made: Reproduction) -> Iterator[str]:
    """Every known difference once, with all that it holds for."""
    table, held = made.table, dict[str, list[str]]()
    for parts in (table.columns, table.settings, table.rows):
        for part in parts.values():
            for text in part.differences:
                held.setdefault(text, []).append(part.title)
    yield f"from: {made.paper.authors}, {made.paper.title} ({made.paper.reference}); {table.where}"
    yield from table.differences
    yield from (f"{', '.join(titles)}: {text}" for text, titles in held.items())
