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
        card = METRICS.get(name).card
        lacking = [need for q in card.quantities if (need := measurer.missing(q))]
        rows.append((name, card.compares + (f"  (unavailable: needs {'; '.join(lacking)})" if lacking else "")))
    print_rows("metrics", rows)


@metrics_app.command("show", epilog=example("metrics show nme"))
def metrics_show(name: str) -> None:
    """Print the card of a metric."""
    from dataclasses import asdict

    card = asdict(METRICS.get(name).card)
    print_rows(name, [(key, ", ".join(sorted(v)) if isinstance(v, frozenset) else str(v)) for key, v in card.items()])
