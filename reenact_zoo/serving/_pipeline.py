"""Threads on both sides of the network: decoding runs ahead of it, encoding behind it, each by a few frames at most.

FFmpeg works outside Python's lock, so on two cores the three stages overlap. Errors and Ctrl-C on any side stop the
others, and a thread never outlives the call that started it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

DEPTH = 6  # frames that wait between two stages: enough for the bursts of B-frames, little for the memory
POLL_S = 0.1


class Writer(Protocol):
    """What ``video.write`` offers."""

    def write(self, image: NDArray[np.uint8], time: Fraction | None = None) -> None:
        """Append one image."""

    def close(self) -> None:
        """Complete the file."""

    def abort(self) -> None:
        """Remove what there is."""


class _End(Generic[T]):
    """Mark behind the last item, with the error that ended the stream."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int = DEPTH) -> Generator[T, None, None]:
    """The same items, produced by a thread up to ``depth`` ahead; its error is raised after the items before it."""
    waiting: queue.Queue[T | _End[T]] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: T | _End[T]) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not offer(item):
                    return
        except BaseException as caught:
            error = caught
        offer(_End(error))

    thread = threading.Thread(target=produce, name="decode", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()


class Behind:
    """A writer that works in its own thread; a context manager that completes the file, or aborts on an error.

    Args:
        writer: is only touched by the thread until ``__exit__``.
        depth: images that may wait; ``write`` blocks beyond.
    """

    def __init__(self, writer: Writer, depth: int = DEPTH) -> None:
        self._writer = writer
        self._waiting: queue.Queue[tuple[NDArray[np.uint8], Fraction | None] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._consume, name="encode", daemon=True)

    def write(self, image: NDArray[np.uint8], time: Fraction | None = None) -> None:
        """Hand over; raises the error that an earlier image met."""
        self._put((image, time))

    def __enter__(self) -> Behind:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        complete = False
        try:
            if kind is None:
                self._put(None)
                self._thread.join()
                self._raise()
                self._writer.close()
                complete = True
        finally:
            self._stop.set()
            self._thread.join()
            if not complete:
                self._writer.abort()

    def _put(self, item: tuple[NDArray[np.uint8], Fraction | None] | None) -> None:
        while True:
            self._raise()
            try:
                self._waiting.put(item, timeout=POLL_S)
                return
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _consume(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    item = self._waiting.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if item is None:
                    return
                self._writer.write(*item)
        except BaseException as error:  # told to the caller at the next write
            self._error = error
