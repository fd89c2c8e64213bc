from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from reenact_zoo import registry
from reenact_zoo.registry import DATASETS, METHODS, METRICS, Registry, nearest
from reenact_zoo.types import InputError


def test_nearest_suggests_one_name_or_lists_all() -> None:
    assert nearest("landmark_wrap", ["copy_source", "landmark_warp"]) == "did you mean 'landmark_warp'?"
    assert nearest("xyz", ["b", "a"]) == "known: a, b"
    assert nearest("xyz", []) == "known: none"


@pytest.mark.parametrize("kind", [METHODS, DATASETS, METRICS], ids=lambda kind: kind.kind)
def test_every_registered_class_can_be_got_and_is_of_its_kind(kind: Registry[Any]) -> None:
    assert kind.names() == sorted(set(kind.names())) != []
    base = kind._load(kind._base)
    for name in kind.names():
        assert issubclass(kind.get(name), base), name


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown method 'copy_sauce'; did you mean 'copy_source'\?"):
        METHODS.get("copy_sauce")


def test_base_and_private_files_register_nothing() -> None:
    assert not [name for name in METHODS.names() if name == "base" or name.startswith("_")]


def test_a_class_is_found_by_module_and_name() -> None:
    from reenact_zoo.testing import OnePhaseToy

    assert METHODS.get("reenact_zoo.testing:OnePhaseToy") is OnePhaseToy


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:Thing", "cannot load 'no_such_module:Thing'"),
        ("reenact_zoo.testing:Nothing", "cannot load 'reenact_zoo.testing:Nothing'"),
        ("pathlib:Path", "'pathlib:Path' is not a method: it must be a subclass of ReenactmentModule"),
        ("os:sep", "'os:sep' is not a method"),
    ],
)
def test_what_is_not_a_method_is_refused_in_words(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        METHODS.get(spec)


def test_third_parties_register_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = EntryPoint("theirs", "reenact_zoo.testing:TwoPhaseToy", "reenact_zoo.methods")
    wrong = EntryPoint("wrong", "pathlib:Path", "reenact_zoo.methods")
    monkeypatch.setattr(registry, "entry_points", lambda group: [theirs, wrong] if group == theirs.group else [])
    assert {"theirs", "copy_source"} <= set(METHODS.names())
    assert METHODS.get("theirs").__name__ == "TwoPhaseToy"
    with pytest.raises(InputError, match="'wrong' is not a method"):
        METHODS.get("wrong")
    assert "theirs" not in METRICS.names()


def test_a_file_must_hold_exactly_one_public_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "zoo_of_tests"
    package.mkdir()
    (package / "large").mkdir()
    files = {
        "base": [],
        "cat": ["Cat", "_Help"],
        "two": ["A", "B"],
        "_private": ["Ghost"],
        "large/module": ["Whale"],
        "__init__": [],
        "large/__init__": [],
    }
    for name, classes in files.items():
        lines = ["from zoo_of_tests.base import Animal", *(f"class {c}(Animal): ..." for c in classes)]
        (package / f"{name}.py").write_text("\n".join(lines if classes else []))
    (package / "base.py").write_text("class Animal: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    animals: Registry[Any] = Registry("animal", "zoo_of_tests", "zoo_of_tests.base:Animal")
    assert animals.names() == ["cat", "large", "two"]
    assert animals.get("cat").__name__ == "Cat"
    assert animals.get("large").__name__ == "Whale"
    with pytest.raises(TypeError, match="must define exactly one public Animal, found 2"):
        animals.get("two")


def test_listing_names_imports_no_plug_in() -> None:
    code = (
        "import sys; from reenact_zoo.registry import METHODS, METRICS, DATASETS;"
        "METHODS.names(), METRICS.names(), DATASETS.names();"
        "assert 'pytorch_lightning' not in sys.modules and 'reenact_zoo.methods.base' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
