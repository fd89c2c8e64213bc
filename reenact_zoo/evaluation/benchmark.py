"""Many (method × protocol × seed) runs: here, in a pool of processes (one for each GPU, say), or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from reenact_zoo.data.engine import run_jobs, worker_number
from reenact_zoo.evaluation.predictions import Rendered
from reenact_zoo.evaluation.progress import Bar
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import Record
from reenact_zoo.types import InputError


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        protocol: what is measured.
        method: registered method, "module:Class", or "bound:NAME".
        seed: of random numbers.
        checkpoint: weights; None: those that ship with the package.
        label: name of the row where it is not the method's.
        changes: fields of the method's configuration to alter.
        predictions: pictures that are there already, to be scored instead of a method's.
    """

    protocol: Protocol
    method: str
    seed: int = 0
    checkpoint: Path | None = None
    label: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    predictions: Rendered | None = None

    @property
    def title(self) -> str:
        """For messages."""
        seed = f" (seed {self.seed})" if self.seed else ""
        return f"{self.label or self.method}{seed} on {self.protocol.name}"


@dataclass(frozen=True)
class Context:
    """What all runs share; see ``runner.run``."""

    out: Path
    root: Path | None = None
    device: str = "auto"
    limit: int | None = None
    tensorboard: bool = False
    workers: int = 1
    progress: bool = False
    measurer: Any = None


def run_all(
    jobs: Sequence[Job],
    context: Context,
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> list[tuple[Job, Record | str]]:
    """Every job with its record, or with the reason why there is none, in the order of ``jobs``.

    In a pool on a machine with GPUs the k-th worker takes the k-th of them; on Ray each call asks for one where the
    cluster has any. All machines must see ``context.out`` under the same path.

    Args:
        jobs: what to run; what an earlier run left in ``context.out`` is not computed again.
        context: what they share.
        engine: "local", "pool" or "ray"; the records are the same.
        workers: how many run at once; None: as many as there are GPUs in a pool, else cores.
        address: of a running Ray cluster.
        progress: show bars: over the pairs of each run, or over runs where several go on at once.

    Raises:
        InputError: from the engine; what goes wrong in one job does not stop the others.
    """
    together = engine != "local"
    if engine == "pool" and workers is None:
        workers = torch.cuda.device_count() or min(len(jobs), os.cpu_count() or 1)
    shared = replace(context, workers=workers or 1, progress=progress and not together)
    gpus = 1.0 if engine == "ray" and context.device != "cpu" else 0.0
    done: dict[int, Record | str] = {}
    with Bar("runs", len(jobs), shown=progress and together) as bar:
        for (index, _), outcome in run_jobs(
            _run_one, shared, list(enumerate(jobs)), engine=engine, workers=workers, address=address, gpus=gpus
        ):
            done[index] = outcome
            bar.advance(1, sum(isinstance(each, str) for each in done.values()))
    return [(job, done[index]) for index, job in enumerate(jobs)]


def _run_one(context: Context, numbered: tuple[int, Job]) -> Record | str:
    """The record, or why there is none."""
    from reenact_zoo.evaluation.runner import run

    _, job = numbered
    try:
        return run(
            job.protocol,
            job.method,
            out=context.out,
            root=context.root,
            checkpoint=job.checkpoint,
            device=_own_device(context),
            limit=context.limit,
            seed=job.seed,
            label=job.label,
            changes=job.changes,
            predictions=job.predictions,
            progress=context.progress,
            tensorboard=context.tensorboard,
            measurer=context.measurer,
        )
    except InputError as error:  # one method without its weights does not cost the others their table
        return str(error)


def _own_device(context: Context) -> str:
    """Of this worker: its own GPU where it is one of several, and its share of the cores."""
    number = worker_number()
    if number is None:
        return context.device
    if context.device in ("auto", "cuda") and (count := torch.cuda.device_count()):
        return f"cuda:{number % count}"
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.workers))
    return context.device


def jobs_of(
    protocols: Sequence[Protocol],
    methods: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    checkpoints: Mapping[str, Path] | None = None,
) -> Iterator[Job]:
    """Every protocol with every method and seed; bounds are computed, not drawn, and run once."""
    for protocol in protocols:
        for method in methods:
            for seed in seeds[:1] if method.startswith("bound:") else seeds:
                yield Job(protocol, method, seed, (checkpoints or {}).get(method))
