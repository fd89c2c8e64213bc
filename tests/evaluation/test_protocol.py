"""Protocol and suite files: strict, hashed by content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reenact_zoo.data.pairs import Pair, write_pairs
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.evaluation.protocol import load_protocol, load_suite, protocol_names, suite_names
from reenact_zoo.registry import DATASETS, METHODS, METRICS
from reenact_zoo.types import InputError


def test_every_packaged_protocol_loads_and_names_a_known_dataset() -> None:
    assert {"clips_self", "clips_cross"} <= set(protocol_names())
    for name in protocol_names():
        protocol = load_protocol(name)
        assert protocol.dataset.name in DATASETS.names()
        assert len(protocol.hash) == 64


def test_every_packaged_suite_names_protocols_and_methods_that_exist() -> None:
    assert {"quickstart", "clips"} <= set(suite_names())
    for name in suite_names():
        suite = load_suite(name)
        assert suite.title
        assert set(suite.protocols) <= set(protocol_names())
        assert {*suite.methods, *suite.where_possible} <= set(METHODS.names())
        assert not {*suite.methods} & {*suite.where_possible}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"setting": "crossed"}, "setting is self or cross, not 'crossed'"),
        ({"motion": "still"}, "motion is absolute or relative"),
        ({"resolutoin": 64}, "unknown key 'resolutoin'; did you mean 'resolution'"),
        ({"resolution": "big"}, "resolution"),
        ({"resolution": 8}, "at least 16"),
        ({"pairs": "some.csv"}, "either pairs"),
        ({"pair_rule": None}, "either pairs"),
        ({"metrics": ["detection_rat"]}, "unknown metric 'detection_rat'"),
        ({"annotations": "oracle", "crop": {"policy": "face"}}, "whole frames"),
        ({"sources": 0}, "at least the pair's own"),
        ({"sources": 3, "setting": "self"}, "several sources need setting cross"),
        ({"sources": 3, "annotations": "oracle"}, "several sources need .* estimated annotations"),
    ],
)
def test_a_wrong_field_is_refused_by_name(write_protocol: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_protocol(**changes)


def test_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'clips_cross'"):
        load_protocol("clip_cross")
    with pytest.raises(InputError, match="did you mean 'quickstart'"):
        load_suite("quickstrat")
    with pytest.raises(InputError, match="no protocol file"):
        load_protocol(str(tmp_path / "none.yaml"))


def test_a_file_that_is_not_yaml_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1\nb: }")
    with pytest.raises(InputError, match="cannot read") as caught:
        load_protocol(str(path))
    assert "\n" not in str(caught.value)


def test_a_protocol_is_called_like_its_file(write_protocol: Any, tmp_path: Path) -> None:
    write_protocol("one")
    (tmp_path / "protocols" / "two.yaml").write_text((tmp_path / "protocols" / "one.yaml").read_text())
    with pytest.raises(InputError, match="called like its file: 'two'"):
        load_protocol(str(tmp_path / "protocols" / "two.yaml"))


def _pairs(tmp_path: Path, index: int, same: bool = False) -> None:
    (tmp_path / "pairs").mkdir(exist_ok=True)
    write_pairs(tmp_path / "pairs" / "some.csv", [Pair("0", FrameRef("c0", 0), FrameRef("c1", index), None, same)])


def test_the_hash_follows_content_and_pairs_but_not_layout(write_protocol: Any, tmp_path: Path) -> None:
    _pairs(tmp_path, 1)
    listed = {"pairs": "some.csv", "pair_rule": None}
    first = write_protocol(**listed)
    text = Path(first.source).read_text()
    Path(first.source).write_text("# a comment\n" + text)
    assert load_protocol(first.source).hash == first.hash
    before = first.hash
    _pairs(tmp_path, 2)
    assert first.hash != before
    assert write_protocol(**listed, resolution=32).hash != first.hash
    assert write_protocol(**listed, sources=1).hash == first.hash
    assert write_protocol(**listed, sources=3).hash != first.hash


def test_listed_pairs_must_fit_the_setting(write_protocol: Any, tmp_path: Path) -> None:
    _pairs(tmp_path, 1, same=True)
    dataset = DATASETS.get("fake_world:Greys")()
    with pytest.raises(InputError, match="pair '0' does not belong to setting 'cross'"):
        write_protocol(pairs="some.csv", pair_rule=None).select_pairs(dataset)
    with pytest.raises(InputError, match="pair '0' needs a driving_reference"):
        write_protocol(pairs="some.csv", pair_rule=None, setting="self", motion="relative").select_pairs(dataset)
    with pytest.raises(InputError, match=r"no pair file 'other\.csv'"):
        write_protocol(pairs="other.csv", pair_rule=None).select_pairs(dataset)


@pytest.mark.parametrize("name", [n for n in protocol_names() if load_protocol(n).motion == "relative"])
def test_relative_motion_is_not_judged_by_the_driving_frame(name: str) -> None:
    against_driving = [m for m in load_protocol(name).metrics if "of driving" in METRICS.get(m).card.compares]
    assert not against_driving


def test_absolute_motion_is_judged_by_the_driving_frame_too() -> None:
    cards = [METRICS.get(m).card for m in load_protocol("synthetic_cross_64").metrics]
    assert sum("of driving" in card.compares for card in cards) == 3  # two poses, one expression
