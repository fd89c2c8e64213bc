"""The commands of ``reenact-zoo weights`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from reenact_zoo.cli import app
from reenact_zoo.weights.manifest import manifest

HEAD = {"fc_yaw.weight": (66, 2048), "fc_pitch.weight": (66, 2048), "fc_roll.weight": (66, 2048)}
HOPENET = HEAD | {"fc_finetune.weight": (3, 2051)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty; a terminal wide enough for every row."""
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)
    monkeypatch.delenv("REENACT_ZOO_LICENCE", raising=False)
    return tmp_path / "cache"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["weights", *(str(a) for a in arguments)])


def fails_with_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.strip().splitlines() if line]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


def _hopenet(path: Path, heads: dict[str, tuple[int, int]] = HOPENET) -> Path:
    torch.save({key: torch.zeros(shape) for key, shape in heads.items()}, path)
    return path


@pytest.mark.parametrize("command", ["list", "show", "fetch", "import", "path", "verify"])
def test_help_of_each_command_shows_an_example(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout


def test_list_shows_every_entry_with_state_and_use() -> None:
    result = call("list")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert set(manifest()) <= set(rows)
    assert "yours to get" in rows["hopenet_robust_alpha1"]
    assert "research" in rows["hopenet_robust_alpha1"]
    assert "missing" in rows["mobilefacenet"]
    assert "identity_mobilefacenet" in rows["mobilefacenet"]
    assert "at hand" in rows["synthetic_landmarks_68"]


def test_list_as_json_holds_every_fact() -> None:
    entries = {entry["name"]: entry for entry in json.loads(call("list", "--json").stdout)}
    assert set(entries) == set(manifest())
    assert entries["mobilefacenet"]["sha256"] == manifest()["mobilefacenet"].sha256
    assert entries["mobilefacenet"]["state"] == "missing"
    metrics = "aed_identity", "aed_identity_squared", "identity_leak_mobilefacenet", "identity_mobilefacenet"
    expected = [f"metric {name}" for name in (*metrics, "identity_preservation_rate_mobilefacenet")]
    assert entries["mobilefacenet"]["used_by"] == expected
    assert "metric pose_3ddfa_v2" in entries["3ddfa_v2_mb05"]["used_by"]
    assert "metric pose_3ddfa_v2" in entries["3ddfa_v2_mean_std"]["used_by"]
    assert entries["mobilefacenet"]["path"] is None
    assert Path(entries["synthetic_landmarks_68"]["path"]).is_file()


def test_show_says_how_to_get_a_file() -> None:
    text = " ".join(call("show", "flame_2020_generic").stdout.split())
    for part in ("https://flame.is.tue.mpg.de/", "FLAME2020.zip", "weights import FLAME2020.zip --as", "permissive no"):
        assert part in text
    assert "weights fetch alexnet_imagenet" in call("show", "alexnet_imagenet").stdout
    assert "--licence research" in " ".join(call("show", "bisenet_celebamask_hq").stdout.split())


def test_show_of_a_misspelt_name_suggests_the_nearest() -> None:
    fails_with_one_line(call("show", "hopenet_robust_alpha"), "hopenet_robust_alpha1")


def test_import_then_path_then_verify(tmp_path: Path, own_cache: Path) -> None:
    given = _hopenet(tmp_path / "downloaded (1).pkl")
    result = call("import", given, "--as", "hopenet_robust_alpha1")
    assert result.exit_code == 0, result.output
    assert "--licence research" in result.stdout
    fails_with_one_line(call("path", "hopenet_robust_alpha1"), "--licence research", "REENACT_ZOO_LICENCE")
    found = call("path", "hopenet_robust_alpha1", "--licence", "research")
    assert found.stdout.strip() == str(own_cache / "weights" / "hopenet_robust_alpha1.pkl")
    verified = call("verify", "hopenet_robust_alpha1")
    assert verified.exit_code == 0
    assert "whole" in verified.stdout
    Path(found.stdout.strip()).write_bytes(b"something else")
    damaged = call("verify")
    assert damaged.exit_code == 1
    assert "differing: hopenet_robust_alpha1" in damaged.stderr
    assert "synthetic_landmarks_68" in damaged.stdout


def test_import_of_another_network_names_the_first_differing_key(tmp_path: Path) -> None:
    given = _hopenet(tmp_path / "w.pkl", HOPENET | {"fc_pitch.weight": (64, 2048)})
    fails_with_one_line(call("import", given, "--as", "hopenet_robust_alpha1"), "fc_pitch.weight", "(66, 2048)")


def test_path_without_a_name_is_the_folder_of_fetch_and_import(own_cache: Path) -> None:
    assert call("path").stdout.strip() == str(own_cache / "weights")


def test_verify_of_an_absent_file_says_how_to_get_it() -> None:
    fails_with_one_line(call("verify", "mobilefacenet"), "mobilefacenet.pt", "REENACT_ZOO_WEIGHTS")


def test_fetch_of_what_only_the_user_can_get_points_to_show() -> None:
    result = call("fetch", "deca_model", "--licence", "research")
    fails_with_one_line(result, "weights show deca_model", "deca_model.tar")


def test_fetch_checks_every_name_before_it_downloads_anything() -> None:
    fails_with_one_line(call("fetch", "lpips_alex", "lpips_alec"), "lpips_alex")


def test_one_failure_does_not_keep_fetch_from_the_next() -> None:
    result = call("fetch", "deca_model", "fan_2d", "synthetic_landmarks_68")
    fails_with_one_line(result, "deca_model", "fan_2d", "--licence research")
    assert "synthetic_landmarks_68.dat" in result.stdout


def test_fetch_of_what_is_at_hand_prints_its_path() -> None:
    result = call("fetch", "synthetic_landmarks_68")
    assert result.exit_code == 0
    assert "synthetic_landmarks_68.dat" in result.stdout
