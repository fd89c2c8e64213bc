"""Engines give the same results; what cannot run is said in one line."""

from __future__ import annotations

import os
import sys

import pytest

from reenact_zoo.data.engine import run_jobs
from reenact_zoo.types import InputError


def scaled(factor: int, job: int) -> tuple[int, bool]:
    if job < 0:
        os._exit(9)
    return factor * job, os.getpid() == int(os.environ["REENACT_ZOO_TEST_PID"])


@pytest.fixture(autouse=True)
def _own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_TEST_PID", str(os.getpid()))


def test_the_local_engine_runs_here_and_only_what_is_asked_for() -> None:
    drawn = []
    jobs = (drawn.append(job) or job for job in range(9))
    results = run_jobs(scaled, 10, jobs)
    assert next(results) == (0, (0, True))
    assert next(results) == (1, (10, True))
    assert drawn == [0, 1]


def test_the_pool_runs_elsewhere_and_a_worker_that_dies_is_one_line() -> None:
    results = run_jobs(scaled, 10, [3, -1], engine="pool", workers=1)
    assert next(results) == (3, (30, False))
    with pytest.raises(InputError, match="a worker process died"):
        next(results)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'reenact_zoo\[cluster\]'"):
        list(run_jobs(scaled, 10, [1], engine="ray"))


def test_an_unknown_engine_suggests_a_known_one() -> None:
    with pytest.raises(InputError, match="did you mean 'pool'"):
        run_jobs(scaled, 10, [1], engine="pol")
