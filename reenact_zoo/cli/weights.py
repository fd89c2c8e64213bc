"""Which weight files exist, which are at hand, and how to get the others."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from reenact_zoo.cli.terminal import console, example, fail, print_rows
from reenact_zoo.types import InputError

weights_app = typer.Typer(no_args_is_help=True, help="Which weight files exist, which are at hand, and are they whole.")


class Licence(StrEnum):
    """Which licences a run may use."""

    PERMISSIVE = "permissive"
    RESEARCH = "research"


def _allow(level: Licence | None) -> Licence | None:
    """Takes effect while arguments are read, so that no command can forget to pass it on."""
    if level is not None:
        from reenact_zoo.weights.licence import allow

        allow(level.value)
    return level


LicenceOption = Annotated[
    Licence | None,
    typer.Option(
        "--licence",
        callback=_allow,
        help="research also uses weights that are not free for any use; default permissive.",
    ),
]


@weights_app.command("list", epilog=example("weights list"))
def weights_list(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: every fact of every entry.")] = False,
) -> None:
    """Every known weight file: at hand or not, licence, size, who uses it."""
    from reenact_zoo.weights.manifest import manifest
    from reenact_zoo.weights.store import WeightStore

    store = WeightStore()
    if as_json:
        metrics = _metrics()
        print(json.dumps([_facts(store, name, metrics) for name in manifest()], indent=1))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="weights", title_justify="left", title_style="bold")
    for title, style in (("name", "cyan"), ("state", ""), ("licence", ""), ("MB", ""), ("used by", "")):
        table.add_column(title, style=style, no_wrap=title != "used by", justify="right" if title == "MB" else "left")
    measured = _measured()
    for name, entry in manifest().items():
        size = f"{entry.size / 1e6:.3g}" if entry.size else "?"
        licence = (Licence.PERMISSIVE if entry.permissive else Licence.RESEARCH).value
        table.add_row(name, _state(store, name), licence, size, ", ".join(_users(entry, measured)))
    console().print(table)
    note = "'research' weights are used with --licence research only; `reenact-zoo weights show NAME` prints every fact"
    console().print(note, "")


@weights_app.command("show", epilog=example("weights show hopenet_robust_alpha1"))
def weights_show(name: str) -> None:
    """All that is known about a weight file, and how to get it."""
    from reenact_zoo.weights.store import WeightStore

    store = WeightStore()
    facts = _facts(store, name, _metrics())
    if not facts["obtain"]:
        fetched = f"`reenact-zoo weights fetch {name}`" + ("" if facts["permissive"] else " --licence research")
        facts["obtain"] = fetched if facts["urls"] else "comes with the package, or is made by it"
    texts = {key: _text(value) for key, value in facts.items() if value not in (None, "", [], {})}
    print_rows(name, [(key, text) for key, text in texts.items() if key != "name"])


@weights_app.command("fetch", epilog=example("weights fetch alexnet_imagenet inception_fid"))
def weights_fetch(
    names: Annotated[list[str], typer.Argument(help="Entries to download.")],
    licence: LicenceOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Download weight files into your own folder; continues where an earlier download broke off."""
    from reenact_zoo.weights.download import fetch
    from reenact_zoo.weights.store import WeightStore

    store, failures = WeightStore(licence=licence), []
    for name in [store.entry(name).name for name in names]:  # a misspelt name stops it before anything is downloaded
        try:
            print(f"{name}: {fetch(name, store, progress=not quiet)}")
        except InputError as error:
            failures.append(str(error))
    if failures:
        raise InputError(" | ".join(failures))


@weights_app.command("import", epilog=example("weights import backbone.pth --as arcface_r50_ms1mv3"))
def weights_import(
    file: Annotated[Path, typer.Argument(help="File you obtained; also the .bz2 or .zip it came in.")],
    name: Annotated[str, typer.Option("--as", help="Entry it belongs to.")],
    replace: Annotated[bool, typer.Option(help="Trust this file instead of one imported before.")] = False,
) -> None:
    """Check a file and copy it into your own folder under its entry's name."""
    from reenact_zoo.weights.manifest import find_entry
    from reenact_zoo.weights.place import import_file

    print(f"{name}: {import_file(file, name, replace)}")
    if not find_entry(name).permissive:
        print(f"licence: {find_entry(name).licence}; commands use it with --licence research")


@weights_app.command("path", epilog=example("weights path mobilefacenet"))
def weights_path(
    name: Annotated[str | None, typer.Argument(help="Entry; without it, the folder of fetch and import.")] = None,
    licence: LicenceOption = None,
) -> None:
    """Where a weight file lies; says how to get it otherwise."""
    from reenact_zoo.weights.folders import own_folder
    from reenact_zoo.weights.store import WeightStore

    print(WeightStore(licence=licence).path(name) if name else own_folder())


@weights_app.command("verify", epilog=example("weights verify"))
def weights_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Entries; all that are at hand where omitted.")] = None,
) -> None:
    """Read every file at hand again and compare its sha256; exit status 1 if one differs."""
    from reenact_zoo.weights.folders import trusted_sha256
    from reenact_zoo.weights.manifest import WeightsMissing, manifest
    from reenact_zoo.weights.store import WeightStore

    store, rows, differing = WeightStore(), [], []
    for name in names or manifest():
        try:
            difference = store.verify(name)
        except WeightsMissing:
            if names:
                raise
            continue
        known = store.entry(name).sha256 or trusted_sha256(name)
        rows.append((name, difference or ("whole" if known else "no sha256 is known; recognised by its name")))
        differing += [name] if difference else []
    print_rows("weights", rows)
    if differing:
        fail(f"differing: {', '.join(differing)}", 1)


def _measured() -> dict[str, list[str]]:
    """Weight entry → the quantities its network measures; much faster than asking the cards of all metrics."""
    from reenact_zoo.faces.quantities import INSTRUMENTS, QUANTITIES

    found: dict[str, list[str]] = {}
    for name, quantity in QUANTITIES.items():
        for entry in INSTRUMENTS[quantity.row].weights if quantity.row in INSTRUMENTS else ():
            found.setdefault(entry, []).append(name)
    return found


def _metrics() -> dict[str, list[str]]:
    """Weight entry → the metrics whose cards ask for a quantity that its network measures."""
    from reenact_zoo.faces.measure import FaceMeasurer
    from reenact_zoo.registry import METRICS

    measurer, found = FaceMeasurer(), dict[str, list[str]]()
    for metric in METRICS.names():
        card = METRICS.get(metric).card
        for entry in {entry for q in card.quantities for entry in measurer.judges(q)}.union(card.entries):
            found.setdefault(entry, []).append(f"metric {metric}")
    return found


def _users(entry: Any, found: dict[str, list[str]]) -> list[str]:
    return [*found.get(entry.name, []), *entry.used_by]


def _facts(store: Any, name: str, metrics: dict[str, list[str]]) -> dict[str, Any]:
    from dataclasses import asdict

    entry = store.entry(name)
    lists = {"used_by": _users(entry, metrics), "urls": list(entry.urls), "lacks": list(entry.lacks)}
    facts = asdict(entry) | lists | {"state": _state(store, name)}
    facts["path"] = str(store.path(name)) if store.available(name) else None
    return facts


def _state(store: Any, name: str) -> str:
    if store.at_hand(name):
        return "at hand"
    return "yours to get" if store.entry(name).supplied_by_user else "missing"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {tuple(shape)}" for key, shape in value.items())
    if isinstance(value, list):
        return ", ".join(value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
