"""Weights are recognised by content, missing ones are explained, and no file ever runs code."""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reenact_zoo.types import InputError
from reenact_zoo.weights import store as store_module
from reenact_zoo.weights.store import WeightsMissing, WeightStore, file_sha256, load_tensors, manifest

CONTENT = b"some weights"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)


@pytest.fixture
def toy_entry(monkeypatch: pytest.MonkeyPatch) -> str:
    entry = replace(
        manifest()["mobilefacenet"],
        name="toy",
        file="toy.bin",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    named = replace(entry, name="named", file="named.bin", size=None, sha256=None)
    monkeypatch.setattr(store_module, "manifest", lambda: {"toy": entry, "named": named})
    return "toy"


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
        patch.setattr(store_module, "_hash", lambda path: pytest.fail("hashed a second time"))
        assert file_sha256(path) == first
    path.write_bytes(CONTENT + b"!")
    assert file_sha256(path) == hashlib.sha256(CONTENT + b"!").hexdigest()


def test_verify_reads_the_file_again(tmp_path: Path, toy_entry: str) -> None:
    path = tmp_path / "mine" / "w"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    store, status = WeightStore(path.parent), path.stat()
    assert store.verify(toy_entry)
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time are unchanged: the memo still says good
    assert not store.verify(toy_entry)


def test_an_unwritable_cache_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "file" / "below a file"))
    assert file_sha256(tmp_path / "file") == hashlib.sha256(CONTENT).hexdigest()


class _Malice:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path, trace = tmp_path / "evil.pkl", tmp_path / "it ran"
    path.write_bytes(pickle.dumps({"mean": _Malice(trace)}, protocol=protocol))
    with pytest.raises(InputError, match="mkdir"):
        load_tensors(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the planted file is harmless, so the test would prove nothing"


def test_a_malicious_torch_checkpoint_is_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "it ran"
    torch.save({"state_dict": {"w": torch.ones(1), "x": _Malice(trace)}}, path)
    with pytest.raises(InputError):
        load_tensors(path)
    assert not trace.exists()


def test_a_text_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_text("hello")
    with pytest.raises(InputError, match=r"w\.pt"):
        load_tensors(path)


@pytest.mark.parametrize("kind", ["safetensors", "torch", "torch with prefix", "pickle 2", "pickle 4"])
def test_every_safe_format_gives_the_same_tensors(tmp_path: Path, kind: str) -> None:
    wanted = torch.arange(6.0).reshape(2, 3)
    path = tmp_path / "w"
    if kind == "safetensors":
        save_file({"a.weight": wanted}, path)
    elif kind == "torch":
        torch.save({"a.weight": wanted}, path)
    elif kind == "torch with prefix":
        torch.save({"epoch": 3, "state_dict": {"module.a.weight": wanted}}, path)
    else:
        path.write_bytes(pickle.dumps({"a.weight": wanted.numpy(), "note": "text"}, protocol=int(kind[-1])))
    loaded = load_tensors(path)
    assert list(loaded) == ["a.weight"]
    assert torch.equal(loaded["a.weight"], wanted)


def test_a_pickle_written_by_numpy_1_loads(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    content = pickle.dumps({"mean": np.arange(3.0)}, protocol=2)
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in path.read_bytes()
    assert load_tensors(path)["mean"].tolist() == [0, 1, 2]


def test_the_manifest_is_consistent() -> None:
    for name, entry in manifest().items():
        assert entry.name == name
        assert (entry.size is None) == (entry.sha256 is None)
        assert entry.sha256 is None or len(entry.sha256) == 64
        assert entry.licence
        assert entry.trained_on
        assert all(url.startswith("https://") for url in entry.urls)


def test_the_real_files_are_recognised_and_load(weights_folder: Path) -> None:
    store = WeightStore()
    tensors = {"mobilefacenet": 307, "3ddfa_v2_mb05": 166, "3ddfa_v2_mean_std": 2, "mtcnn_onet": 21}
    for name, count in tensors.items():
        assert len(store.load_state_dict(name)) == count, name
    assert store.available("openseeface_lm0")
    assert store.available("ict_facekit")
    assert store.load_state_dict("3ddfa_v2_mean_std")["std"].shape == (62,)
