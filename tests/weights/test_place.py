"""Imported files are checked before they become anybody's weights."""

from __future__ import annotations

import bz2
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reenact_zoo.types import InputError
from reenact_zoo.weights.folders import trusted_sha256
from reenact_zoo.weights.manifest import WeightEntry
from reenact_zoo.weights.place import import_file
from reenact_zoo.weights.store import WeightStore

CONTENT = b"some weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Declare = Callable[..., WeightEntry]


def _given(tmp_path: Path, content: bytes, name: str = "given") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def _left(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith("sha256.json"))


def test_an_import_is_a_checked_copy_that_the_store_finds(tmp_path: Path, declare: Declare, own_cache: Path) -> None:
    declare("toy", size=len(CONTENT), sha256=SHA256)
    given = _given(tmp_path, CONTENT)
    assert import_file(given, "toy") == own_cache / "weights" / "toy.bin"
    assert given.is_file()
    assert WeightStore().path("toy").read_bytes() == CONTENT
    assert trusted_sha256("toy") is None  # the manifest's own hash stands


def test_a_wrong_file_is_not_copied_and_both_hashes_are_named(
    tmp_path: Path, declare: Declare, own_cache: Path
) -> None:
    declare("toy", size=len(CONTENT), sha256=SHA256)
    with pytest.raises(InputError) as error:
        import_file(_given(tmp_path, CONTENT[::-1]), "toy")
    assert SHA256 in str(error.value)
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in str(error.value)
    assert _left(own_cache) == []


def test_an_import_of_unknown_hash_is_remembered_and_replaced_only_on_request(tmp_path: Path, declare: Declare) -> None:
    declare("toy")
    first, second = _given(tmp_path, CONTENT, "first"), _given(tmp_path, CONTENT[::-1], "second")
    import_file(first, "toy")
    assert trusted_sha256("toy") == SHA256
    with pytest.raises(InputError, match="--replace"):
        import_file(second, "toy")
    assert WeightStore().path("toy").read_bytes() == CONTENT
    import_file(second, "toy", replace=True)
    assert WeightStore().path("toy").read_bytes() == CONTENT[::-1]


def test_weights_of_another_network_are_told_by_their_keys(tmp_path: Path, declare: Declare, own_cache: Path) -> None:
    declare("toy", keys={"head.weight": (68, 4), "head.bias": (68,)})
    torch.save({"state_dict": {"module.head.weight": torch.ones(98, 4)}}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"'head.weight' should have shape \(68, 4\), the file has \(98, 4\)"):
        import_file(tmp_path / "w.pth", "toy")
    assert _left(own_cache) == []
    torch.save(
        {"head.weight": torch.ones(68, 4), "head.bias": torch.ones(68), "more": torch.ones(1)}, tmp_path / "w.pth"
    )
    assert import_file(tmp_path / "w.pth", "toy").is_file()


def test_compressed_files_and_archives_are_unpacked(tmp_path: Path, declare: Declare) -> None:
    declare("toy", size=len(CONTENT), sha256=SHA256, unpack="bz2")
    assert import_file(_given(tmp_path, bz2.compress(CONTENT), "w.dat.bz2"), "toy").read_bytes() == CONTENT
    declare("model", file="generic_model.pkl")
    with zipfile.ZipFile(tmp_path / "FLAME.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("FLAME/generic_model.pkl", CONTENT)
    assert import_file(tmp_path / "FLAME.zip", "model").read_bytes() == CONTENT


def test_a_checkpoint_that_is_a_zip_archive_is_not_unpacked(tmp_path: Path, declare: Declare) -> None:
    declare("toy")
    torch.save({"w": torch.ones(3)}, tmp_path / "w.pth")
    import_file(tmp_path / "w.pth", "toy")
    assert WeightStore().load_state_dict("toy")["w"].tolist() == [1, 1, 1]


def test_a_file_that_is_not_there_and_an_unknown_entry_are_one_line(tmp_path: Path, declare: Declare) -> None:
    declare("toy")
    with pytest.raises(InputError, match="absent"):
        import_file(tmp_path / "absent", "toy")
    with pytest.raises(InputError, match="toy"):
        import_file(_given(tmp_path, CONTENT), "tay")
