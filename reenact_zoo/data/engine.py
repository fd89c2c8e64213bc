"""Where independent jobs run: in this process, in a pool of local processes, or on a Ray cluster.

A job is a call ``function(context, job)`` of a module-level function. The context is sent to each worker once, so that
a large dataset is not pickled for every clip. What a job returns depends on nothing else; every engine gives the same.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
ENGINES = ("local", "pool", "ray")
_AHEAD = 2  # jobs per worker that wait for it or whose results wait to be fetched; bounds memory
_context: Any = None
_number: int | None = None


def run_jobs(
    function: Callable[[Any, Job], Result],
    context: Any,
    jobs: Iterable[Job],
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus: float = 0.0,
) -> Iterator[tuple[Job, Result]]:
    """Every job with its result, in the order in which they are done.

    Args:
        function: importable by name; what it raises ends the run.
        context: first argument of every call; picklable.
        jobs: second arguments; drawn as workers become free.
        engine: "local", "pool" or "ray".
        workers: processes of the pool, or calls at once on the cluster; None: the cores there are.
        address: of a running Ray cluster; None starts one on this machine, and stops it afterwards.
        gpus: how many each call needs on a cluster that has any; workers of a pool share out those of this machine by
            ``worker_number``.

    Raises:
        InputError: unknown engine, Ray is not installed, no such cluster, or a worker died.
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine '{engine}'; {nearest(engine, ENGINES)}")
    if engine == "local":
        return ((job, function(context, job)) for job in jobs)
    if engine == "pool":
        return _in_pool(function, context, jobs, workers or os.cpu_count() or 1)
    return _on_ray(function, context, jobs, workers, address, gpus)


def worker_number() -> int | None:
    """Which worker of a pool this process is, from 0 on; None outside a pool."""
    return _number


def _in_pool(
    function: Callable[[Any, Job], Result], context: Any, jobs: Iterable[Job], workers: int
) -> Iterator[tuple[Job, Result]]:
    # spawned: a fork would copy the locks of threads that torch and OpenCV may have started
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, initializer=_begin, initargs=(context, spawn.Value("i", 0)))
    waiting = iter(jobs)
    pending: dict[Future[Result], Job] = {}
    try:
        while True:
            for job in waiting:
                pending[pool.submit(_call, function, job)] = job
                if len(pending) >= _AHEAD * workers:
                    break
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died, most likely for want of memory; run it again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(context: Any, counter: Any) -> None:
    """First call in a worker: keep the context, take a number, and end with the parent, whatever ended it."""
    global _context, _number
    _context = context
    with counter.get_lock():
        _number, counter.value = counter.value, counter.value + 1
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _call(function: Callable[[Any, Job], Result], job: Job) -> Result:
    return function(_context, job)


def _on_ray(
    function: Callable[[Any, Job], Result],
    context: Any,
    jobs: Iterable[Job],
    workers: int | None,
    address: str | None,
    gpus: float,
) -> Iterator[tuple[Job, Result]]:
    try:
        import ray
    except ImportError as error:
        raise InputError("engine 'ray' needs Ray: pip install 'reenact_zoo[cluster]'") from error
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address=address, num_cpus=None if address else workers, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise InputError(f"no Ray cluster at '{address}': {' '.join(str(error).split())[:200]}") from error
    at_once = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    remote = ray.remote(num_cpus=1, num_gpus=gpus if ray.cluster_resources().get("GPU", 0) else 0)(function)
    shared = ray.put(context)
    waiting = iter(jobs)
    pending: dict[Any, Job] = {}
    try:
        while True:
            for job in waiting:
                pending[remote.remote(shared, job)] = job
                if len(pending) >= _AHEAD * at_once:
                    break
            if not pending:
                return
            done, _ = ray.wait(list(pending), num_returns=1)
            for reference in done:
                yield pending.pop(reference), ray.get(reference)
    except ray.exceptions.WorkerCrashedError as error:
        raise InputError("a Ray worker died, most likely for want of memory; use fewer workers") from error
    finally:
        for reference in pending:
            ray.cancel(reference)
        if own:
            ray.shutdown()
