"""Run nogil kernels on as many threads as torch uses; safe under fork, which numba's own thread pools are not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch

T = TypeVar("T")
_pools: dict[int, ThreadPoolExecutor] = {}

# threads do not survive a fork: the worker processes of a DataLoader make their own pool, or none with one thread
os.register_at_fork(after_in_child=_pools.clear)


def num_threads() -> int:
    """Threads to use; follows ``torch.set_num_threads``, which a DataLoader sets to 1 in its workers."""
    return max(1, torch.get_num_threads())


def for_each(function: Callable[[T], None], items: Sequence[T]) -> None:
    """Call ``function`` on every item, in parallel where there are several threads and items; re-raises an error."""
    threads = min(num_threads(), len(items))
    if threads <= 1:
        for item in items:
            function(item)
        return
    size = num_threads()
    if size not in _pools:
        _pools[size] = ThreadPoolExecutor(size, thread_name_prefix="reenact_zoo")
    for _ in _pools[size].map(function, items):
        pass


def row_bands(rows: int, images: int) -> list[tuple[int, int, int]]:
    """(image, first row, end row) that give every thread work: whole images, or bands where they are too few."""
    bands = 1 if images >= num_threads() else min(rows, 2 * num_threads())
    edges = [rows * k // bands for k in range(bands + 1)]
    return [(image, top, end) for image in range(images) for top, end in pairwise(edges)]
