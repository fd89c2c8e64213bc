from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reenact_zoo.cli.commands import app
from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.testing import OnePhaseToy
from reenact_zoo.train import ship as shipping
from reenact_zoo.types import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    words = "dataset.train_identities=2 dataset.val_identities=1 dataset.frames=2 image_size=16 method.width=8"
    words += " max_updates=4 log_every=1 batch_size=2 validation_pairs=0 workers=0"
    done = CliRunner().invoke(app, ["train", "example_synthetic", *words.split(), "--out", str(folder), "--quiet"])
    assert done.exit_code == 0, done.output
    return folder


def test_weights_ship_with_a_card_that_says_what_made_them(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ReenactmentModule, "load", OnePhaseToy.load)  # the toy is not a registered method
    file = shipping.ship(run, "reenact-zoo train example_synthetic", tmp_path, "toy_16")
    card = json.loads((tmp_path / "toy_16.json").read_text())
    assert file == tmp_path / "toy_16.safetensors"
    assert card["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (card["updates"], card["bytes"]) == (4, file.stat().st_size)
    assert card["command"] == "reenact-zoo train example_synthetic"
    assert card["config"]["method"]["width"] == 8
    assert any(name.startswith("train/") and set(entry) == {"first", "last"} for name, entry in card["log"].items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy_16.json", "toy_16.safetensors"]


def test_without_a_command_or_above_the_limit_nothing_is_written(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ReenactmentModule, "load", OnePhaseToy.load)
    with pytest.raises(InputError, match="--command"):
        shipping.ship(run, " ", tmp_path)
    monkeypatch.setattr(shipping, "LIMIT_BYTES", 1000)
    with pytest.raises(InputError, match=r"more than the 1,000 a method may ship"):
        shipping.ship(run, "command", tmp_path, "toy_16")
    assert list(tmp_path.iterdir()) == []
