from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import fake_trees
import pytest

from reenact_zoo.datasets.talkinghead1kh import Talkinghead1kh, Talkinghead1khConfig
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import InputError

Tree = Callable[[str], Path]


def test_clips_are_known_by_their_video_even_where_its_name_begins_with_a_dash(fake_tree: Tree) -> None:
    clips = Talkinghead1kh(Talkinghead1khConfig(str(fake_tree("talkinghead1kh")))).clips
    assert {clip.name: (clip.identity, clip.split) for clip in clips} == {
        fake_trees.TALKING[0]: ("--FakeVid13", "train"),
        fake_trees.TALKING[1]: ("-FakeVide14", "train"),
        fake_trees.TALKING[2]: ("Fake_Vide15", "val"),
    }
    assert {(clip.num_frames, clip.frame_rate) for clip in clips} == {(fake_trees.FRAMES, Fraction(25))}
    assert all(clip.unknown == {"identity"} for clip in clips)


def test_names_state_box_and_length(fake_tree: Tree) -> None:
    found = {each.name: each for each in Talkinghead1kh(Talkinghead1khConfig(str(fake_tree("talkinghead1kh")))).found()}
    assert found[fake_trees.TALKING[0]].box_ratio == (1046 - 502) / (593 - 49)
    assert {each.stated_frames for each in found.values()} == {fake_trees.FRAMES}


def test_the_trial_download_is_read_when_asked_for_and_has_no_split(fake_tree: Tree) -> None:
    (clip,) = Talkinghead1kh(Talkinghead1khConfig(str(fake_tree("talkinghead1kh")), ["small"])).clips
    assert clip.split == ""


def test_a_video_in_two_splits_is_refused(own_tree: Tree) -> None:
    root = own_tree("talkinghead1kh")
    shutil.copy(
        root / "train" / "cropped_clips" / f"{fake_trees.TALKING[0]}.mp4",
        root / "val" / "cropped_clips" / "--FakeVid13_0001_S0_E4_L0_T0_R9_B9.mp4",
    )
    with pytest.raises(InputError, match=r"--FakeVid13 \(train, val\)"):
        _ = Talkinghead1kh(Talkinghead1khConfig(str(root))).clips


def test_missing_subsets_say_what_there_is(own_tree: Tree) -> None:
    root = own_tree("talkinghead1kh")
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")
    with pytest.raises(InputError, match=r"set subsets to \[small\]"):
        _ = Talkinghead1kh(Talkinghead1khConfig(str(root))).clips
    with pytest.raises(InputError, match="did you mean 'train'"):
        Talkinghead1kh(Talkinghead1khConfig(str(root), ["trian"]))
    assert DATASETS.get("talkinghead1kh") is Talkinghead1kh
