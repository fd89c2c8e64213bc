"""Preparing and freezing from the command line."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from reenact_zoo.cli import app
from reenact_zoo.consent import acknowledgement_file, terms_problem
from reenact_zoo.datasets.prepared import Prepared, PreparedConfig
from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.evaluation.runner import run

Tree = Callable[[str], Path]
PLAIN = ("--policy", "none", "--annotate", "none", "--size", 32, "-q")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_gated_dataset_is_prepared_with_its_terms_and_measured(
    fake_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "shards"
    options = ("--root", fake_tree("celebdf"), "--out", out, *PLAIN, "--set", "parts=[Celeb-real]", "--limit", 4)
    result = call("data", "prepare", "celebdf", *options)
    assert result.exit_code == 0, result.output
    assert f"{out}: 4 clips, 20 frames; partial: the first 4 of 6 clips; 0 failed" in result.stdout
    assert terms_problem("celebdf", out) == ""
    prepared = Prepared(PreparedConfig(str(out)))
    assert [clip.identity for clip in prepared.clips] == ["id0", "id0", "id1", "id5"]

    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    fields = yaml.safe_load(Path(load_protocol("prepared_self").source).read_text())
    fields |= {"name": "small", "metrics": ["l1"], "resolution": 32, "metric_versions": {}, "sha256": ""}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(fields))
    protocol = load_protocol(str(tmp_path / "small.yaml"))
    records = [
        run(protocol, name, out=tmp_path / "results", root=out, progress=False)
        for name in ("copy_driving", "copy_source")
    ]
    assert [(record.num_pairs, record.num_failed) for record in records] == [(16, 0), (16, 0)]
    values = [record.metrics["l1"].mean for record in records]
    assert values[0] == 0
    assert values[1] > 0.01


def test_without_accepted_terms_nothing_is_prepared(own_tree: Tree, tmp_path: Path) -> None:
    root = own_tree("celebdf")
    acknowledgement_file("celebdf", root).unlink()
    result = call("data", "prepare", "celebdf", "--root", root, "--out", tmp_path / "shards", *PLAIN)
    assert result.exit_code == 2
    assert "accept-terms celebdf" in result.stderr
    assert not (tmp_path / "shards").exists()


def test_a_truncated_clip_is_counted_and_named(own_tree: Tree, tmp_path: Path) -> None:
    root = own_tree("celebdf")
    (root / "Celeb-real" / "id0_0000.mp4").write_bytes(b"not a video")
    result = call("data", "prepare", "celebdf", "--root", root, "--out", tmp_path / "shards", *PLAIN)
    assert result.exit_code == 0, result.output
    assert "8 clips, 40 frames; 1 failed" in result.stdout
    failed = Prepared(PreparedConfig(str(tmp_path / "shards"))).failed
    assert list(failed) == ["Celeb-real/id0_0000.mp4"]
    assert str(root) not in failed["Celeb-real/id0_0000.mp4"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("celebdff",), "did you mean 'celebdf'"),
        (("clips",), "no folder given"),
        (("clips", "--set", "identity"), "--set takes field=value"),
        (("clips", "--set", "identitty=file"), "did you mean 'identity'"),
        (("clips", "--fps", "quick"), "no frame rate"),
        (("clips", "--annotate", "depth"), "no instrument estimates 'depth'"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = call("data", "prepare", *words, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_freezing_prints_where_and_the_hashes(fake_tree: Tree, tmp_path: Path) -> None:
    result = call("data", "freeze", "celebdf_self", fake_tree("celebdf"), "--out", tmp_path)
    assert result.exit_code == 0, result.output
    pairs = tmp_path / "celebdf_self_frozen.csv"
    assert hashlib.sha256(pairs.read_bytes()).hexdigest() in result.stdout
    assert load_protocol(str(tmp_path / "celebdf_self_frozen.yaml")).hash in result.stdout


@pytest.mark.slow
def test_real_clips_are_prepared_however_often_it_is_killed(
    real_clips: Path, weights_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from reenact_zoo.cli import main; main()", "data", "prepare", "clips"]
    command += ["--root", str(real_clips), "--max-frames", "40", "--per-shard", "4", "-q", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment)
    whole, chance, kills = time.monotonic() - begin, random.Random(0), 0
    while True:
        process = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment)
        try:
            assert process.wait(whole * chance.uniform(0.4, 0.9)) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert kills < 30
    assert kills >= 1
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "killed" / path.name).read_bytes(), path.name
