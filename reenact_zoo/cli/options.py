"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, only results and errors.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N pairs; the record is marked partial.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the data set, for protocols that need one.")]
