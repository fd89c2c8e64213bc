"""The cache on disk: shared by processes, bounded, and never the reason that something stops."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.faces._rows import FILE, PAGE_BYTES, Rows


def key(number: int) -> str:
    return f"{number:064x}"[::-1]


def row(number: int, size: int = 4) -> NDArray[np.float32]:
    return np.full(size, number, np.float32)


def file_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{FILE}*"))


def test_rows_come_back_by_image_and_signature(tmp_path: Path) -> None:
    Rows(tmp_path).put({key(1): row(1), key(2): np.full(3, np.nan, np.float32)}, "pose-a")
    fresh = Rows(tmp_path)
    found = fresh.get([key(1), key(2), key(3), key(1)], "pose-a")
    assert set(found) == {key(1), key(2)}
    assert found[key(1)].tolist() == [1] * 4
    assert np.isnan(found[key(2)]).all()
    assert fresh.get([key(1)], "pose-b") == {}


def test_pictures_are_stored_compressed_and_an_empty_one_stays_empty(tmp_path: Path) -> None:
    picture = np.zeros(300_000, np.uint8)
    picture[1000:2000] = np.arange(1000) % 251
    Rows(tmp_path).put({key(1): picture, key(2): np.zeros(0, np.uint8)}, "parsing")
    found = Rows(tmp_path).get([key(1), key(2)], "parsing")
    assert np.array_equal(found[key(1)], picture)
    assert found[key(2)].size == 0
    assert file_bytes(tmp_path) < 150_000


def test_thousands_of_images_are_one_file_and_are_found_in_one_call(tmp_path: Path) -> None:
    many = {key(i): row(i) for i in range(1300)}
    Rows(tmp_path).put(many, "x")
    assert len(list(tmp_path.iterdir())) <= 3
    found = Rows(tmp_path).get(many, "x")
    assert all(found[k][0] == v[0] for k, v in many.items())
    assert len(found) == 1300


@pytest.mark.parametrize("damage", [b"not a database at all" * 400, b""])
def test_a_file_that_is_no_cache_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    rows = Rows(tmp_path)
    assert rows.get([key(1)], "x") == {}
    rows.put({key(1): row(5)}, "x")
    assert Rows(tmp_path).get([key(1)], "x")[key(1)][0] == 5


def test_a_page_torn_in_the_middle_costs_the_old_rows_only(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    rows.put({key(i): row(i, 200) for i in range(200)}, "x")
    del rows
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray((tmp_path / FILE).read_bytes())
    content[PAGE_BYTES:] = b"\xff" * (len(content) - PAGE_BYTES)
    (tmp_path / FILE).write_bytes(content)
    damaged = Rows(tmp_path)
    assert damaged.get([key(i) for i in range(200)], "x") == {}
    damaged.put({key(7): row(7)}, "x")
    assert Rows(tmp_path).get([key(7)], "x")[key(7)][0] == 7


def test_a_value_that_changed_on_disk_is_not_believed(tmp_path: Path) -> None:
    Rows(tmp_path).put({key(1): row(1), key(2): row(2)}, "x")
    with sqlite3.connect(tmp_path / FILE) as connection:
        value = bytearray(connection.execute("SELECT value FROM rows WHERE id = 1").fetchone()[0])
        value[-1] ^= 1
        connection.execute("UPDATE rows SET value = ? WHERE id = 1", [bytes(value)])
    connection.close()
    assert set(Rows(tmp_path).get([key(1), key(2)], "x")) == {key(2)}


def test_a_cache_of_another_version_is_made_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE rows (other TEXT)")
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    Rows(tmp_path).put({key(1): row(1)}, "x")
    assert set(Rows(tmp_path).get([key(1)], "x")) == {key(1)}


def test_the_file_keeps_its_bound_and_the_newest_rows(tmp_path: Path) -> None:
    bound = 64 * PAGE_BYTES
    rows = Rows(tmp_path, disk_bytes=bound)
    for first in range(0, 2000, 20):
        rows.put({key(i): row(i, 100) for i in range(first, first + 20)}, "x")
    assert (tmp_path / FILE).stat().st_size <= bound
    found = Rows(tmp_path).get([key(i) for i in range(2000)], "x")
    assert key(1999) in found
    assert key(0) not in found
    assert len(found) > 100


def test_where_nothing_can_be_written_memory_remains(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    rows = Rows(tmp_path / "file")
    rows.put({key(1): row(1)}, "x")
    assert rows.get([key(1)], "x")[key(1)][0] == 1


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(tmp_path)
    rows.put({key(1): row(1)}, "x")

    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr("reenact_zoo.faces._rows._Disk._write", full)
    rows.put({key(2): row(2)}, "x")
    assert set(rows.get([key(1), key(2)], "x")) == {key(1), key(2)}


def _fill(folder: str, first: int, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    rows = Rows(Path(folder))
    for i in range(first, first + 100):
        rows.put({key(i): row(i, 100)}, "x")


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    workers = [context.Process(target=_fill, args=(str(tmp_path), 100 * n, start)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    found = Rows(tmp_path).get([key(i) for i in range(400)], "x")
    assert len(found) == 400
    assert all(found[key(i)][0] == i for i in range(400))


def test_a_forked_or_pickled_cache_opens_the_file_for_itself(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    rows.put({key(1): row(1)}, "x")
    copy = pickle.loads(pickle.dumps(rows))
    copy.put({key(2): row(2)}, "x")
    child = os.fork()
    if child == 0:
        rows.put({key(3): row(3)}, "x")
        os._exit(rows._disk is None or rows._disk._process != os.getpid())
    assert os.waitpid(child, 0)[1] == 0
    assert set(Rows(tmp_path).get([key(1), key(2), key(3)], "x")) == {key(1), key(2), key(3)}
