from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import fake_trees
import pytest

from reenact_zoo.datasets._lists import dcg_gan_split
from reenact_zoo.datasets.celebdf import LIST, Celebdf, CelebdfConfig, read_list
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import InputError

Tree = Callable[[str], Path]


def test_only_celeb_real_knows_who_is_shown(fake_tree: Tree) -> None:
    dataset = Celebdf(CelebdfConfig(str(fake_tree("celebdf"))))
    assert [clip.name for clip in dataset.clips] == [
        *(f"Celeb-real/{name}" for name in fake_trees.CELEB_REAL),
        *(f"YouTube-real/{name}" for name in fake_trees.YOUTUBE_REAL),
    ]
    celebrity, stranger = dataset.clip("Celeb-real/id0_0001"), dataset.clip("YouTube-real/00170")
    assert (celebrity.identity, celebrity.unknown) == ("id0", frozenset())
    assert (stranger.identity, stranger.unknown) == ("YouTube-real/00170", {"identity"})
    assert (celebrity.num_frames, celebrity.frame_rate) == (fake_trees.FRAMES, Fraction(30))


def test_the_frozen_split_goes_by_subject_and_leaks_nobody(fake_tree: Tree) -> None:
    parts = ["Celeb-real", "YouTube-real", "Celeb-synthesis"]
    clips = {clip.name: clip for clip in Celebdf(CelebdfConfig(str(fake_tree("celebdf")), parts)).clips}
    assert {clips[f"Celeb-real/{name}"].split for name in ("id0_0000", "id0_0001", "id1_0000")} == {"train"}
    assert {clips[f"Celeb-real/{name}"].split for name in ("id5_0000", "id5_0001", "id8_0003")} == {"test"}
    assert clips["Celeb-synthesis/id0_id1_0000"].split == "train"
    assert clips["Celeb-synthesis/id5_id8_0001"].people == ("id5", "id8")
    assert clips["Celeb-synthesis/id1_id5_0000"].split == ""  # one person of either side: belongs to neither


def test_the_frozen_rule_cuts_a_fifth_of_the_known_ranges() -> None:
    def tested(names: list[str]) -> int:
        return sum(dcg_gan_split("celebdf", name) == "test" for name in names)

    assert tested([f"id{i}" for i in range(62)]) == 12
    assert tested([f"id{i}" for i in range(13)]) == 3
    assert tested([f"YouTube-real/{i:05d}" for i in range(300)]) == 60


def test_the_official_list_is_refused_where_it_leaks_and_the_ids_are_named(own_tree: Tree) -> None:
    root = own_tree("celebdf")
    with pytest.raises(InputError, match=r"1 identities are in more than one split: id5 \(test, train\).*leaks=drop"):
        _ = Celebdf(CelebdfConfig(str(root), split="list")).clips
    kept = {c.name: c.split for c in Celebdf(CelebdfConfig(str(root), split="list", leaks="drop")).clips}
    assert "Celeb-real/id5_0000" not in kept  # trains, while id5_0001 is tested
    assert kept["Celeb-real/id5_0001"] == kept["YouTube-real/00170"] == "test"
    assert kept["Celeb-real/id0_0000"] == "train"


def test_label_one_is_real_and_a_reversed_list_is_refused(own_tree: Tree) -> None:
    root = own_tree("celebdf")
    assert read_list(root)["Celeb-real/id8_0003"] is True
    assert read_list(root)["Celeb-synthesis/id5_id8_0001"] is False
    text = (root / LIST).read_text()
    (root / LIST).write_text("".join(f"{1 - int(line[0])}{line[1:]}\n" for line in text.splitlines()))
    with pytest.raises(InputError, match="4 of 4 lines say otherwise"):
        _ = Celebdf(CelebdfConfig(str(root), split="list")).clips


def test_a_broken_or_missing_list_says_which_line(own_tree: Tree) -> None:
    root = own_tree("celebdf")
    (root / LIST).write_text("1 Celeb-real/id0_0000.mp4\nreal Celeb-real/id1_0000.mp4\n")
    with pytest.raises(InputError, match="line 2: expected '<0 or 1> <folder>/<file>'"):
        _ = Celebdf(CelebdfConfig(str(root), split="list")).clips
    (root / LIST).unlink()
    with pytest.raises(InputError, match=f"has no {LIST}"):
        _ = Celebdf(CelebdfConfig(str(root), split="list")).clips


def test_other_arrangements_read_the_same(own_tree: Tree) -> None:
    root = own_tree("celebdf")
    before = [(clip.name, clip.identity, clip.split) for clip in Celebdf(CelebdfConfig(str(root))).clips]
    (root / "YouTube-real").rename(root / "Youtube-real")
    inner = root / "Celeb-real" / "videos"
    inner.mkdir()
    for path in (root / "Celeb-real").glob("*.mp4"):
        path.rename(inner / path.name)
    shutil.copytree(fake_trees.frame_folder(root / "x", ["000.png", "010.png"]), root / "Celeb-real/frames/id0_0000")
    assert [(clip.name, clip.identity, clip.split) for clip in Celebdf(CelebdfConfig(str(root))).clips] == before


def test_the_version_is_told_by_the_root_or_left_open(own_tree: Tree, tmp_path: Path) -> None:
    root = own_tree("celebdf")
    assert Celebdf(CelebdfConfig(str(root))).version == ""
    for version in ("v1", "v2"):
        named = root.rename(tmp_path / f"Celeb-DF-{version}")
        assert Celebdf(CelebdfConfig(str(named))).version == version
        root = named
    assert Celebdf(CelebdfConfig(str(root), version="v1")).version == "v1"
    assert DATASETS.get("celebdf") is Celebdf
