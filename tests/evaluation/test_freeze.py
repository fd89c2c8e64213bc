"""Frozen protocols: nothing in them changes unnoticed, and the packaged ones are what the script writes."""

from __future__ import annotations

import hashlib
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reenact_zoo.data.pairs import read_pairs
from reenact_zoo.datasets._lists import VOXCELEB1_TEST, ffpp_pairs
from reenact_zoo.evaluation.freeze import freeze
from reenact_zoo.evaluation.protocol import load_protocol, protocol_names
from reenact_zoo.registry import METRICS
from reenact_zoo.types import InputError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FROZEN = [name for name in protocol_names() if "sha256:" in (BENCHMARKS / "protocols" / f"{name}.yaml").read_text()]


def copied(name: str, folder: Path) -> Path:
    """Protocol and pairs where a test may change them."""
    protocol = load_protocol(name)
    path = Path(shutil.copy(BENCHMARKS / "protocols" / f"{name}.yaml", folder))
    if protocol.pairs:
        shutil.copy(protocol.pairs_file, folder)
    return path


@pytest.mark.parametrize("name", FROZEN)
def test_the_hash_in_the_file_is_the_hash_of_the_file(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.sha256 == protocol.hash
    assert protocol.metric_versions == {metric: METRICS.get(metric).card.version for metric in protocol.metrics}


def test_all_protocols_of_real_data_are_frozen() -> None:
    assert len([name for name in FROZEN if name.startswith("dcg_gan_")]) == 6
    others = {"ffpp_self", "ffpp_cross", "celebdf_self", "celebdf_cross", "one_shot_wild", "prepared_self"}
    assert others | {"voxceleb1_fomm_self", "voxceleb1_fomm_cross", "voxceleb1_official_cross"} <= set(FROZEN)


def test_the_script_writes_the_same_bytes_again(shared: Path, tmp_path: Path) -> None:
    make = runpy.run_path(str(BENCHMARKS / "make_real_pairs.py"))["make"]
    for frozen in make(shared / "data" / "lists", tmp_path):
        files = [frozen.protocol, *([frozen.pairs] if frozen.num_pairs else [])]
        for path in files:
            assert path.read_bytes() == (BENCHMARKS / path.relative_to(tmp_path)).read_bytes(), path.name
    written = {path.stem for path in (tmp_path / "protocols").iterdir()}
    assert written == set(FROZEN)


def test_ffpp_pairs_are_the_official_ones_in_both_directions() -> None:
    protocol = load_protocol("ffpp_cross")
    pairs = read_pairs(protocol.pairs_file)
    directed = {(p.source.clip.removeprefix("youtube/"), p.driving.clip.removeprefix("youtube/")) for p in pairs}
    official = set(ffpp_pairs("test"))
    assert directed == official | {(b, a) for a, b in official}
    assert len(directed) == 140
    assert Counter(p.source.clip for p in pairs) == Counter({f"youtube/{a}": 4 for a, _ in directed})


def test_voxceleb_pairs_join_different_test_identities_inside_their_clips() -> None:
    for name in ("voxceleb1_fomm_self", "voxceleb1_fomm_cross"):
        for pair in read_pairs(load_protocol(name).pairs_file):
            people = [ref.clip.split("#")[0] for ref in (pair.source, pair.driving)]
            assert set(people) <= VOXCELEB1_TEST - {"id10282", "id10306"}
            assert (people[0] == people[1]) == pair.same_identity
            start, end = map(int, pair.driving.clip.split("#")[2:])
            assert 0 <= pair.driving.index < end - start


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f | {"resolution": 128}, "changed after they were frozen"),
        (lambda f: f | {"crop": {"policy": "face", "scale": 2.5}}, "changed after they were frozen"),
        (lambda f: f | {"metric_versions": f["metric_versions"] | {"detection_rate": 9}}, "version 9 of metric"),
    ],
)
def test_a_changed_protocol_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    path = copied("ffpp_cross", tmp_path)
    load_protocol(str(path))
    path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()))))
    with pytest.raises(InputError, match=said):
        load_protocol(str(path))


def test_changed_pairs_are_refused(tmp_path: Path) -> None:
    path = copied("ffpp_cross", tmp_path)
    pairs = tmp_path / "ffpp_cross_v1.csv"
    pairs.write_text(pairs.read_text().replace("@37", "@38", 2))
    with pytest.raises(InputError, match="changed after they were frozen"):
        load_protocol(str(path))


def test_freezing_writes_the_pairs_of_ones_own_tree(fake_tree: Callable[[str], Path], tmp_path: Path) -> None:
    first = freeze("celebdf_cross", fake_tree("celebdf"), tmp_path / "a")
    again = freeze("celebdf_cross", fake_tree("celebdf"), tmp_path / "b")
    assert first.pairs.read_bytes() == again.pairs.read_bytes()
    assert first.protocol.read_bytes() == again.protocol.read_bytes()
    assert first.pairs_sha256 == hashlib.sha256(first.pairs.read_bytes()).hexdigest()
    protocol = load_protocol(str(first.protocol))
    assert protocol.sha256 == protocol.hash == first.protocol_sha256
    assert protocol.pair_rule is None
    pairs = read_pairs(first.pairs)
    # two clips of id5 and one of id8 are tested: each is driven by the other person's and by YouTube-real/00299
    assert len(pairs) == first.num_pairs == 2 * (2 + 2 + 3)
    assert all(pair.source.clip.startswith("Celeb-real/") for pair in pairs)
    drivers = {pair.driving.clip.split("/")[0] for pair in pairs}
    assert drivers == {"Celeb-real", "YouTube-real"}
    with pytest.raises(InputError, match="lists its pairs already"):
        freeze(str(first.protocol), fake_tree("celebdf"), tmp_path / "a")


def test_another_frozen_form_is_not_overwritten(own_tree: Callable[[str], Path], tmp_path: Path) -> None:
    root = own_tree("celebdf")
    freeze("celebdf_cross", root, tmp_path / "out")
    (root / "Celeb-real" / "id8_0003.mp4").unlink()
    with pytest.raises(InputError, match="is there with another content"):
        freeze("celebdf_cross", root, tmp_path / "out")


@pytest.mark.slow
def test_the_script_runs_from_the_command_line(shared: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(BENCHMARKS / "make_real_pairs.py"), str(shared / "data" / "lists"), str(tmp_path)]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == len(FROZEN)
