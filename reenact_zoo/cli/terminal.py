"""What every command shares: exit statuses, one-line errors, tables of names."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import typer
import typer.core

from reenact_zoo.types import InputError


class Commands(typer.core.TyperGroup):
    """Exit status 0 done, 1 a check failed or a bug, 2 the user's mistake, 130 interrupted."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what a user can mend becomes one line without a traceback."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            fail(str(error), 2)
        except KeyboardInterrupt:
            fail("interrupted", 130)


def fail(message: str, status: int) -> NoReturn:
    """Say in one line on stderr why the program stops, and stop."""
    print(f"reenact-zoo: {message}", file=sys.stderr)
    raise typer.Exit(status)


def example(command: str) -> str:
    """Last line of a help page."""
    return f"Example: `reenact-zoo {command}`"


def console() -> Any:
    """A rich console; a pipe or a file gets the whole width of a table, never a wrapped one."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS", "160")))


def print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    """Names with what is said about each."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(escape(name), escape(text))
    console().print(table, "")
