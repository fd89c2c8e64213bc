"""``reenact-zoo table``: tables of records, and published tables beside them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reenact_zoo.cli.terminal import console
from reenact_zoo.cli.weights import LicenceOption
from reenact_zoo.types import InputError

if TYPE_CHECKING:
    from reenact_zoo.evaluation.records import Record


class Format(StrEnum):
    """Forms of a table."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    HTML = "html"


def table(
    folder: Annotated[Path | None, typer.Argument(help="Folder of records.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol.")] = None,
    paper: Annotated[
        str | None, typer.Option(help="Published table, such as dcg_gan/table1, beside the records; or a paper.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", "-f")] = Format.TERMINAL,
    licence: LicenceOption = None,
) -> None:
    """Tables from records, nothing typed in; with --paper beside what was published, and a verdict for every cell.

    FOLDER may be left out with --paper: then every cell says what it would take to measure it.
    """
    if paper is not None:
        _published(paper, folder, protocol, form)
    elif folder is None:
        raise InputError("which records? give their folder, or a published table with --paper")
    else:
        _results(_records(folder, protocol), form)


def _records(folder: Path, protocol: str | None) -> list[Record]:
    from reenact_zoo.evaluation.records import read_records

    records = [r for r in read_records(folder) if protocol in (None, r.protocol)]
    if not records:
        raise InputError(f"no records of {protocol or 'any protocol'} in {folder}; run a benchmark first")
    return records


def _results(records: list[Record], form: Format) -> None:
    from reenact_zoo.evaluation.table import build_table

    for name in dict.fromkeys(r.protocol for r in records):
        built = build_table([r for r in records if r.protocol == name])
        if form is Format.TERMINAL:
            built.print(console())
        else:
            forms = {Format.MARKDOWN: built.markdown, Format.CSV: built.csv, Format.LATEX: built.latex}
            print({**forms, Format.HTML: built.html}[form]())


def _published(name: str, folder: Path | None, protocol: str | None, form: Format) -> None:
    from reenact_zoo.evaluation.paper import load_tables
    from reenact_zoo.evaluation.reproduction import forms, reproduce
    from reenact_zoo.faces.measure import FaceMeasurer

    paper, tables = load_tables(name)
    records = _records(folder, protocol) if folder is not None else []
    for key in tables:
        made = reproduce(paper, key, records, FaceMeasurer(), folder)
        if form is Format.TERMINAL:
            forms.print_reproduction(made, console())
        else:
            written = {Format.MARKDOWN: forms.markdown, Format.CSV: forms.as_csv, Format.LATEX: forms.latex}
            print({**written, Format.HTML: forms.html}[form](made))
