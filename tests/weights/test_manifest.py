"""What the manifest says is complete, consistent, and true of what lies beside it."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest

from reenact_zoo.registry import METHODS
from reenact_zoo.types import InputError
from reenact_zoo.weights.licence import allow, licence_level
from reenact_zoo.weights.manifest import licences, manifest, research_only


@pytest.mark.parametrize("name", manifest())
def test_an_entry_is_complete(name: str) -> None:
    entry = manifest()[name]
    assert entry.name == name
    assert entry.sha256 is not None or entry.size is None  # nothing but a hash makes a size worth stating
    assert entry.sha256 is None or (len(entry.sha256) == 64 and int(entry.sha256, 16) > 0)
    for fact in (entry.file, entry.architecture, entry.licence, entry.trained_on, entry.paper):
        assert fact
        assert "\n" not in fact
    assert all(url.startswith("https://") for url in entry.urls)
    assert entry.unpack in ("", "bz2")
    assert Path(entry.file).name == entry.file


def test_names_and_files_are_unique() -> None:
    entries = manifest().values()
    assert len({entry.file for entry in entries}) == len(entries)
    hashes = [entry.sha256 for entry in entries if entry.sha256]
    assert len(set(hashes)) == len(hashes)


def test_hash_prefixes_in_file_names_agree_with_the_hashes() -> None:
    named = ["vgg16_imagenet", "vgg19_imagenet", "alexnet_imagenet", "inception_fid"]
    for entry in (manifest()[name] for name in named):
        assert entry.sha256 is not None
        for url in entry.urls:
            assert Path(url).stem.rpartition("-")[2] == entry.sha256[:8]


def test_every_entry_can_be_obtained_somehow() -> None:
    bundled = {p.name for p in Path(str(files("reenact_zoo"))).joinpath("bundled", "weights").iterdir()}
    for entry in manifest().values():
        ours = entry.name.startswith("synthetic_")
        assert entry.urls or entry.obtain or ours or entry.file in bundled, entry.name
        if entry.supplied_by_user:
            assert "https://" in entry.obtain
            assert entry.name == "ict_facekit" or "weights import" in entry.obtain, entry.name


def test_bundled_files_have_entries_and_their_hashes_are_right() -> None:
    by_file = {entry.file: entry for entry in manifest().values()}
    folder = Path(str(files("reenact_zoo"))).joinpath("bundled", "weights")
    bundled = [path for path in folder.iterdir() if path.suffix in (".dat", ".safetensors")]
    assert bundled
    for path in bundled:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.name in by_file:
            entry = by_file[path.name]
            assert entry.permissive
            assert entry.sha256 in (None, found), path.name
        else:  # what a method ships: its card says what made it
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            assert card["method"] in METHODS.names()
            assert card["command"]
            assert card["sha256"] == found, path.name


def test_non_commercial_and_copyleft_licences_are_not_permissive() -> None:
    for entry in manifest().values():
        text = entry.licence.lower()
        if any(word in text for word in ("non-commercial", "research only", "gpl", "no licence stated")):
            assert not entry.permissive, entry.name


def test_licences_of_a_run() -> None:
    names = ["mobilefacenet", "dlib_hog", "rvm_mobilenetv3_onnx", "dlib_68"]
    assert licences(names)["mobilefacenet"] == {"licence": "Apache-2.0", "permissive": True}
    assert "dlib_hog" not in licences(names)
    assert research_only(names) == ["dlib_68", "rvm_mobilenetv3_onnx"]


def test_the_level_is_permissive_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert licence_level() == "permissive"
    monkeypatch.setenv("REENACT_ZOO_LICENCE", "permissive")  # so that the patch restores what ``allow`` sets
    allow("research")
    assert licence_level() == "research"
    assert licence_level("permissive") == "permissive"
    with pytest.raises(InputError, match="permissive, research"):
        allow("anything")
