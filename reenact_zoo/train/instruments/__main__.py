"""Command line: ``python -m reenact_zoo.train.instruments --help``."""

from __future__ import annotations

import argparse
import multiprocessing
import shlex
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reenact_zoo.train.instruments.plan import NAMES, TREES, Settings, render, train_network
from reenact_zoo.train.instruments.trees import train_landmarks

BUNDLED = Path(__file__).resolve().parents[2] / "bundled" / "weights"
TINY = Settings("procedural", 4, 6, 2, 0.0, max_updates=24, batch_size=8, reduced=False, scenes=4)
NOT_TINY = ("synthetic_coefficients", TREES)  # they need a head whose making alone takes longer than the rest


def arguments(words: list[str] | None) -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser("python -m reenact_zoo.train.instruments", description=__doc__)
    parser.add_argument("--out", type=Path, default=BUNDLED, help="folder for weights and cards")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--minutes", type=float, default=Settings.minutes, help="training of an average network")
    parser.add_argument("--render-minutes", type=float, default=15.0, help="no new people are drawn after that")
    parser.add_argument("--people", type=int, default=Settings.people, help="in each of the two worlds")
    parser.add_argument("--frames", type=int, default=Settings.frames, help="pictures of each person")
    parser.add_argument("--held-out-people", type=int, default=Settings.held_out_people)
    parser.add_argument("--head", default=Settings.head, choices=["ict", "procedural"])
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--workers", type=int, default=2, help="processes, each on one thread")
    parser.add_argument("--count", type=int, default=2000, help="training pictures of the dlib predictor")
    parser.add_argument("--tiny", action="store_true", help="seconds instead of hours, to see that everything runs")
    return parser.parse_args(words)


def settings_of(given: argparse.Namespace) -> Settings:
    """Settings from the command line."""
    if given.tiny:
        return replace(TINY, seed=given.seed)
    return Settings(given.head, given.people, given.frames, given.held_out_people, given.minutes, given.seed)


def names_of(given: argparse.Namespace) -> list[str]:
    """Networks to train, in the order of the plan; the slow dlib predictor comes first."""
    wanted = given.only or [name for name in NAMES if not (given.tiny and name in NOT_TINY)]
    return sorted(wanted, key=[TREES, *NAMES].index)


def train_one(name: str, settings: Settings, given: argparse.Namespace, command: str) -> str:
    """Run in a worker process."""
    if name == TREES:
        train_landmarks(given.out, settings.head, given.count, 300, settings.seed, 1, command)
    else:
        train_network(name, settings, given.out, command, say)
    return name


def say(text: str) -> None:
    """One line at once, also where the output is a file."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main(words: list[str] | None = None) -> int:
    """Render, train, judge, write; returns the number of networks that failed."""
    given = arguments(words)
    settings, names = settings_of(given), names_of(given)
    given.out.mkdir(parents=True, exist_ok=True)
    typed = sys.argv[1:] if words is None else words
    command = shlex.join(["python", "-m", "reenact_zoo.train.instruments", *typed])
    if given.workers == 1:
        _render(settings, names, given, None)
        return sum(_failed(name, lambda n=name: train_one(n, settings, given, command)) for name in names)
    torch.set_num_threads(1)  # before the fork: two processes share the cores better than the threads of one do
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in ways else "spawn")
    with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
        _render(settings, names, given, pool)
        running = {pool.submit(train_one, name, settings, given, command): name for name in names}
        return sum(_failed(running[done], done.result) for done in as_completed(running))


def _render(settings: Settings, names: list[str], given: argparse.Namespace, pool: Any) -> None:
    """Both worlds, each for half of the time; those already on disk cost nothing."""
    roles = [role for role in ("train", "judge") if any(_role(name) == role for name in names)]
    began = time.monotonic()
    for number, role in enumerate(roles, 1):
        until = began + 60 * given.render_minutes * number / len(roles)
        say(f"rendering the people of the {role} side")
        if pool is None:
            render(settings, role, 0, 1, until)
            continue
        parts: list[Future[None]] = [
            pool.submit(render, settings, role, part, given.workers, until) for part in range(given.workers)
        ]
        for part in parts:
            part.result()


def _role(name: str) -> str:
    return "none" if name == TREES else "judge" if name.endswith("_judge") else "train"


def _failed(name: str, work: Any) -> bool:
    """Whether it failed; one network's failure leaves the others alone."""
    try:
        work()
    except Exception as error:
        say(f"{name} failed: {type(error).__name__}: {error}")
        return True
    say(f"{name}: written")
    return False


if __name__ == "__main__":
    sys.exit(main())
