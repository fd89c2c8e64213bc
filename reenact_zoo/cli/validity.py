"""``reenact-zoo validate-metrics``: which metrics see what is wrong with a picture."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reenact_zoo.cli.options import Quiet, Root
from reenact_zoo.cli.terminal import console
from reenact_zoo.cli.weights import LicenceOption

DEFAULT = "synthetic_cross_64"


class Form(StrEnum):
    """Forms of the table."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    CSV = "csv"


def validate_metrics(
    protocol: Annotated[
        str, typer.Argument(help="Synthetic protocol with cross pairs, by name or YAML file.")
    ] = DEFAULT,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Only this one; repeat for several.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="That many pairs, evenly spaced.")] = None,
    root: Root = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page, its picture and the CSV.")] = None,
    form: Annotated[Form, typer.Option("--format", "-f")] = Form.TERMINAL,
    quiet: Quiet = False,
    licence: LicenceOption = None,
) -> None:
    """Spoil true pictures by known amounts and report how well each metric ranks them, with intervals.

    Blur, shifts, noise, JPEG and cross-fades; and, where the head model of the protocol is at hand, another identity,
    pose and expression rendered by known steps. Metrics that prefer a copy of the driving frame are exposed.
    """
    from reenact_zoo.evaluation.protocol import load_protocol
    from reenact_zoo.evaluation.validity import as_csv, sheet, validate, write_page

    found = validate(load_protocol(protocol), root=root, limit=limit, metrics=metric or [], progress=not quiet)
    if form is Form.TERMINAL:
        sheet(found, intervals=False).print(console())
    else:
        print(sheet(found).markdown() if form is Form.MARKDOWN else as_csv(found), end="" if form is Form.CSV else "\n")
    if out is not None:
        page = write_page(found, out, _command(protocol, metric or [], limit, root, out))
        typer.echo(f"page: {page}", err=form is Form.CSV)


def _command(protocol: str, metrics: list[str], limit: int | None, root: Path | None, out: Path) -> str:
    """What was asked for, in one line for a shell."""
    words = ["reenact-zoo", "validate-metrics", protocol]
    for name in metrics:
        words += ["--metric", name]
    for option, value in (("--limit", limit), ("--root", root), ("--out", out)):
        words += [] if value is None else [option, str(value)]
    return shlex.join(words)
