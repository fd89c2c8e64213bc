"""A progress bar with rate, time left and failures; on stderr, so that results can be piped."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="cyan")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"{task.finished_time or 0:.0f} s")
        left = task.time_remaining
        return Text("" if left is None else f"{left:.0f} s left")


class _Failed(ProgressColumn):
    def render(self, task: Task) -> Text:
        failed = task.fields["failed"]
        return Text(f"{failed} failed" if failed else "", style="red")


class Bar:
    """Context manager around the pairs of one run.

    Args:
        title: what is being run.
        total: number of pairs.
        shown: False makes every call do nothing.
    """

    def __init__(self, title: str, total: int, *, shown: bool) -> None:
        # Seconds, not hours:minutes:seconds, and a narrow bar: the line fits into 80 columns.
        columns = (BarColumn(16), MofNCompleteColumn(), _Rate(), _Left(), _Failed())
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"), *columns, console=console, disable=not shown, expand=False
        )
        self._task = self._progress.add_task(title, total=total, failed=0)

    def advance(self, count: int, failed: int) -> None:
        """``count`` more pairs are done; ``failed`` in all so far."""
        self._progress.update(self._task, advance=count, failed=failed)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
