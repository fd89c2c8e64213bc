"""Many runs at once give the records that one after the other gives, and one that fails costs the others nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_world import FakeMeasurer

from reenact_zoo.evaluation.benchmark import Context, Job, jobs_of, run_all
from reenact_zoo.evaluation.board import write_board
from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.table import build_table
from reenact_zoo.types import InputError

METHODS = ("fake_world:Noisy", "fake_world:Trained", "fake_world:NaNOnBright")


def test_a_pool_gives_the_same_records(write_protocol: Any, tmp_path: Path) -> None:
    jobs = list(jobs_of([write_protocol()], METHODS, seeds=[0, 1]))
    assert [job.title for job in jobs[:2]] == [
        "fake_world:Noisy on greys_cross",
        "fake_world:Noisy (seed 1) on greys_cross",
    ]
    outcomes = {}
    for engine in ("local", "pool"):
        context = Context(tmp_path / engine, measurer=FakeMeasurer())
        outcomes[engine] = run_all(jobs, context, engine=engine, workers=2, progress=False)
    assert [job for job, _ in outcomes["pool"]] == jobs
    for (_, one), (_, other) in zip(outcomes["local"], outcomes["pool"], strict=True):
        if isinstance(one, str):
            assert one == other
            assert "has to be trained" in one
        else:
            assert isinstance(other, Record)
            assert (one.metrics, one.failures, one.seed) == (other.metrics, other.failures, other.seed)
    tables = [build_table([r for r in read_records(tmp_path / e) if not r.seed]).csv() for e in ("local", "pool")]
    assert tables[0] == tables[1]
    assert len(read_records(tmp_path / "pool")) == 4


def test_a_bound_runs_once_however_many_seeds(write_protocol: Any) -> None:
    jobs = list(jobs_of([write_protocol()], ["bound:mean_face", "fake_world:Noisy"], seeds=[3, 4]))
    assert [(job.method, job.seed) for job in jobs] == [
        ("bound:mean_face", 3),
        ("fake_world:Noisy", 3),
        ("fake_world:Noisy", 4),
    ]


def test_an_unknown_engine_is_named(write_protocol: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'local'"):
        run_all([Job(write_protocol(), "fake_world:Noisy")], Context(tmp_path), engine="locl", progress=False)


def test_means_and_pictures_reach_tensorboard(write_protocol: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    context = Context(tmp_path, measurer=FakeMeasurer(), tensorboard=True)
    ((_, record),) = run_all([Job(write_protocol(), "fake_world:NaNOnBright")], context, progress=False)
    assert isinstance(record, Record)
    folder = write_board(record, tmp_path)  # once more: replaced, not added to
    assert len(list(folder.iterdir())) == 1
    events = EventAccumulator(str(folder))
    events.Reload()
    (level,) = events.Scalars("greys_cross/fake_world:Level")
    assert level.value == pytest.approx(record.metrics["fake_world:Level"].mean)
    (picture,) = events.Images("greys_cross/pairs")
    assert (picture.width, picture.height) == (4 * 16, 8 * 16)
