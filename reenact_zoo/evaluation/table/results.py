"""The parts of a table of results: columns under one card, cells, rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reenact_zoo.evaluation.records import MetricResult, Record
from reenact_zoo.evaluation.table.sheet import MISSING, Entry, Line, Sheet

BOUNDS = {
    "copy_source": {
        "self": "ignores the motion",
        "cross": "keeps the identity, ignores the motion",
    },
    "copy_driving": {
        "self": "is the truth itself on self pairs",
        "cross": "has the motion, loses the identity",
    },
    "bound:blur_ceiling": dict.fromkeys(("self", "cross"), "is the truth at half its resolution"),
    "bound:oracle_warp": dict.fromkeys(("self", "cross"), "moves the source by the true flow, invents nothing"),
    "bound:mean_face": dict.fromkeys(("self", "cross"), "shows the mean of all truths for every pair"),
}
"""Rows that show the ends of the scale, and what they do by setting; ``evaluation.bounds`` makes those that are no
methods. Each wins some metrics by construction, so none is ranked."""

_ARROWS = {True: "↑", False: "↓", None: ""}
_NUMBERS = ("mean", "std", "low", "high", "n", "missing")
_FACES = ("detection_rate", "lost", "lost_reference", "mean_found", "n_found", "mean_penalised")


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
        """Mean ± standard deviation, and the share of faces found where it is not all; or "–"."""
        if self.result.mean is None:
            return MISSING
        spread = "" if self.result.std is None else f" ± {self.column.text(self.result.std)}"
        return self.column.text(self.result.mean) + spread + self.share_found

    @property
    def share_found(self) -> str:
        """Text like (97 %): of the pairs in which the metric found the face; "" where it looks at none or found all."""
        rate = self.result.detection_rate
        return "" if rate is None or rate == 1 else f" ({100 * rate:.0f} %)"


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
        return f"{name_of(self.record)} ({', '.join(shown)})" if shown else name_of(self.record)

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


def name_of(record: Record) -> str:
    """What tables call a record: its label, else its method; the seed where it is not the usual one."""
    name = record.title.removeprefix("bound:")
    return f"{name}, seed {record.seed}" if record.seed else name


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

    @property
    def sheet(self) -> Sheet:
        """The table as text."""
        counts = self.counts
        lines = [
            Line(row.name, [Entry(c.text, c.rank) for c in row.cells], [row.counts[n] for n in counts], aside=row.bound)
            for row in self.rows
        ]
        return Sheet(self.title, "method", [column.head for column in self.columns], lines, counts, self.notes)

    def print(self, console: Any) -> None:
        """Print to a rich console: metrics as rows, because they outnumber the methods."""
        self.sheet.print(console, across=True)

    def markdown(self) -> str:
        """Pipe table; best bold, second underlined."""
        return self.sheet.markdown()

    def latex(self) -> str:
        """Tabular for the booktabs package."""
        return self.sheet.latex()

    def html(self) -> str:
        """A table element to put into a page."""
        return self.sheet.html()

    def csv(self) -> str:
        """One line per (method, metric): full precision, interval, counts and reasons; made to be read by programs."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        head = [
            "protocol",
            "method",
            "marks",
            "metric",
            "card",
            "unit",
            "direction",
            *_NUMBERS,
            "why_empty",
            "rank",
            *_FACES,
        ]
        writer.writerow(head)
        for row in self.rows:
            for cell in row.cells:
                card, result = cell.column.card, cell.result
                numbers, faces = _exact(result, _NUMBERS), _exact(result, _FACES)
                identity = [row.record.protocol, name_of(row.record), " ".join(row.marks), cell.column.name]
                about = [f"{card['name']}.v{card['version']}", card["unit"], cell.column.arrow]
                why = result.unavailable or result.not_applicable
                writer.writerow([*identity, *about, *numbers, why, cell.rank or "", *faces])
        return out.getvalue().rstrip("\n")


def _exact(result: MetricResult, names: Sequence[str]) -> list[str]:
    return ["" if (value := getattr(result, name)) is None else repr(value) for name in names]
