from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import fake_trees
import pytest

from reenact_zoo.datasets._lists import VOXCELEB1_TEST
from reenact_zoo.datasets._voxceleb_layouts import boxes, codes, layouts
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.voxceleb import Voxceleb, VoxcelebConfig
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import InputError
from reenact_zoo.video.images import read_image

Tree = Callable[[str], Path]


def read(root: Path, **options: str) -> dict[str, tuple[str, str]]:
    """Clip → (identity, split)."""
    return {clip.name: (clip.identity, clip.split) for clip in Voxceleb(VoxcelebConfig(str(root), **options)).clips}


def test_fomm_clips_are_files_or_frame_folders_with_and_without_suffix(fake_tree: Tree) -> None:
    dataset = Voxceleb(VoxcelebConfig(str(fake_tree("voxceleb_fomm"))))
    found = {clip.name: (clip.identity, clip.split) for clip in dataset.clips}
    assert found == {
        **{name: (name[:7], "train") for name in fake_trees.FOMM_TRAIN},
        **{name: (name[:7], "test") for name in fake_trees.FOMM_TEST},
    }
    assert {(clip.num_frames, clip.frame_rate) for clip in dataset.clips} == {(fake_trees.FRAMES, Fraction(25))}
    assert all(clip.unknown == frozenset() for clip in dataset.clips)


def test_frames_without_leading_zeros_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "id10001#FakeVideo01#000000#000012"
    fake_trees.frame_folder(folder, [f"{i}.png" for i in range(12)])
    shutil.copy(folder / "2.png", tmp_path / "two.png")
    dataset = Voxceleb(VoxcelebConfig(str(tmp_path)))
    fake_trees.accept_terms("voxceleb", tmp_path)
    assert (dataset.frame(FrameRef(folder.name, 2)) == read_image(tmp_path / "two.png")).all()


def test_names_of_crop_vox_are_read(tmp_path: Path) -> None:
    fake_trees.video(tmp_path / "train" / "id10001#FakeVideo01#00001.txt#003.mp4")
    fake_trees.accept_terms("voxceleb", tmp_path)
    assert read(tmp_path) == {"id10001#FakeVideo01#00001.txt#003": ("id10001", "train")}


def test_the_official_tree_is_split_by_the_forty_test_identities(fake_tree: Tree) -> None:
    clips = read(fake_tree("voxceleb_official"))
    assert set(clips) == set(fake_trees.OFFICIAL)
    assert dict(clips.values()) == {
        "id10001": "train",
        "id10270": "test",
        "id10309": "test",
    }
    assert len(VOXCELEB1_TEST) == 40


def test_voxceleb2_is_split_by_its_folders(fake_tree: Tree) -> None:
    assert read(fake_tree("voxceleb2")) == {
        fake_trees.VOX2_DEV[0]: ("id00012", "train"),
        fake_trees.VOX2_TEST[0]: ("id00017", "test"),
    }


@pytest.mark.parametrize("layout", ["voxceleb_faces", "voxceleb_interval_faces"])
def test_stills_by_name_get_their_code_and_no_frame_rate(fake_tree: Tree, layout: str) -> None:
    dataset = Voxceleb(VoxcelebConfig(str(fake_tree(layout))))
    who = {clip.name.split("/")[0]: (clip.identity, clip.split) for clip in dataset.clips}
    assert who["Ann_Example_Jr"] == ("id10002", "train")  # "Ann_Example_Jr." in the list
    assert who["A.J._Example"] == ("id10001", "train")
    assert {(clip.num_frames, clip.frame_rate) for clip in dataset.clips} == {(3, None)}
    assert all("frame rate" in clip.unknown for clip in dataset.clips)
    if layout == "voxceleb_faces":
        assert who["Zoë_Example"] == ("id10270", "test")
    else:
        assert [clip.name.rpartition("/")[2] for clip in dataset.clips[:2]] == ["2", "10"]


def test_a_name_without_code_stays_a_name_without_split(own_tree: Tree) -> None:
    root = own_tree("voxceleb_faces")
    (root / "unzippedFaces" / "A.J._Example").rename(root / "unzippedFaces" / "A_J_Example")
    dataset = Voxceleb(VoxcelebConfig(str(root)))
    clip = next(clip for clip in dataset.clips if clip.name.startswith("A_J_"))
    assert (clip.identity, clip.split) == ("A_J_Example", "")
    assert clip.unknown == {"frame rate", "split"}
    assert "1 people have no code" in dataset.mistakes()[0]
    (root / "vox1_meta.csv").unlink()
    assert {identity for identity, _ in read(root).values()} == {"A_J_Example", "Ann_Example_Jr", "Zoë_Example"}


def test_the_list_of_names_is_separated_by_tabs_or_commas(tmp_path: Path) -> None:
    rows = [["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"], ["id10001", "Ann.", "f", "X", "dev"]]
    for separator in ("\t", ","):
        (tmp_path / "meta.csv").write_text("\n".join(separator.join(row) for row in rows))
        assert codes(tmp_path / "meta.csv") == {"ann": "id10001"}
    (tmp_path / "meta.csv").write_text("id10001,Ann\n")
    with pytest.raises(InputError, match="has no columns"):
        codes(tmp_path / "meta.csv")


def test_an_identity_in_two_splits_is_refused_named_and_can_be_dropped(own_tree: Tree) -> None:
    root = own_tree("voxceleb_fomm")
    fake_trees.video(root / "train" / "id10280#FakeVideo99#000000#000005.mp4")
    with pytest.raises(InputError, match=r"id10280 \(test, train\)"):
        read(root)
    kept = read(root, leaks="drop")
    assert "id10280#FakeVideo99#000000#000005" not in kept
    assert set(fake_trees.FOMM_TEST) <= set(kept)
    assert read(root, split="official")["id10280#FakeVideo99#000000#000005"] == ("id10280", "test")


def test_one_clip_in_two_folders_counts_once(own_tree: Tree) -> None:
    root = own_tree("voxceleb_fomm")
    name = f"{fake_trees.FOMM_TEST[0]}.mp4"
    shutil.copy(root / "test" / name, root / "train" / name)
    dataset = Voxceleb(VoxcelebConfig(str(root), split="official"))
    assert [clip.name for clip in dataset.clips].count(name.removesuffix(".mp4")) == 1
    assert len(dataset.skipped) == 1


def test_several_layouts_in_one_root_must_be_chosen(own_tree: Tree, fake_tree: Tree) -> None:
    root = own_tree("voxceleb_faces")
    shutil.copytree(fake_tree("voxceleb_official") / "mp4", root / "mp4")
    assert layouts(root) == ["official", "faces"]
    with pytest.raises(InputError, match="holds the layouts official, faces; set layout"):
        read(root)
    assert set(read(root, layout="official")) == set(fake_trees.OFFICIAL)
    (root / "empty").mkdir()
    fake_trees.accept_terms("voxceleb", root / "empty")
    with pytest.raises(InputError, match="holds no VoxCeleb layout"):
        read(root / "empty")


def test_boxes_of_the_metadata_are_proportions(tmp_path: Path, shared: Path) -> None:
    found = boxes(shared / "data" / "lists" / "voxceleb" / "vox-metadata.csv")
    assert len(found) == 19764  # distinct clips of 20,075 rows
    assert sum(not 0.9 <= ratio <= 1.1 for ratio in found.values()) / len(found) > 0.7
    (tmp_path / "broken.csv").write_text("video_id,start,end,bbox,person_id\nabc,0,10,1-2-3,id10001\n")
    with pytest.raises(InputError, match="line 2: not a row"):
        boxes(tmp_path / "broken.csv")


def test_voxceleb_is_registered() -> None:
    assert DATASETS.get("voxceleb") is Voxceleb
