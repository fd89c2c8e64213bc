"""Looking at data, and accepting its terms."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reenact_zoo.cli.terminal import print_rows
from reenact_zoo.consent import TERMS, acknowledgement_file, terms_problem
from reenact_zoo.consent import accept_terms as accept
from reenact_zoo.types import InputError

if TYPE_CHECKING:
    from reenact_zoo.data.doctor import Finding, Report
    from reenact_zoo.data.pairs import Pair

_OF_FILES = frozenset({"unreadable", "truncated", "damaged", "duplicate", "squashed"})
_EXAMPLES = 5  # paths shown of a finding; --json has them all


def check(
    path: Annotated[Path, typer.Argument(help="Folder of a dataset, or any folder of clips.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    ignore: Annotated[list[str] | None, typer.Option(help="Kind of finding to leave out; repeat for several.")] = None,
    decode: Annotated[bool, typer.Option(help="Decode every frame: finds damage inside files, takes long.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """What a folder of clips is, what is wrong with it, and how much of each protocol it covers.

    Exit status 0: no fault; 1: faults were found; 2: there is nothing to check.
    """
    from reenact_zoo.data.doctor import check as look
    from reenact_zoo.evaluation.progress import Bar

    with contextlib.ExitStack() as stack:
        bar: list[Bar] = []

        def progress(done: int, total: int) -> None:
            if not bar:
                bar.append(stack.enter_context(Bar(f"decoding {path}", total, shown=not quiet)))
            bar[0].advance(1, 0)

        report = look(path, protocols=_protocols(), decode=decode, ignore=ignore or (), progress=progress)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        _show(report)
    if not report.healthy:
        raise typer.Exit(1)


def _protocols() -> dict[str, tuple[str, list[Pair]]]:
    """Name → (dataset, pairs) of the packaged protocols that list their pairs."""
    from reenact_zoo.data.pairs import read_pairs
    from reenact_zoo.evaluation.protocol import load_protocol, protocol_names

    protocols = [load_protocol(name) for name in protocol_names()]
    return {p.name: (p.dataset.name, read_pairs(p.pairs_file)) for p in protocols if p.pairs is not None}


def _show(report: Report) -> None:
    splits = ", ".join(f"{count} {split or 'in no split'}" for split, count in report.splits.items())
    rows = [("layout", report.layout), ("clips", f"{report.clips} clips of {report.identities} identities ({splits})")]
    print_rows(str(report.path), rows)
    if report.coverage:
        print_rows("protocols", [(each.protocol, str(each)) for each in report.coverage])
    for title, faults in (("faults", True), ("notes", False)):
        found = [each for each in report.findings if each.is_fault is faults]
        if found:
            print_rows(title, [row for each in found for row in [(each.kind, each.message), *_more(each)]])
    if report.healthy:
        print("no faults")


def _more(finding: Finding) -> list[tuple[str, str]]:
    """Rows with the next few files of a fault; the first is in the message, and so are names of other things."""
    items = finding.items if finding.kind in _OF_FILES else ()
    rows = [("", item) for item in items[1:_EXAMPLES]]
    return [*rows, ("", f"and {len(items) - _EXAMPLES} more")] if len(items) > _EXAMPLES else rows


def accept_terms(
    dataset: Annotated[str, typer.Argument(help="Dataset whose terms you read.")],
    path: Annotated[Path, typer.Argument(help="Its root folder; the acknowledgement is written there.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: you have read and accepted the terms.")] = False,
) -> None:
    """Show where a dataset's terms of use are, and record that you accept them; its reader refuses without."""
    terms = TERMS.get(dataset)
    if terms is None:
        raise InputError(f"'{dataset}' has no terms to accept; those that have: {', '.join(sorted(TERMS))}")
    rows = [("document", terms.title), ("where", terms.address), ("version", terms.version)]
    print_rows(
        dataset, [*rows, *(("in short", line) for line in terms.says), ("", "The document itself is what binds.")]
    )
    if path.is_dir() and not terms_problem(dataset, path):
        print(f"accepted before: {acknowledgement_file(dataset, path)}")
        return
    if not yes and not _agreed():
        raise InputError("not accepted; nothing was written")
    print(f"accepted: {accept(dataset, path)}")


def _agreed() -> bool:
    try:
        return typer.confirm("Have you read these terms, and do you accept them?")
    except typer.Abort:  # no terminal to answer at
        raise InputError("nobody answered; run it in a terminal, or with --yes once you have read the terms") from None
