"""What is there: methods, data sets, metrics, protocols, suites."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from reenact_zoo.cli.terminal import example, print_rows
from reenact_zoo.registry import DATASETS, METHODS, METRICS, Registry

metrics_app = typer.Typer(no_args_is_help=True, help="What each metric measures, exactly.")


class Kind(StrEnum):
    """What ``list`` can list."""

    METHODS = "methods"
    DATASETS = "datasets"
    METRICS = "metrics"
    PROTOCOLS = "protocols"
    SUITES = "suites"


def list_things(
    kind: Annotated[Kind | None, typer.Argument(help="Only one kind.")] = None,
) -> None:
    """What this installation knows: methods, datasets, metrics, protocols, suites."""
    from reenact_zoo.evaluation import protocol

    tables: dict[Kind, Callable[[], list[tuple[str, str]]]] = {
        Kind.METHODS: lambda: _described(METHODS),
        Kind.DATASETS: lambda: _described(DATASETS),
        Kind.METRICS: lambda: [(n, METRICS.get(n).card.compares) for n in METRICS.names()],
        Kind.PROTOCOLS: lambda: [(n, protocol.load_protocol(n).title) for n in protocol.protocol_names()],
        Kind.SUITES: lambda: [(n, protocol.load_suite(n).title) for n in protocol.suite_names()],
    }
    for each in [kind] if kind else list(Kind):
        print_rows(each.value, tables[each]())


def _described(registry: Registry[Any]) -> list[tuple[str, str]]:
    rows = []
    for name in registry.names():
        cls = registry.get(name)
        text = (cls.__doc__ or "").strip().splitlines()[0]
        if getattr(cls, "trainable", True) is False:
            text += "  (no training)"
        rows.append((name, text))
    return rows


@metrics_app.command("list", epilog=example("metrics list"))
def metrics_list() -> None:
    """Every metric and whether it can be computed here."""
    from reenact_zoo.faces.measure import FaceMeasurer

    measurer = FaceMeasurer()
    rows = []
    for name in METRICS.names():
        metric = METRICS.get(name)(measurer)
        lacking = metric.missing()
        rows.append((name, metric.card.compares + (f"  (unavailable: needs {lacking})" if lacking else "")))
    print_rows("metrics", rows)


_DIRECTIONS = {True: "higher is better", False: "lower is better", None: "neither end is better by itself"}


@metrics_app.command("show", epilog=example("metrics show nme"))
def metrics_show(name: str) -> None:
    """Print the card of a metric: all that decides its value."""
    from reenact_zoo.faces.measure import FaceMeasurer

    metric = METRICS.get(name)(FaceMeasurer())
    card = metric.card
    lacking = metric.missing()
    rows = [
        ("card", card.id),
        ("title", card.title),
        ("unit", card.unit or "none"),
        ("direction", _DIRECTIONS[card.higher_is_better]),
        ("compares", card.compares),
        ("pairs", " and ".join(sorted(card.settings, reverse=True))),
        ("true target", "needed on cross pairs" if card.reads_target else "not read"),
        ("colour range", card.colour_range),
        ("alignment", card.alignment),
        ("reduction", card.reduction),
        ("face missing", card.face_missing),
        ("penalty", "none" if card.penalty is None else f"{card.penalty:g}"),
        ("instruments", ", ".join(card.quantities) or "none"),
        *_networks(metric),
        ("read from aux", ", ".join(card.reads_aux) or "nothing"),
        ("definition", card.reference or "see the title"),
        ("decimals", str(card.digits)),
        ("here", f"unavailable: needs {lacking}" if lacking else "available"),
    ]
    print_rows(card.id, rows)


def _networks(metric: Any) -> list[tuple[str, str]]:
    """A row for every weight file behind a metric: what it is, its hash, its licence."""
    found = metric.weights()
    rows = []
    for name in dict.fromkeys([*metric.judges(), *found]):
        entry = metric.store.entry(name)
        sha256 = found.get(name) or entry.sha256 or "not known"
        rows.append(("network", f"{name}: {entry.architecture}; sha256 {sha256}; {entry.licence}"))
    return rows or [("network", "none")]
