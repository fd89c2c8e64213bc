"""``reenact-zoo study``: people as judges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reenact_zoo.cli.terminal import console, example

study_app = typer.Typer(no_args_is_help=True, help="People as judges: a blinded A/B kit, and what they answered.")


@study_app.command("make", epilog=example("study make reports/quickstart --out my_study"))
def study_make(
    folder: Annotated[Path, typer.Argument(help="Folder of results that a benchmark wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the kit.")],
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Row; repeat for several.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="At most so many.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the questions and of the sides.")] = 0,
) -> None:
    """Write one page with pairs of outputs in random order for judges, and the key that says who made which."""
    from reenact_zoo.evaluation.study import make_study

    kit = make_study(folder, out, methods=method or [], protocol=protocol, questions=questions, seed=seed)
    print(f"page: {kit.page} ({kit.num_questions} questions; hand out this file alone)")
    print(f"key: {kit.key} (keep it from the judges)")


@study_app.command("read", epilog=example("study read my_study answers_anna.csv answers_ben.csv"))
def study_read(
    folder: Annotated[Path, typer.Argument(help="Folder of the kit, with its key.")],
    answers: Annotated[list[Path], typer.Argument(help="CSV files that judges saved.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
) -> None:
    """Which method people prefer, with intervals, and how far they agree."""
    from reenact_zoo.evaluation.study import read_study, sheet

    table = sheet(read_study(folder, answers))
    if markdown:
        print(table.markdown())
    else:
        table.print(console())
