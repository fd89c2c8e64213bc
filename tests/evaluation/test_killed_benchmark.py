"""What is known is not computed again, what changed is, and nothing else; a kill at any moment costs one batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_world import Counted, FaceLevel, FakeMeasurer, Level

from reenact_zoo.evaluation.cells import Cell, Cells, Lap, Value
from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.runner import run
from reenact_zoo.evaluation.table import build_table

LAP = Lap(3, 0.5, 0.25, 1.0, 100.0, None, True)
HERE = Path(__file__).parent


def go(protocol: Any, method: str, out: Path, **options: Any) -> Record:
    options.setdefault("measurer", FakeMeasurer())
    return run(protocol, f"fake_world:{method}", out=out, progress=False, **options)


@pytest.fixture(autouse=True)
def _counters() -> None:
    Counted.made = Level.computed = FaceLevel.computed = 0


def test_cells_come_back_exactly(tmp_path: Path) -> None:
    cells = Cells(tmp_path / "one")
    assert cells.read() == ({}, [])
    first = Cell(truth=True, values={"a": Value(0.1 + 0.2, "found"), "b": Value(float("nan")), "c": Value(1e-300)})
    cells.append({"p": first, "q": Cell(reason="no face", final=False)}, LAP)
    Cells(tmp_path / "one").append({"p": Cell(truth=True, values={"d": Value(float("inf"))})}, LAP)
    known, laps = cells.read()
    assert laps == [LAP, LAP]
    assert known["q"] == Cell(reason="no face", final=False)
    values = known["p"].values
    assert (values["a"], values["c"], values["d"].number) == (Value(0.1 + 0.2, "found"), Value(1e-300), float("inf"))
    assert values["b"].number != values["b"].number


@pytest.mark.parametrize("damage", ["cut off", "a letter changed", "nothing but zeros"])
def test_a_damaged_line_counts_as_never_written(tmp_path: Path, damage: str) -> None:
    cells = Cells(tmp_path)
    cells.append({"p": Cell(values={"a": Value(1.0)})}, LAP)
    cells.append({"q": Cell(values={"a": Value(2.0)})}, LAP)
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    last = {"cut off": lines[1][:-9], "a letter changed": lines[1].replace(b"2.0", b"3.0"), "nothing but zeros": b"\0"}
    path.write_bytes(lines[0] + last[damage])
    assert list(cells.read()[0]) == ["p"]


def test_a_second_run_makes_nothing_and_says_the_same(write_protocol: Any, tmp_path: Path) -> None:
    first = go(write_protocol(), "Counted", tmp_path)
    assert Counted.made == 24
    second = go(write_protocol(), "Counted", tmp_path)
    assert Counted.made == 24
    assert (second.metrics, second.gallery) == (first.metrics, first.gallery)
    assert second.conditions.frames_per_s == first.conditions.frames_per_s, "the speed of the run that made them"
    assert second.pair_values().equals(first.pair_values())


def test_an_added_metric_is_the_only_one_that_is_computed(write_protocol: Any, tmp_path: Path) -> None:
    go(write_protocol(metrics=["fake_world:Level"]), "Counted", tmp_path)
    assert (Level.computed, FaceLevel.computed) == (24, 0)
    rehearsed = 1
    both = go(write_protocol(metrics=["fake_world:Level", "fake_world:FaceLevel"]), "Counted", tmp_path)
    assert (Level.computed, FaceLevel.computed) == (24, 24 + rehearsed)
    assert both.metrics["fake_world:Level"].n == both.metrics["fake_world:FaceLevel"].n == 24


def test_a_changed_weight_file_invalidates_exactly_its_cells(write_protocol: Any, tmp_path: Path) -> None:
    protocol = write_protocol(metrics=["fake_world:Level", "fake_world:FaceLevel"])
    go(protocol, "Counted", tmp_path)
    Level.computed = FaceLevel.computed = 0
    record = go(protocol, "Counted", tmp_path, measurer=FakeMeasurer(files="1"))
    assert (Level.computed, FaceLevel.computed) == (0, 24 + 1)
    assert record.metrics["fake_world:FaceLevel"].card["weights"] == {"landmarks": "1" * 64}
    Level.computed = FaceLevel.computed = 0
    go(protocol, "Counted", tmp_path)
    assert (Level.computed, FaceLevel.computed) == (0, 0), "the old file is back, and its cells are still there"


def test_the_instrument_of_an_annotation_decides_the_pictures(write_protocol: Any, tmp_path: Path) -> None:
    keys = {
        (method, files): go(write_protocol(), method, tmp_path, measurer=FakeMeasurer(files=files)).cells
        for method in ("FromLandmarks", "Source")
        for files in "01"
    }
    assert keys["FromLandmarks", "0"] != keys["FromLandmarks", "1"]
    assert keys["Source", "0"] == keys["Source", "1"]


def test_other_weights_settings_seeds_and_files_make_other_pictures(write_protocol: Any, tmp_path: Path) -> None:
    plain = go(write_protocol(), "Shifted", tmp_path)
    again = go(write_protocol(metrics=["fake_world:Corner"]), "Shifted", tmp_path, label="another name")
    assert plain.cells == again.cells, "neither metrics nor the row's name touch a picture"
    others = [
        go(write_protocol(), "Shifted", tmp_path, changes={"by": 0.1}),
        go(write_protocol(), "Shifted", tmp_path, seed=1),
        go(write_protocol(dataset_frames=6), "Shifted", tmp_path),
    ]
    assert len({plain.cells, *[record.cells for record in others]}) == 4


def test_what_could_not_be_read_is_tried_again(write_protocol: Any, tmp_path: Path) -> None:
    protocol = write_protocol()
    flaky = tmp_path / "flaky"
    flaky.touch()
    os.environ["FAKE_WORLD_FLAKY"] = str(flaky)
    try:
        assert go(protocol, "Source", tmp_path / "out").num_failed > 0
        flaky.unlink()
        assert go(protocol, "Source", tmp_path / "out").num_failed == 0
    finally:
        del os.environ["FAKE_WORLD_FLAKY"]


def test_what_a_passing_failure_counted_as_goes_with_it(write_protocol: Any, tmp_path: Path) -> None:
    """A pair whose method raised has lost its face for the time being; once it works, that is forgotten."""
    protocol = write_protocol(metrics=["fake_world:FaceLevel", "detection_rate"])
    flaky = tmp_path / "flaky"
    flaky.touch()
    os.environ["FAKE_WORLD_RAISES"] = str(flaky)
    try:
        first = go(protocol, "RaisesForAWhile", tmp_path / "out")
        assert (first.num_failed, first.metrics["fake_world:FaceLevel"].lost) == (8, 8)
        flaky.unlink()
        second = go(protocol, "RaisesForAWhile", tmp_path / "out")
    finally:
        del os.environ["FAKE_WORLD_RAISES"]
    straight = go(protocol, "RaisesForAWhile", tmp_path / "straight")
    assert (second.num_failed, second.metrics) == (0, straight.metrics)


def test_a_picture_that_was_deleted_is_made_again(write_protocol: Any, tmp_path: Path) -> None:
    record = go(write_protocol(), "Counted", tmp_path)
    (tmp_path / record.gallery[3].reenacted).unlink()
    go(write_protocol(), "Counted", tmp_path, batch_size=4)
    assert Counted.made == 24 + 4
    assert (tmp_path / record.gallery[3].reenacted).is_file()


def test_killed_at_random_and_started_again_the_tables_are_the_same_bytes(write_protocol: Any, tmp_path: Path) -> None:
    metrics = ["fake_world:Level", "fake_world:ToTarget", "fake_world:FaceLevel", "fake_world:Spread"]
    protocol = write_protocol(metrics=metrics, dataset_clips=4)
    command = [sys.executable, str(HERE / "killed_script.py"), protocol.source, str(tmp_path), "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    kills, writers = map(int, done.stdout.split())
    assert kills > 0
    assert writers > 1, "no kill fell between two batches"
    whole, killed = (build_table(read_records(tmp_path / name)) for name in ("whole", "killed"))
    assert whole.csv().encode() == killed.csv().encode()
    assert len(whole.csv().splitlines()) == 1 + len(metrics)
    one, other = (read_records(tmp_path / name)[0] for name in ("whole", "killed"))
    assert one.pair_values().equals(other.pair_values())
    assert (one.metrics, one.failures) == (other.metrics, other.failures)
    assert not list(tmp_path.glob("killed/records/*.part"))
