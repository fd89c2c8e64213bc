"""Drawings of the report: SVG text whose colours are the page's CSS variables, so that they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_COLOURS = 8
NUM_GREYS = 5
# matplotlib wants real colours: unusual ones stand in and are exchanged for variables in the SVG text.
_STAND_INS = {
    "--ink": "#010203",
    "--muted": "#040506",
    "--grid": "#070809",
    "--card": "#0a0b0c",
    **{f"--bound-{i}": f"#1d1e{0x30 + i:02x}" for i in range(NUM_GREYS)},
    **{f"--method-{i}": f"#2021{0x30 + i:02x}" for i in range(NUM_COLOURS)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.edgecolor": _STAND_INS["--grid"],
    "axes.facecolor": "none",
    "axes.labelcolor": _STAND_INS["--muted"],
    "axes.titlecolor": _STAND_INS["--muted"],
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _STAND_INS["--grid"],
    "grid.linewidth": 0.7,
    "xtick.color": _STAND_INS["--muted"],
    "ytick.color": _STAND_INS["--ink"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}


@dataclass(frozen=True)
class Series:
    """A method in a drawing: name, CSS variable of its colour, and whether it is a bound (dashed)."""

    name: str
    colour: str
    dashed: bool = False


def metric_plot(
    series: Sequence[Series],
    values: Sequence[NDArray[np.float64]],
    by_bin: Sequence[Sequence[float]],
    labels: Sequence[str],
    salt: str,
    means: Sequence[float | None] = (),
) -> str:
    """SVG element: left the spread of per-pair values, right the mean in each bin.

    Args:
        series: one for each row.
        values: per-pair values of each; NaN is left out.
        by_bin: means of each in the bins; [] draws no right half.
        labels: of the bins.
        salt: makes identifiers inside the SVG unique on the page.
        means: the one number of each, drawn where a metric has none for single pairs.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(4.5, 0.8 + 0.25 * max(4, len(series))), layout="constrained")
        parts = figure.subplots(1, 2 if by_bin else 1, width_ratios=[1.25, 1] if by_bin else None, squeeze=False)[0]
        _spread(parts[0], series, values, means or [None] * len(series))
        if by_bin:
            _bins(parts[1], series, by_bin, labels)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(out.getvalue())


def _spread(
    axes: Any, series: Sequence[Series], values: Sequence[NDArray[np.float64]], means: Sequence[float | None]
) -> None:
    axes.set_title("all pairs")
    for row, (one, of_pairs, mean) in enumerate(zip(series, values, means, strict=True)):
        present = of_pairs[~np.isnan(of_pairs)]
        colour = _STAND_INS[one.colour]
        if not len(present):
            if mean is not None:
                axes.plot(mean, row, "D", color=colour, markersize=6.5, markeredgecolor=_STAND_INS["--card"])
            continue
        p5, p25, p75, p95 = np.percentile(present, [5, 25, 75, 95])
        axes.plot([p5, p95], [row, row], color=colour, linewidth=1.2, solid_capstyle="round")
        axes.plot([p25, p75], [row, row], color=colour, linewidth=5.5, alpha=0.4, solid_capstyle="butt")
        axes.plot(present.mean(), row, "o", color=colour, markersize=6.5, markeredgecolor=_STAND_INS["--card"])
    axes.set_yticks(range(len(series)), [one.name for one in series])
    axes.set_ylim(len(series) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.06)
    axes.locator_params(axis="x", nbins=4)


def _bins(axes: Any, series: Sequence[Series], by_bin: Sequence[Sequence[float]], labels: Sequence[str]) -> None:
    axes.set_title("by turn |Δ yaw|")
    for one, means in zip(series, by_bin):
        style = (0, (3, 2)) if one.dashed else "solid"
        colour = _STAND_INS[one.colour]
        axes.plot(range(len(labels)), means, color=colour, linestyle=style, linewidth=1.6, marker="o", markersize=4)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.3, len(labels) - 0.7)
    axes.grid(axis="x", visible=False)
    axes.tick_params(axis="y", labelcolor=_STAND_INS["--muted"])
    axes.locator_params(axis="y", nbins=5)
    axes.margins(y=0.12)


def _for_page(svg: str) -> str:
    """Only the <svg> element, scalable, with variables for colours and the page's font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 role="img"', svg, count=1)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for variable, colour in _STAND_INS.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
