"""Methods that a suite compares only where their weights are at hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import typer

from reenact_zoo.cli import benchmark as command
from reenact_zoo.evaluation import benchmark
from reenact_zoo.evaluation.benchmark import Job


def measured(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Any], possible: set[str]) -> None:
    """What the command does with records and reasons: those named "record" are records."""
    protocol: Any = SimpleNamespace(name="pairs")
    made = [(Job(protocol, method), outcome) for method, outcome in outcomes.items()]
    monkeypatch.setattr(benchmark, "run_all", lambda jobs, context, **options: made)
    monkeypatch.setattr(command, "_show", lambda records, out: print(f"table of {len(records)}"))
    command._measure([], SimpleNamespace(out=None), quiet=True, possible=possible)  # type: ignore[arg-type]


def test_a_method_without_weights_gets_a_line_and_the_command_succeeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = SimpleNamespace()
    measured(monkeypatch, {"copy_source": record, "bilayer": "needs its released files"}, {"bilayer"})
    shown = capsys.readouterr()
    assert shown.out == "table of 1\nnot run: bilayer: needs its released files\n"
    assert shown.err == ""


def test_a_method_that_must_be_there_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {"copy_source": SimpleNamespace(), "bilayer": "needs files", "fomm": "needs to be trained"}
    with pytest.raises(typer.Exit) as ended:
        measured(monkeypatch, outcomes, {"bilayer"})
    assert ended.value.exit_code == 2
    shown = capsys.readouterr()
    assert "not run: bilayer: needs files" in shown.out
    assert "fomm on pairs: needs to be trained" in shown.err
    assert "bilayer" not in shown.err
