"""Pair files and drawn pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.data.pairs import Pair, PairRule, draw_pairs, evenly_spaced, pairs_hash, read_pairs, write_pairs
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.types import InputError


class Listed(ClipDataset):
    """Clips without pictures."""

    def __init__(self, clips: list[Clip]) -> None:
        self._clips = clips

    @property
    def clips(self) -> list[Clip]:
        return self._clips

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        raise AssertionError("drawing pairs must not decode a frame")


@pytest.fixture
def three_clips() -> Listed:
    return Listed(
        [Clip("a1", "anna", "test", 30), Clip("a2", "anna", "train", 5), Clip("b1", "ben", "test", 12)],
    )


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    pairs = [
        Pair("0", FrameRef("x@y,z", 3), FrameRef("b", 0), FrameRef("b", 1), True, {"delta_yaw_deg": 12.25}),
        Pair("1", FrameRef("b", 2), FrameRef("ü", 7), None, False, {"delta_yaw_deg": -0.1}),
    ]
    write_pairs(tmp_path / "pairs.csv", pairs)
    assert read_pairs(tmp_path / "pairs.csv") == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair_id,source,driving,same_identity\n", "column 'driving_reference' is missing"),
        ("pair_id,source,driving,driving_reference,same_identity\n0,a,b@1,,true\n", "line 2.*'a' is not of the form"),
        ("pair_id,source,driving,driving_reference,same_identity\n0,a@0,b@1,,maybe\n", "line 2.*not 'maybe'"),
        ("pair_id,source,driving,driving_reference,same_identity\n,a@0,b@1,,true\n", "pair_id is empty"),
        (
            "pair_id,source,driving,driving_reference,same_identity\n0,a@0,b@1,,true\n0,a@0,b@2,,true\n",
            "'0' appears twice",
        ),
        ("pair_id,source,driving,driving_reference,same_identity,yaw\n0,a@0,b@1,,true,wide\n", "line 2.*'wide'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_pairs(path)


def test_a_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the pair file"):
        read_pairs(tmp_path / "none.csv")


def test_self_pairs_start_at_the_first_frame_and_stay_in_their_clip(three_clips: Listed) -> None:
    pairs = draw_pairs(three_clips, "self", PairRule(frames=4))
    assert len(pairs) == 12
    assert all(p.source == FrameRef(p.driving.clip, 0) and p.driving.index > 0 and p.same_identity for p in pairs)
    assert [p.driving.index for p in pairs if p.driving.clip == "a2"] == [1, 2, 3, 4]


def test_cross_pairs_never_join_two_clips_of_one_person(three_clips: Listed) -> None:
    pairs = draw_pairs(three_clips, "cross", PairRule(frames=2))
    joined = {(p.source.clip, p.driving.clip) for p in pairs}
    assert joined == {("a1", "b1"), ("a2", "b1"), ("b1", "a1"), ("b1", "a2")}
    assert len(pairs) == len({p.pair_id for p in pairs}) == 8
    assert not any(p.same_identity for p in pairs)


def test_a_rule_can_keep_to_one_split(three_clips: Listed) -> None:
    pairs = draw_pairs(three_clips, "self", PairRule(frames=3, split="test"))
    assert {p.source.clip for p in pairs} == {"a1", "b1"}


def test_clips_that_make_no_pair_are_the_users_mistake(three_clips: Listed) -> None:
    with pytest.raises(InputError, match="at least two persons"):
        draw_pairs(three_clips, "cross", PairRule(split="train"))
    with pytest.raises(InputError, match="at least two frames"):
        draw_pairs(Listed([Clip("still", "x", "", 1)]), "self", PairRule())


def test_evenly_spaced_indices_are_the_middles_of_equal_parts() -> None:
    assert evenly_spaced(0, 10, 2) == [2, 7]
    assert evenly_spaced(1, 10, 3) == [2, 5, 8]
    assert evenly_spaced(1, 3, 8) == [1, 2]


def test_the_hash_sees_order_and_content(three_clips: Listed) -> None:
    pairs = draw_pairs(three_clips, "self", PairRule(frames=4))
    again = draw_pairs(three_clips, "self", PairRule(frames=4))
    assert pairs_hash(pairs) == pairs_hash(again) != pairs_hash(reversed(pairs))


def test_partners_follow_from_the_names_and_stay_when_others_go() -> None:
    clips = [Clip(f"c{i}", f"p{i}", "", 9) for i in range(12)]
    drawn = draw_pairs(Listed(clips), "cross", PairRule(frames=1, partners=3))
    partners = {c.name: [p.driving.clip for p in drawn if p.source.clip == c.name] for c in clips}
    assert {len(set(names)) for names in partners.values()} == {3}
    assert len({tuple(names) for names in partners.values()}) > 8
    left = [clip for clip in clips if clip.name != "c5"]
    for pair in draw_pairs(Listed(left), "cross", PairRule(frames=1, partners=3)):
        if "c5" not in partners[pair.source.clip]:
            assert pair.driving.clip in partners[pair.source.clip]


def test_patterns_choose_who_may_be_source_and_who_may_drive() -> None:
    clips = [Clip("real/a", "a", "", 5), Clip("real/b", "b", "", 5), Clip("tube/c", "c", "", 5)]
    pairs = draw_pairs(Listed(clips), "cross", PairRule(frames=1, source="real/*"))
    assert {(p.source.clip, p.driving.clip) for p in pairs} == {
        ("real/a", "real/b"), ("real/a", "tube/c"), ("real/b", "real/a"), ("real/b", "tube/c")
    }  # fmt: skip
    pairs = draw_pairs(Listed(clips), "cross", PairRule(frames=1, driving="tube/*"))
    assert {(p.source.clip, p.driving.clip) for p in pairs} == {("real/a", "tube/c"), ("real/b", "tube/c")}
    assert {p.source.clip for p in draw_pairs(Listed(clips), "self", PairRule(source="real/*"))} == {"real/a", "real/b"}
