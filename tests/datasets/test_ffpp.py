from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import fake_trees
import pytest

from reenact_zoo.datasets._lists import dcg_gan_split, ffpp_pairs, ffpp_same_video, ffpp_splits
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.ffpp import Ffpp, FfppConfig
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import InputError

Tree = Callable[[str], Path]
ROOT = Path(__file__).resolve().parents[2]


def read(root: Path, **options: object) -> dict[str, tuple[str, str, int]]:
    """Clip → (identity, split, frames)."""
    clips = Ffpp(FfppConfig(str(root), **options)).clips  # type: ignore[arg-type]
    return {clip.name: (clip.identity, clip.split, clip.num_frames) for clip in clips}


def test_originals_have_their_number_as_identity_and_the_official_split(fake_tree: Tree) -> None:
    splits = dict(zip(fake_trees.FFPP_NUMBERS, ["train", "train", "train", "val", "val", "val", "test", "test"]))
    expected = {f"youtube/{number}": (number, split, fake_trees.FRAMES) for number, split in splits.items()}
    assert read(fake_tree("ffpp")) == expected


def test_videos_win_over_extracted_frames_and_bring_their_rate(own_tree: Tree) -> None:
    root = own_tree("ffpp")
    clip = Ffpp(FfppConfig(str(root))).clip("youtube/071")
    assert (clip.num_frames, clip.frame_rate) == (fake_trees.FRAMES, Fraction(30000, 1001))
    assert clip.unknown == {"identity"}
    (root / "original_sequences/youtube/c23/videos/071.mp4").unlink()
    clip = Ffpp(FfppConfig(str(root))).clip("youtube/071")
    assert (clip.num_frames, clip.frame_rate) == (3, None)
    assert clip.unknown == {"identity", "frame rate"}


def test_compression_is_chosen_and_a_missing_one_is_named_with_what_there_is(fake_tree: Tree) -> None:
    assert set(read(fake_tree("ffpp"), compression="c40")) == {"youtube/054", "youtube/071"}
    with pytest.raises(InputError, match=r"no raw videos of youtube .*set compression=c23"):
        read(fake_tree("ffpp"), compression="raw")
    with pytest.raises(InputError, match=r"no c23 videos of FaceShifter .* is missing or empty"):
        read(fake_tree("ffpp"), sequences=["FaceShifter"])


def test_a_manipulated_clip_has_both_people_target_first(fake_tree: Tree) -> None:
    dataset = Ffpp(FfppConfig(str(fake_tree("ffpp")), sequences=["Face2Face", "Deepfakes"]))
    assert len(dataset.clips) == 2 * len(fake_trees.FFPP_PAIRS)
    reenacted, swapped = dataset.clip("Face2Face/953_974"), dataset.clip("Deepfakes/953_974")
    assert reenacted.people == swapped.people == ("953", "974")
    assert (reenacted.identity, reenacted.split) == ("953", "test")  # A_B: the face of A, driven by B
    assert (swapped.identity, swapped.split) == ("974", "test")  # A_B: the face of B, in the video of A


def test_a_manipulation_across_splits_is_in_none(own_tree: Tree) -> None:
    root = own_tree("ffpp")
    folder = root / "manipulated_sequences/Face2Face/c23/videos"
    (folder / "071_054.mp4").rename(folder / "071_953.mp4")
    assert read(root, sequences=["Face2Face"])["Face2Face/071_953"] == ("071", "", fake_trees.FRAMES)


def test_actors_are_people_of_their_own_without_split(fake_tree: Tree) -> None:
    dataset = Ffpp(FfppConfig(str(fake_tree("ffpp")), compression="raw", sequences=["actors", "DeepFakeDetection"]))
    original, fake = dataset.clips
    assert (original.identity, original.split, original.people) == ("actor01", "", ())
    assert fake.people == ("actor01", "actor02")
    assert "split" in original.unknown


def test_the_frozen_split_keeps_sequences_of_one_video_together(fake_tree: Tree) -> None:
    clips = read(fake_tree("ffpp"), split="dcg_gan")
    assert clips["youtube/605"][1] == clips["youtube/606"][1] == "test"
    assert clips["youtube/071"][1] == "train"
    sides = [{dcg_gan_split("ffpp", number) for number in group} for group in ffpp_same_video()]
    assert all(len(side) == 1 for side in sides)
    assert sum(dcg_gan_split("ffpp", f"{i:03d}") == "test" for i in range(1000)) == 200


def test_official_lists_are_whole() -> None:
    assert [len(ffpp_pairs(split)) for split in ("train", "val", "test")] == [360, 70, 70]
    assert len(ffpp_splits()) == 1000
    assert ffpp_pairs("test")[0] == ("953", "974")
    apart = [group for group in ffpp_same_video() if len({ffpp_splits()[number] for number in group}) > 1]
    assert len(apart) == 7  # counted from the authors' conversion_dict.json and split files


def test_lists_are_what_the_script_writes(shared: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "make_splits.py")]
    subprocess.run([*script, str(shared / "data/lists/ffpp"), str(tmp_path)], check=True, timeout=120)
    for name in ("ffpp.json", "dcg_gan_split.json"):
        shipped = ROOT / "reenact_zoo" / "bundled" / "lists" / name
        assert (tmp_path / name).read_bytes() == shipped.read_bytes()
        assert json.loads(shipped.read_text())["source"]


def test_a_video_with_another_name_is_left_out_and_said(own_tree: Tree) -> None:
    root = own_tree("ffpp")
    folder = root / "original_sequences/youtube/c23/videos"
    shutil.copy(folder / "071.mp4", folder / "071 (copy).mp4")
    shutil.copy(folder / "071.mp4", folder / "٠٧١.mp4")  # digits, but no number of this dataset
    dataset = Ffpp(FfppConfig(str(root)))
    assert len(dataset.clips) == len(fake_trees.FFPP_NUMBERS)
    assert len(dataset.skipped) == 2


def test_frames_are_upright_pictures_of_the_file(fake_tree: Tree) -> None:
    dataset = Ffpp(FfppConfig(str(fake_tree("ffpp"))))
    frames = [dataset.frame(FrameRef("youtube/071", index)) for index in (0, 4)]
    assert frames[0].shape == (64, 64, 3)
    assert abs(frames[0].astype(int) - frames[1]).mean() > 2


def test_unknown_words_are_refused_with_the_nearest(fake_tree: Tree) -> None:
    for options, says in (
        ({"compression": "c32"}, "did you mean 'c23'"),
        ({"sequences": ["face2face"]}, "did you mean 'Face2Face'"),
        ({"split": "offical"}, "did you mean 'official'"),
    ):
        with pytest.raises(InputError, match=says):
            read(fake_tree("ffpp"), **options)
    assert DATASETS.get("ffpp") is Ffpp
