"""The command line as a user meets it: help with examples, one-line errors, exit statuses."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from reenact_zoo.cli import app
from reenact_zoo.video.write import write_image

COMMANDS = ["list", "train", "evaluate", "benchmark", "animate", "table", "data", "weights", "metrics"]
LEAVES = [
    *(["list"], ["train"], ["evaluate"], ["benchmark"], ["animate"], ["table"], ["data", "generate"]),
    *(["data", "prepare"], ["data", "check"], ["data", "freeze"], ["data", "accept-terms"]),
    *(["weights", "list"], ["weights", "show"], ["weights", "fetch"], ["weights", "import"], ["weights", "path"]),
    *(["weights", "verify"], ["metrics", "list"], ["metrics", "show"]),
]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def fails_with_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception  # not a crash
    lines = [line for line in result.stderr.strip().splitlines() if line]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_command(command: str) -> None:
    assert command in call("--help").stdout


@pytest.mark.parametrize("command", LEAVES, ids=" ".join)
def test_help_of_each_command_shows_an_example(command: list[str]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout


def test_list_knows_the_baselines_and_their_descriptions() -> None:
    result = call("list", "methods")
    assert result.exit_code == 0
    for name in ("copy_source", "copy_driving", "landmark_warp"):
        assert name in result.stdout
    assert "no training" in result.stdout


def test_a_misspelt_method_suggests_the_nearest() -> None:
    fails_with_one_line(call("evaluate", "landmrk_warp", "synthetic_cross_64"), "landmark_warp")


def test_a_misspelt_protocol_suggests_the_nearest(tmp_path: Path) -> None:
    fails_with_one_line(call("evaluate", "copy_source", "synthetic_crosss", "--out", tmp_path), "synthetic_cross")


def test_an_unknown_metric_suggests_the_nearest() -> None:
    fails_with_one_line(call("metrics", "show", "psnrr"), "psnr")


def test_a_metric_card_prints_direction_and_unit() -> None:
    result = call("metrics", "show", "psnr")
    assert "dB" in result.stdout
    assert "higher is better" in result.stdout
    assert "psnr.v1" in result.stdout


def test_a_checkpoint_without_its_method_is_refused(tmp_path: Path) -> None:
    result = call("benchmark", "quickstart", "--checkpoint", "model.ckpt", "--out", tmp_path)
    fails_with_one_line(result, "method=path")


def test_a_table_without_records_says_what_to_run(tmp_path: Path) -> None:
    fails_with_one_line(call("table", tmp_path), "run a benchmark")


def test_an_unknown_configuration_key_suggests_the_nearest(tmp_path: Path) -> None:
    fails_with_one_line(call("train", "example_synthetic", "max_update=3", "--out", tmp_path), "max_updates")


def test_missing_weights_say_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fails_with_one_line(call("weights", "path", "dlib_68"), "REENACT_ZOO_WEIGHTS", "shape_predictor_68")


@pytest.mark.parametrize("option", ["--source", "--driving"])
def test_a_missing_file_is_named(option: str, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    face = tmp_path / "face.png"
    write_image(face, astronaut)
    paths = {"--source": face, "--driving": face, option: tmp_path / "absent.mp4"}
    arguments = [x for pair in paths.items() for x in pair]
    fails_with_one_line(call("animate", *arguments, "--out", tmp_path / "o.mp4"), "absent.mp4")
    assert not (tmp_path / "o.mp4").exists()
    again = [*("--source", face, "--source", tmp_path / "second.png"), *("--driving", face)]
    fails_with_one_line(call("animate", *again, "--out", tmp_path / "o.png"), "second.png")


def test_train_evaluate_and_table_work_in_sequence(tmp_path: Path) -> None:
    small = ["max_updates=2", "batch_size=2", "workers=0", "method.width=4", "validation_pairs=0"]
    small += ["dataset.frames=4", "dataset.train_identities=2"]
    trained = call("train", "example_synthetic", *small, "--out", tmp_path / "run", "--quiet")
    assert trained.exit_code == 0, trained.output
    checkpoint = trained.stdout.strip().splitlines()[-1].removeprefix("checkpoint: ")
    assert Path(checkpoint).is_file()
    method = "reenact_zoo.testing:OnePhaseToy"
    options = ["--limit", 2, "--out", tmp_path / "eval", "--quiet", "--checkpoint", checkpoint]
    measured = call("evaluate", method, "synthetic_cross_64", *options)
    assert measured.exit_code == 0, measured.output
    for form in ("terminal", "markdown", "csv", "latex"):
        shown = call("table", tmp_path / "eval", "--format", form)
        assert shown.exit_code == 0, shown.output
        assert "toy" in shown.stdout.lower()


@pytest.mark.slow  # half a minute, most of it imports; test_animate.py sends a real signal too
def test_interrupting_a_benchmark_exits_with_130(tmp_path: Path) -> None:
    program = shutil.which("reenact-zoo") or str(Path(sys.executable).with_name("reenact-zoo"))
    command = [program, "benchmark", "quickstart", "--method", "copy_source", "--out", str(tmp_path), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(tmp_path.iterdir()):
        time.sleep(0.2)  # until the first protocol has begun: how long the imports take says nothing here
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
