from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_world import FakeMeasurer

from reenact_zoo.evaluation.records import read_records
from reenact_zoo.evaluation.runner import run
from reenact_zoo.evaluation.table import build_table

SCRIPT = Path(__file__).with_name("ddp_script.py")


@pytest.mark.slow
def test_two_processes_write_the_record_of_one(write_protocol: Any, tmp_path: Path) -> None:
    metrics = [
        "fake_world:Level",
        "fake_world:ToTarget",
        "fake_world:FaceLevel",
        "fake_world:Spread",
        "fake_world:Rank",
    ]
    protocol = write_protocol(metrics=metrics)
    options: dict[str, Any] = {"batch_size": 5, "progress": False, "measurer": FakeMeasurer()}
    alone = run(protocol, "fake_world:Slow", out=tmp_path / "alone", **options)

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent)}
    command = [sys.executable, str(SCRIPT), protocol.source, str(tmp_path / "both")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = dict(re.findall(r"process (\d): (\S+)", done.stdout))
    assert said == dict.fromkeys("01", repr(alone.metrics["fake_world:Level"].mean)), "both return the record"

    (both,) = read_records(tmp_path / "both")
    assert both.pair_values().to_pydict() == alone.pair_values().to_pydict()
    assert (both.metrics, both.failures) == (alone.metrics, alone.failures)
    assert [pair.pair_id for pair in both.gallery] == [pair.pair_id for pair in alone.gallery]
    for one, other in zip(both.gallery, alone.gallery, strict=True):
        assert bool(one.reenacted) == bool(other.reenacted)
        paths = tmp_path / "both" / one.reenacted, tmp_path / "alone" / other.reenacted
        assert not one.reenacted or paths[0].read_bytes() == paths[1].read_bytes()
    assert build_table([both]).csv() == build_table([alone]).csv()
    writers = list((tmp_path / "both" / "cells").glob("*/*.jsonl"))
    assert len(writers) == 2, "each process keeps its own cells"
