from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from reenact_zoo.serving._pipeline import Behind, ahead


class Recorder:
    def __init__(self, fail_at: int | None = None, pause: float = 0.0) -> None:
        self.images: list[int] = []
        self.ended = ""
        self.fail_at, self.pause = fail_at, pause

    def write(self, image: Any, time_: Fraction | None = None) -> None:
        if len(self.images) == self.fail_at:
            raise OSError("full")
        time.sleep(self.pause)
        self.images.append(int(image[0, 0, 0]))

    def close(self) -> None:
        self.ended += "closed"

    def abort(self) -> None:
        self.ended += "aborted"


def image(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def running() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"decode", "encode"}


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(ahead(range(50), depth=3)) == list(range(50))
    assert running() == set()


def test_the_producer_stays_within_its_depth() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    stream = ahead(numbers(), depth=3)
    assert next(stream) == 0
    time.sleep(0.3)
    assert len(made) <= 6  # one taken, three waiting, one in hand
    stream.close()
    assert running() == set()


def test_a_producers_error_comes_after_its_items() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    stream = ahead(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(stream)
    assert running() == set()


def test_everything_is_written_before_the_file_is_closed() -> None:
    recorder = Recorder(pause=0.005)
    with Behind(recorder, depth=2) as sink:
        for value in range(20):
            sink.write(image(value))
    assert recorder.images == list(range(20))
    assert recorder.ended == "closed"
    assert running() == set()


@pytest.mark.parametrize("fail_at", [0, 3, 19])
def test_an_encoding_error_is_raised_and_aborts(fail_at: int) -> None:
    recorder = Recorder(fail_at=fail_at)
    with pytest.raises(OSError, match="full"):
        fill(recorder, 20)
    assert recorder.ended == "aborted"
    assert running() == set()


def fill(recorder: Recorder, count: int, error: type[BaseException] | None = None) -> None:
    with Behind(recorder, depth=2) as sink:
        for value in range(count):
            sink.write(image(value))
        if error:
            raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_on_the_way_aborts(error: type[BaseException]) -> None:
    recorder = Recorder(pause=0.01)
    with pytest.raises(error):
        fill(recorder, 5, error)
    assert recorder.ended == "aborted"
    assert running() == set()


def test_an_error_while_closing_aborts() -> None:
    class Unclosable(Recorder):
        def close(self) -> None:
            raise OSError("full at the end")

    recorder = Unclosable()
    with pytest.raises(OSError, match="at the end"):
        fill(recorder, 2)
    assert recorder.ended == "aborted"
