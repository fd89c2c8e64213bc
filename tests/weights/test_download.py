"""Downloads continue where they broke off, go to the next mirror, and never show a wrong file under a good name."""

from __future__ import annotations

import bz2
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reenact_zoo.types import InputError
from reenact_zoo.weights.download import Continuing, fetch
from reenact_zoo.weights.folders import trusted_sha256
from reenact_zoo.weights.manifest import LicenceRefused, WeightEntry
from reenact_zoo.weights.store import WeightStore

CONTENT = bytes(range(256)) * 1200  # 300 KB: several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Declare = Callable[..., WeightEntry]
Server = Any  # conftest.Server


def _files(cache: Path) -> list[str]:
    """Every file of the user's cache except tables and locks."""
    found = [p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file()]
    return sorted(name for name in found if not name.endswith(("sha256.json", ".lock")))


def _known(declare: Declare, *urls: str, **fields: object) -> WeightEntry:
    return declare("toy", urls=urls, size=len(CONTENT), sha256=SHA256, **fields)


def test_a_download_lies_whole_under_its_name_and_the_store_finds_it(
    server: Server, declare: Declare, own_cache: Path
) -> None:
    server.files["/a/toy"] = CONTENT
    _known(declare, f"{server.address}/a/toy")
    store = WeightStore()
    assert not store.available("toy")
    path = fetch("toy", store, progress=True)
    assert path == own_cache / "weights" / "toy.bin"
    assert path.read_bytes() == CONTENT
    assert store.path("toy") == path
    assert _files(own_cache) == ["weights/toy.bin"]


def test_what_is_at_hand_is_not_downloaded(server: Server, declare: Declare, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "other name").write_bytes(CONTENT)
    _known(declare, f"{server.address}/toy")
    assert fetch("toy", WeightStore(tmp_path / "mine"), progress=False).name == "other name"
    assert server.requested == []


def test_a_broken_connection_is_continued_from_the_byte_it_broke_at(server: Server, declare: Declare) -> None:
    server.files["/toy"], server.breaks["/toy"] = CONTENT, [100_000]
    _known(declare, f"{server.address}/toy")
    assert fetch("toy", progress=False).read_bytes() == CONTENT
    (_, first), (_, second) = server.requested
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 100_000


def test_an_interrupted_fetch_shows_nothing_and_the_next_one_continues(
    server: Server, declare: Declare, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/toy"] = CONTENT
    _known(declare, f"{server.address}/toy")
    with monkeypatch.context() as patch:
        patch.setattr(Continuing, "_receive", _stop_after(70_000))
        with pytest.raises(KeyboardInterrupt):
            fetch("toy", progress=False)
    assert not WeightStore().available("toy")
    assert sum((own_cache / name).stat().st_size for name in _files(own_cache) if name.endswith(".part")) == 70_000
    assert fetch("toy", progress=False).read_bytes() == CONTENT
    assert server.requested[-1] == ("/toy", "bytes=70000-")
    assert _files(own_cache) == ["weights/toy.bin"]


def _stop_after(count: int) -> Callable[..., None]:
    def receive(self: Continuing, response: object, start: int) -> None:
        self._part.write_bytes(CONTENT[:count])
        raise KeyboardInterrupt

    return receive


def test_a_file_that_changed_meanwhile_is_not_spliced(
    server: Server, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/toy"] = CONTENT[::-1]
    _known(declare, f"{server.address}/toy")
    with monkeypatch.context() as patch:
        patch.setattr(Continuing, "_receive", _stop_after(70_000))
        with pytest.raises(KeyboardInterrupt):
            fetch("toy", progress=False)
    server.files["/toy"] = CONTENT  # the server's copy is another one now, so is its ETag
    assert fetch("toy", progress=False).read_bytes() == CONTENT


def test_without_a_validator_a_download_starts_again(
    server: Server, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/toy"], server.tags = CONTENT, False
    _known(declare, f"{server.address}/toy")
    with monkeypatch.context() as patch:
        patch.setattr(Continuing, "_receive", _stop_after(70_000))
        with pytest.raises(KeyboardInterrupt):
            fetch("toy", progress=False)
    assert fetch("toy", progress=False).read_bytes() == CONTENT
    assert [asked for _, asked in server.requested] == [None, None]


def test_a_part_that_is_already_complete_is_fetched_anew(
    server: Server, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/toy"] = CONTENT
    _known(declare, f"{server.address}/toy")
    with monkeypatch.context() as patch:
        patch.setattr(Continuing, "_receive", _stop_after(len(CONTENT)))
        with pytest.raises(KeyboardInterrupt):
            fetch("toy", progress=False)
    assert fetch("toy", progress=False).read_bytes() == CONTENT


def test_a_wrong_file_is_deleted_and_both_hashes_are_named(server: Server, declare: Declare, own_cache: Path) -> None:
    server.files["/toy"] = CONTENT[::-1]
    _known(declare, f"{server.address}/toy")
    with pytest.raises(InputError) as error:
        fetch("toy", progress=False)
    for part in (SHA256, hashlib.sha256(CONTENT[::-1]).hexdigest(), "deleted"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert _files(own_cache) == []


@pytest.mark.parametrize("trouble", ["not found", "wrong file", "web page", "no server"])
def test_the_next_mirror_is_asked(trouble: str, server: Server, declare: Declare) -> None:
    first = f"{server.address}/first"
    if trouble in ("wrong file", "web page"):
        server.files["/first"] = CONTENT[:-1]
    if trouble == "web page":
        server.types["/first"] = "text/html; charset=utf-8"
    if trouble == "no server":
        first = "http://127.0.0.1:9/first"  # port 9 (discard): nothing listens
    server.files["/second"] = CONTENT
    _known(declare, first, f"{server.address}/second")
    assert fetch("toy", progress=False).read_bytes() == CONTENT


def test_without_a_network_one_line_says_which_file_to_put_where(declare: Declare, own_cache: Path) -> None:
    _known(declare, "http://127.0.0.1:9/a", "http://127.0.0.1:9/b")
    with pytest.raises(InputError) as error:
        fetch("toy", progress=False)
    text = str(error.value)
    for part in ("no connection", "toy.bin", f"{len(CONTENT):,} bytes", "REENACT_ZOO_WEIGHTS", str(own_cache)):
        assert part in text
    assert "\n" not in text


def test_a_cache_that_cannot_be_written_is_one_line(
    server: Server, declare: Declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/toy"] = CONTENT
    _known(declare, f"{server.address}/toy")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "file" / "below a file"))
    with pytest.raises(InputError, match=r"Not a directory.*toy\.bin"):
        fetch("toy", progress=False)


def test_a_web_page_is_no_weight_file_even_without_a_known_hash(server: Server, declare: Declare) -> None:
    server.files["/toy"], server.types["/toy"] = b"<html>sign in", "text/html"
    declare("toy", urls=(f"{server.address}/toy",))
    with pytest.raises(InputError, match="web page"):
        fetch("toy", progress=False)


def test_a_compressed_file_is_unpacked_and_checked_unpacked(server: Server, declare: Declare, own_cache: Path) -> None:
    server.files["/toy.dat.bz2"] = bz2.compress(CONTENT)
    _known(declare, f"{server.address}/toy.dat.bz2", unpack="bz2")
    assert fetch("toy", progress=False).read_bytes() == CONTENT
    assert _files(own_cache) == ["weights/toy.bin"]


def test_a_broken_archive_is_one_line(server: Server, declare: Declare, own_cache: Path) -> None:
    server.files["/toy.dat.bz2"] = b"BZh9 not really"
    _known(declare, f"{server.address}/toy.dat.bz2", unpack="bz2")
    with pytest.raises(InputError, match="cannot place"):
        fetch("toy", progress=False)
    assert _files(own_cache) == []


def test_a_file_of_unknown_hash_is_trusted_once(server: Server, declare: Declare) -> None:
    server.files["/toy"] = CONTENT
    declare("toy", urls=(f"{server.address}/toy",))
    path = fetch("toy", progress=False)
    assert trusted_sha256("toy") == SHA256
    path.write_bytes(CONTENT[::-1])
    assert "import it with --replace" in (WeightStore().missing("toy") or "")


def test_what_is_not_allowed_is_not_downloaded(server: Server, declare: Declare) -> None:
    server.files["/toy"] = CONTENT
    _known(declare, f"{server.address}/toy", permissive=False, licence="for research")
    with pytest.raises(LicenceRefused, match="--licence research"):
        fetch("toy", WeightStore(), progress=False)
    assert server.requested == []
    assert fetch("toy", WeightStore(licence="research"), progress=False).is_file()


def test_what_only_the_user_can_get_is_said_so(declare: Declare) -> None:
    declare("toy", obtain="Fill in the form.")
    with pytest.raises(InputError, match="weights show toy"):
        fetch("toy", progress=False)


def test_two_processes_do_not_write_into_one_part_file(server: Server, declare: Declare, own_cache: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    server.files["/toy"] = CONTENT
    _known(declare, f"{server.address}/toy")
    (own_cache / "unfinished").mkdir(parents=True)
    with (own_cache / "unfinished" / "toy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            fetch("toy", progress=False)
    assert fetch("toy", progress=False).is_file()
