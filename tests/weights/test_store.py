"""Weights are recognised by content, missing ones are explained, and licences decide what may be used."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reenact_zoo.types import InputError
from reenact_zoo.weights import folders
from reenact_zoo.weights.folders import file_sha256, trust
from reenact_zoo.weights.manifest import LicenceRefused, WeightEntry, WeightsMissing
from reenact_zoo.weights.store import WeightStore

CONTENT = b"some weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Declare = Callable[..., WeightEntry]


@pytest.fixture
def toy_entry(declare: Declare) -> str:
    declare("named")
    return declare("toy", size=len(CONTENT), sha256=SHA256).name


def test_a_file_is_found_by_content_under_any_name_and_depth(tmp_path: Path, toy_entry: str) -> None:
    deep = tmp_path / "mine" / "a" / "b" / "whatever.dat"
    deep.parent.mkdir(parents=True)
    deep.write_bytes(CONTENT)
    assert WeightStore(tmp_path / "mine").path(toy_entry) == deep
    assert WeightStore(tmp_path / "mine").sha256(toy_entry) == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_with_the_right_name_and_size_but_other_content_is_refused(tmp_path: Path, toy_entry: str) -> None:
    impostor = tmp_path / "mine" / "toy.bin"
    impostor.parent.mkdir()
    impostor.write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsMissing, match="has that name, but") as error:
        WeightStore(impostor.parent).path(toy_entry)
    assert str(impostor) in str(error.value)


def test_an_entry_without_hash_is_found_by_name(tmp_path: Path, toy_entry: str) -> None:
    (tmp_path / "mine").mkdir()
    assert not WeightStore(tmp_path / "mine").available("named")
    (tmp_path / "mine" / "named.bin").write_bytes(b"x")
    assert WeightStore(tmp_path / "mine").available("named")


def test_missing_weights_say_name_size_licence_and_place_in_one_line(tmp_path: Path) -> None:
    text = WeightStore().missing("mobilefacenet")
    assert text is not None
    for part in ("mobilefacenet.pt", "4,135,271", "Apache-2.0", "REENACT_ZOO_WEIGHTS", str(tmp_path / "cache")):
        assert part in text
    assert "\n" not in text
    assert not WeightStore().available("mobilefacenet")


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mobilefacenet"):
        WeightStore().path("mobilefacenett")


def test_a_weights_folder_that_does_not_exist_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(InputError, match="not a folder"):
        WeightStore()


def test_the_variable_may_name_two_folders(tmp_path: Path, toy_entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "w").write_bytes(CONTENT)
    monkeypatch.setenv("REENACT_ZOO_WEIGHTS", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")
    assert WeightStore().path(toy_entry) == tmp_path / "b" / "w"


def test_a_hash_is_computed_once_and_again_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w"
    path.write_bytes(CONTENT)
    first = file_sha256(path)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "read_sha256", lambda path: pytest.fail("hashed a second time"))
        assert file_sha256(path) == first
    path.write_bytes(CONTENT + b"!")
    assert file_sha256(path) == hashlib.sha256(CONTENT + b"!").hexdigest()


def test_verify_reads_the_file_again(tmp_path: Path, toy_entry: str) -> None:
    path = tmp_path / "mine" / "w"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    store, status = WeightStore(path.parent), path.stat()
    assert store.verify(toy_entry) is None
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time are unchanged: the memo still says good
    assert SHA256 in (store.verify(toy_entry) or "")
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in (store.verify(toy_entry) or "")


def test_an_unwritable_cache_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "file" / "below a file"))
    assert file_sha256(tmp_path / "file") == hashlib.sha256(CONTENT).hexdigest()


def test_a_truncated_file_says_which_size_was_expected(tmp_path: Path, toy_entry: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "toy.bin").write_bytes(CONTENT[:-2])
    text = WeightStore(tmp_path / "mine").missing(toy_entry) or ""
    assert f"{len(CONTENT)} bytes expected" in text
    assert f"{len(CONTENT) - 2} bytes found" in text
    assert WeightStore(tmp_path / "mine").verify(toy_entry)


def test_a_hash_without_a_size_is_checked_on_files_of_that_name(tmp_path: Path, declare: Declare) -> None:
    declare("sizeless", sha256=SHA256)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sizeless.bin").write_bytes(CONTENT[::-1])
    assert SHA256 in (WeightStore(tmp_path / "mine").missing("sizeless") or "")
    (tmp_path / "mine" / "sizeless.bin").write_bytes(CONTENT)
    assert WeightStore(tmp_path / "mine").available("sizeless")


def test_once_trusted_another_file_of_that_name_is_refused(tmp_path: Path, toy_entry: str) -> None:
    path = tmp_path / "mine" / "named.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    trust("named", SHA256)
    assert WeightStore(path.parent).path("named") == path
    assert WeightStore(path.parent).verify("named") is None
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsMissing, match=SHA256):
        WeightStore(path.parent).path("named")


def test_verify_of_an_absent_file_is_an_error(toy_entry: str) -> None:
    with pytest.raises(WeightsMissing):
        WeightStore().verify(toy_entry)


# --- licences ---


@pytest.fixture
def restricted(tmp_path: Path, declare: Declare) -> WeightStore:
    declare("restricted", sha256=SHA256, size=len(CONTENT), permissive=False, licence="for research")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "w").write_bytes(CONTENT)
    return WeightStore(tmp_path / "mine")


def test_research_only_weights_are_refused_unless_asked_for(restricted: WeightStore, tmp_path: Path) -> None:
    assert not restricted.available("restricted")
    assert restricted.at_hand("restricted")
    with pytest.raises(LicenceRefused, match="--licence research") as error:
        restricted.load_state_dict("restricted")
    assert "for research" in str(error.value)
    assert "are at hand" in str(error.value)
    assert "--licence research" in restricted.describe("restricted")
    assert WeightStore(tmp_path / "mine", licence="research").available("restricted")


def test_the_environment_may_allow_them_and_the_argument_decides(
    restricted: WeightStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REENACT_ZOO_LICENCE", "research")
    assert WeightStore(tmp_path / "mine").available("restricted")
    assert not WeightStore(tmp_path / "mine", licence="permissive").available("restricted")


def test_absent_research_weights_say_both_what_to_allow_and_where_to_put_them(declare: Declare) -> None:
    declare("restricted", permissive=False)
    text = WeightStore().missing("restricted") or ""
    for part in ("not at hand", "--licence research", "restricted.bin", "REENACT_ZOO_WEIGHTS"):
        assert part in text


def test_an_unknown_level_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_LICENCE", "reserch")
    with pytest.raises(InputError, match="research"):
        WeightStore()


# --- what is really there ---


def test_the_lpips_heads_come_with_an_installed_package() -> None:
    heads = WeightStore().load_state_dict("lpips_vgg")
    assert [tuple(w.shape) for w in heads.values()] == [(1, c, 1, 1) for c in (64, 128, 256, 512, 512)]


def test_the_documented_example_runs(weights_folder: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "weights.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, page.name, "exec"), names)
    stored = WeightStore().load_state_dict("mobilefacenet")
    assert all(torch.equal(value, stored[key]) for key, value in names["network"].state_dict().items())


def test_the_real_files_are_recognised_and_load(weights_folder: Path) -> None:
    store = WeightStore()
    tensors = {"mobilefacenet": 307, "3ddfa_v2_mb05": 164, "3ddfa_v2_mean_std": 2, "mtcnn_onet": 21}
    for name, count in tensors.items():
        assert len(store.load_state_dict(name)) == count, name
    assert store.available("openseeface_lm0")
    assert store.available("ict_facekit")
    assert store.load_state_dict("3ddfa_v2_mean_std")["std"].shape == (62,)
