"""Run by test_killed_benchmark.py: a run that is killed at random until it comes through, beside an undisturbed one.

Every try is a fork of one process that has imported everything, so that a try costs milliseconds. Prints how often it
was killed and how many of these tries had finished some batch.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from fake_world import FakeMeasurer

from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.evaluation.runner import run


def go(protocol: str, out: Path, limit: int | None = None) -> None:
    options = {"batch_size": 3, "limit": limit, "progress": False, "measurer": FakeMeasurer()}
    run(load_protocol(protocol), "fake_world:Slow", out=out, **options)


def attempt(protocol: str, out: Path, kill_after: float | None) -> bool:
    """Whether it ended by itself."""
    child = os.fork()
    if child == 0:
        go(protocol, out)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    name, folder, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    go(name, folder / "warm", limit=3)  # what is loaded late is loaded now, so that a kill finds the run at work
    begun = time.perf_counter()
    assert attempt(name, folder / "whole", None)
    whole = time.perf_counter() - begun
    chance = random.Random(seed)
    kills = 0
    while kills < 40 and not attempt(name, folder / "killed", chance.uniform(0.1, 0.9) * whole):
        kills += 1
    assert kills == 40 or attempt(name, folder / "killed", None)
    assert attempt(name, folder / "killed", None)
    print(kills, len(list((folder / "killed").glob("cells/*/*.jsonl"))))
