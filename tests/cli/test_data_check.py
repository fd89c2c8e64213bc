from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from reenact_zoo.cli.data_check import accept_terms, check
from reenact_zoo.cli.terminal import Commands
from reenact_zoo.consent import TERMS, acknowledgement_file, require_terms

Tree = Callable[[str], Path]


@pytest.fixture
def run() -> Callable[..., object]:
    app = typer.Typer(cls=Commands)
    app.command("check")(check)
    app.command("accept-terms")(accept_terms)
    return lambda *words, **options: CliRunner().invoke(app, list(map(str, words)), **options)


def test_exit_status_tells_faults_from_health_and_from_nothing_to_check(
    run: Callable[..., object], fake_tree: Tree, tmp_path: Path
) -> None:
    root = fake_tree("voxceleb_official")
    sick = run("check", root)
    assert sick.exit_code == 1
    assert "VoxCeleb1 test identities: 2 of 40" in sick.output
    well = run("check", root, "--ignore", "missing")
    assert well.exit_code == 0
    assert "no faults" in well.output
    nothing = run("check", tmp_path)
    assert nothing.exit_code == 2
    assert "Traceback" not in nothing.output


def test_json_is_for_programs(run: Callable[..., object], fake_tree: Tree) -> None:
    result = run("check", fake_tree("ffpp"), "--json")
    content = json.loads(result.stdout)
    assert content["dataset"] == "ffpp"
    assert result.exit_code == 1
    (cross,) = (each for each in content["coverage"] if each["protocol"] == "ffpp_cross")
    assert (cross["total"], cross["have"]) == (140, 0)  # the frames asked for lie behind the end of these tiny clips


def test_terms_are_shown_before_they_are_accepted(run: Callable[..., object], tmp_path: Path) -> None:
    refused = run("accept-terms", "ffpp", tmp_path, input="n\n")
    assert TERMS["ffpp"].address in refused.output.replace("\n", "")
    assert refused.exit_code == 2
    assert not acknowledgement_file("ffpp", tmp_path).exists()
    nobody = run("accept-terms", "ffpp", tmp_path)  # no terminal
    assert nobody.exit_code == 2
    assert "--yes" in nobody.output
    assert run("accept-terms", "ffpp", tmp_path, input="y\n").exit_code == 0
    require_terms("ffpp", tmp_path)
    again = run("accept-terms", "ffpp", tmp_path)
    assert "accepted before" in again.output
    assert run("accept-terms", "clips", tmp_path, "--yes").exit_code == 2
