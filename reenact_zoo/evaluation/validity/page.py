"""The study as a table (terminal, Markdown, CSV), as a picture, and as a page of the documentation."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reenact_zoo.evaluation.statistics import Difference, Summary
from reenact_zoo.evaluation.table.sheet import MISSING, Entry, Line, Sheet
from reenact_zoo.evaluation.validity.measure import COPIES, Validity
from reenact_zoo.types import InputError

PAGE, PICTURE, TABLE = "metric_validity.md", "pictures/metric_validity.png", "metric_validity.csv"
FOOLED = "prefers the copy"
_INTRODUCTION = """\
# Do the metrics see what is wrong?

On synthetic pairs the true picture is known, so an output can be made wrong by a known amount. Each ladder below spoils
the true picture in one way, in three rungs. A metric finds a ladder's order when it calls every rung worse than the one
before. The table gives Spearman's rank correlation between the true error of the rungs (the truth itself has 0) and the
metric, turned so that 1 always means that the metric finds the order, 0 that it is blind to this fault, and -1 that it
prefers the worse. It is computed inside each pair and averaged over pairs; 95 % intervals resample persons, sources and
drivers independently.

A metric of one aspect (identity, pose, expression) need not see the others: read it in its own column. What no metric
should do is prefer a copy of the driving frame, which is the wrong person, to the true picture with the mildest of
these faults (its mean over the first rungs of all ladders). The last columns say in what share of the pairs it does,
for a copy of the driving frame and for a copy of the source frame, a tie counted half. Metrics that prefer the copy of
the driving frame in more than half of the pairs are marked "{fooled}": they say nothing about who is shown, and must
not stand in a table without a metric that does.
"""


def sheet(validity: Validity, *, intervals: bool = True) -> Sheet:
    """Rank correlations and how often the copies win; ``intervals`` False fits into a terminal."""
    heads = [*(ladder.name for ladder in validity.ladders), "mean", *(f"{copy} wins" for copy in COPIES)]
    lines = []
    for row in validity.metrics:
        cells = [*(row.ladders[ladder.name] for ladder in validity.ladders), row.overall]
        entries = [Entry(_correlation(cell, intervals)) for cell in cells]
        entries += [Entry(_rate(row.copies[copy], intervals)) for copy in COPIES]
        lines.append(Line(row.name, entries, (FOOLED if row.exposed else "",)))
    notes = validity.notes if intervals else [*validity.notes, "intervals: --format markdown or csv"]
    title = f"Metric validity on {validity.protocol}, {_pairs(validity)}"
    return Sheet(title, "metric", heads, lines, ("exposed",), notes)


def _pairs(validity: Validity) -> str:
    whole = validity.num_pairs == validity.total_pairs
    return f"{validity.num_pairs} pairs" if whole else f"{validity.num_pairs} of {validity.total_pairs} pairs"


def _correlation(cell: Summary, interval: bool) -> str:
    if cell.mean is None:
        return MISSING
    ends = f" [{cell.low:.2f}, {cell.high:.2f}]" if interval and cell.low is not None else ""
    return f"{cell.mean:.2f}{ends}"


def _rate(cell: Difference, interval: bool) -> str:
    if cell.win_rate is None:
        return MISSING
    ends = f" [{cell.win_low:.0%}, {cell.win_high:.0%}]" if interval and cell.win_low is not None else ""
    return f"{cell.win_rate:.0%}{ends}"


def as_csv(validity: Validity) -> str:
    """A row for every metric and question: ladder by ladder, their mean, and the copies' shares of wins."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["protocol", "metric", "quantity", "of", "value", "low", "high", "pairs"])
    for row in validity.metrics:
        for name, cell in [*row.ladders.items(), ("mean", row.overall)]:
            writer.writerow([validity.protocol, row.name, "spearman", name, cell.mean, cell.low, cell.high, cell.n])
        for copy, duel in row.copies.items():
            ends = (duel.win_rate, duel.win_low, duel.win_high)
            writer.writerow([validity.protocol, row.name, "wins", copy, *ends, duel.n])
    return out.getvalue()


def draw(validity: Validity, path: Path) -> None:
    """PNG: rank correlations as colours, and beside them how often each metric prefers the copy of the driving frame.

    Raises:
        InputError: there is no metric to draw, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not validity.metrics:
        raise InputError("no metric has a value on these pictures; there is nothing to draw")
    rows, columns = len(validity.metrics), len(validity.ladders) + 1
    figure = Figure(figsize=(4.4 + 0.78 * columns, 1.5 + 0.3 * rows), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=[columns, 2.4])
    _map(figure, left, validity)
    _copies(right, validity)
    _write(path, lambda part: figure.savefig(part, format="png", dpi=150, metadata={"Software": None}))


def _map(figure: Any, axes: Any, validity: Validity) -> None:
    names = [ladder.name for ladder in validity.ladders]
    cells = [[*(row.ladders[name] for name in names), row.overall] for row in validity.metrics]
    values = np.array([[np.nan if c.mean is None else c.mean for c in row] for row in cells], dtype=np.float64)
    image = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        text = MISSING if np.isnan(value) else f"{value:.2f}".replace("-", "−")
        axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color="white" if abs(value) > 0.6 else "#202020")
    axes.set_xticks(range(len(names) + 1), [*names, "mean"], fontsize=9)
    axes.set_yticks(range(len(cells)), [row.name for row in validity.metrics], fontsize=8)
    axes.axvline(len(names) - 0.5, color="white", linewidth=3)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02)
    meaning = "Spearman's correlation with the true error: 1 finds the order, 0 blind, −1 prefers the worse"
    bar.set_label(meaning, fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)


def _copies(axes: Any, validity: Validity) -> None:
    axes.set_title("prefers copy_driving to\nthe mildly spoilt truth", fontsize=9)
    for y, row in enumerate(validity.metrics):
        duel = row.copies["copy_driving"]
        if duel.win_rate is None:
            continue
        colour = "#b2182b" if row.exposed else "#2166ac"
        axes.barh(y, duel.win_rate, color=colour, alpha=0.75, height=0.6)
        if duel.win_low is not None:
            axes.plot([duel.win_low, duel.win_high], [y, y], color="#202020", linewidth=1.1)
    axes.axvline(0.5, color="#808080", linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set_xlim(0, 1)
    axes.set_ylim(len(validity.metrics) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"], fontsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)


def write_page(validity: Validity, folder: Path, command: str) -> Path:
    """Page, picture and CSV below ``folder``; returns the page.

    Args:
        validity: the study.
        folder: of the documentation.
        command: that makes the page again; printed on it.

    Raises:
        InputError: nothing to show, or a file cannot be written.
    """
    draw(validity, folder / PICTURE)
    _write(folder / TABLE, lambda part: part.write_text(as_csv(validity), encoding="utf-8"))
    text = _page(validity, command)
    _write(folder / PAGE, lambda part: part.write_text(text, encoding="utf-8"))
    return folder / PAGE


def _page(validity: Validity, command: str) -> str:
    table = sheet(validity)
    levels = "\n".join(
        f"| {ladder.name} | {ladder.does} | {', '.join(f'{level:g}' for level in ladder.levels)} | {ladder.unit} |"
        for ladder in validity.ladders
    )
    fooled = [row.name for row in validity.metrics if row.exposed]
    verdict = f"Exposed: {', '.join(f'`{name}`' for name in fooled)}." if fooled else "No metric here is exposed."
    parts = [
        _INTRODUCTION.format(fooled=FOOLED),
        f"![Rank correlations of metrics with the true error]({PICTURE})\n",
        f"{verdict}\n",
        f"{table.markdown()}\n",
        "## The ladders\n",
        f"| name | what happens to the truth | rungs | unit |\n| --- | --- | --- | --- |\n{levels}\n",
        "## Making it again\n",
        f"Everything on this page, the picture and [{TABLE}]({TABLE}) (all intervals and counts) is written by\n",
        f"```\n{command}\n```\n",
        textwrap.fill(
            f"on {_pairs(validity)} of protocol {validity.protocol} ({validity.protocol_hash[:12]}). `--limit` takes "
            "that many pairs, evenly spaced; without it every pair counts. Without `--metric` every metric is judged "
            "that can be computed with the weights at hand.",
            120,
        ),
    ]
    return "\n".join(parts) + "\n"


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
