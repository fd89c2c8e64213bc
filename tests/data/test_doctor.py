from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import fake_trees
import pytest

from reenact_zoo.consent import acknowledgement_file
from reenact_zoo.data.doctor import FAULTS, NOTES, Finding, Report, check, recognise
from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets._lists import ffpp_pairs
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.types import InputError

Tree = Callable[[str], Path]


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings if finding.is_fault}


def only(report: Report, kind: str) -> Finding:
    (finding,) = (finding for finding in report.findings if finding.kind == kind)
    return finding


@pytest.mark.parametrize(
    ("layout", "dataset", "says", "clips", "identities"),
    [
        ("ffpp", "ffpp", "youtube (c23, c40)", 24, 10),
        ("celebdf", "celebdf", "Celeb-real, YouTube-real, Celeb-synthesis", 12, 7),
        ("voxceleb_fomm", "voxceleb", "<id>#<video>#<start>#<end>", 5, 4),
        ("voxceleb_official", "voxceleb", "official tree of videos", 4, 3),
        ("voxceleb2", "voxceleb", "official tree of videos", 2, 2),
        ("voxceleb_faces", "voxceleb", "unzippedFaces", 3, 3),
        ("voxceleb_interval_faces", "voxceleb", "unzippedIntervalFaces", 4, 2),
        ("talkinghead1kh", "talkinghead1kh", "train, val, small", 3, 3),
    ],
)
def test_every_layout_is_recognised_and_its_clean_tree_only_lacks_clips(
    fake_tree: Tree, layout: str, dataset: str, says: str, clips: int, identities: int
) -> None:
    report = check(fake_tree(layout))
    assert report.dataset == dataset
    assert says in report.layout
    assert (report.clips, report.identities) == (clips, identities)
    assert sum(report.splits.values()) == clips
    assert kinds(report) <= {"missing"}
    assert check(fake_tree(layout), ignore=["missing"]).healthy


def test_every_planted_fault_is_found_and_named(own_tree: Tree) -> None:
    root = own_tree("voxceleb_fomm")
    train, test = root / "train", root / "test"
    fake_trees.video(train / "id10280#FakeVideo20#000000#000005.mp4")  # leak: the person is tested
    (train / "id10009#FakeVideo21#000000#000005.mp4").write_text("<html>404</html>")
    whole = fake_trees.video(train / "id10010#FakeVideo22#000000#000005.mp4").read_bytes()
    (train / "id10010#FakeVideo22#000000#000005.mp4").write_bytes(whole[: len(whole) // 2])
    (train / "id10011#FakeVideo23#000000#000005.mp4").write_bytes(b"")
    fake_trees.video(train / "id10012#FakeVideo24#000000#000200.mp4")  # 5 frames of 200
    shutil.copy(test / f"{fake_trees.FOMM_TEST[1]}.mp4", train / "id10013#FakeVideo25#000000#000005.mp4")
    name = fake_trees.FOMM_TEST[0]
    who, video, start, end = name.split("#")
    rows = [
        "video_id,start,end,bbox,fps,width,height,partition,person_id",
        f"{video},{int(start)},{int(end)},100-100-170-200,25,1280,720,test,{who}",  # 70 x 100, stretched to a square
        "FakeVideo26,0,9,0-0-9-9,25,1280,720,train,id10014",  # not there
    ]
    (root / "vox-metadata.csv").write_text("\n".join(rows) + "\n")
    acknowledgement_file("voxceleb", root).unlink()
    report = check(root)
    assert kinds(report) == {"terms", "missing", "unreadable", "truncated", "duplicate", "leak", "squashed"}
    assert only(report, "leak").items == ("id10280",)
    assert "id10280 (test, train)" in only(report, "leak").message
    assert [Path(item).name[:7] for item in only(report, "unreadable").items] == ["id10009"]
    assert sorted(Path(item).name[:7] for item in only(report, "truncated").items) == ["id10010", "id10011", "id10012"]
    assert [Path(item).name[:7] for item in only(report, "duplicate").items] == ["id10283"]
    assert [Path(item).stem for item in only(report, "squashed").items] == [name]
    assert "1 of 2" in only(report, "missing").message
    assert only(report, "missing").items == ("id10014#FakeVideo26#000000#000009",)
    assert "accept-terms voxceleb" in only(report, "terms").message
    assert not report.healthy
    assert not kinds(check(root, ignore=list(FAULTS)))


def test_a_square_box_is_not_squashed(own_tree: Tree) -> None:
    root = own_tree("talkinghead1kh")
    folder = root / "train" / "cropped_clips"
    fake_trees.video(folder / "Fake_Vide16_0000_S0_E4_L0_T0_R100_B70.mp4")
    fake_trees.video(folder / "Fake_Vide17_0000_S0_E4_L0_T0_R105_B100.mp4")  # 5 % off
    assert [Path(item).name[:11] for item in only(check(root), "squashed").items] == ["Fake_Vide16"]


def test_missing_and_surplus_sequences_of_ffpp_are_counted(own_tree: Tree) -> None:
    root = own_tree("ffpp")
    folder = root / "original_sequences/youtube/c23/videos"
    (folder / "mine.mp4").write_bytes((folder / "071.mp4").read_bytes())
    report = check(root)
    gaps = {f.message.split(":")[0]: f for f in report.findings if f.kind == "missing"}
    assert "8 of 1000, without 000, 001" in gaps["youtube c23"].message
    assert len(gaps["Face2Face c23"].items) == 1000 - len(fake_trees.FFPP_PAIRS)
    assert "mine.mp4" in only(report, "list").message
    assert "605/606" in only(report, "remark").message


def test_lists_of_celebdf_are_compared_with_the_tree(own_tree: Tree, tmp_path: Path) -> None:
    root = own_tree("celebdf").rename(tmp_path / "Celeb-DF-v2")
    (root / "Celeb-real" / "id8_0003.mp4").unlink()
    report = check(root)
    missing = [f.message for f in report.findings if f.kind == "missing"]
    assert "Celeb-real (v2): 5 of 590" in missing
    assert "videos of List_of_testing_videos.txt: 3 of 4, without Celeb-real/id8_0003" in missing
    assert "1 identities" in only(report, "remark").message
    assert "id5" in only(report, "remark").message
    path = root / "List_of_testing_videos.txt"
    path.write_text("0 Celeb-real/id0_0000.mp4\n")
    assert "label 1 for real; 1 of 1 lines say otherwise" in only(check(root), "list").message


def test_a_missing_test_folder_and_official_identities_are_told(own_tree: Tree) -> None:
    root = own_tree("voxceleb_fomm")
    shutil.rmtree(root / "test")
    assert only(check(root), "missing").message == "test folder beside train: 0 of 1, without test"
    official = only(check(own_tree("voxceleb_official")), "missing")
    assert official.message.startswith("VoxCeleb1 test identities: 2 of 40")


def test_coverage_counts_pairs_whose_frames_all_exist(fake_tree: Tree) -> None:
    def pair(a: str, b: str, index: int) -> Pair:
        first = FrameRef(f"youtube/{b}", 0)
        return Pair(f"{a}<{b}@{index}", FrameRef(f"youtube/{a}", 0), FrameRef(f"youtube/{b}", index), first, False)

    pairs = [pair(*way, index) for both in ffpp_pairs("test") for way in (both, both[::-1]) for index in (1, 3)]
    too_late = [pair("953", "974", index) for index in (fake_trees.FRAMES - 1, fake_trees.FRAMES)]
    report = check(
        fake_tree("ffpp"),
        protocols={"official": ("ffpp", pairs), "late": ("ffpp", too_late), "other": ("celebdf", pairs)},
    )
    assert {each.protocol: str(each) for each in report.coverage} == {
        "official": "2 of 140 pairs (4 of 280 frames)",
        "late": "0 of 1 pairs (1 of 2 frames)",
    }


def test_damage_inside_a_file_is_found_by_decoding(tmp_path: Path) -> None:
    path = fake_trees.video(tmp_path / "a.mp4", count=40, size=128)
    fake_trees.video(tmp_path / "b.mp4")
    data = bytearray(path.read_bytes())
    pictures = data.index(b"mdat")  # the last part of the file; its first quarter is the first picture
    start, end = (pictures + int(part * (len(data) - pictures)) for part in (0.5, 0.95))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    assert check(tmp_path).healthy
    done: list[tuple[int, int]] = []
    report = check(tmp_path, decode=True, progress=lambda *step: done.append(step))
    assert only(report, "damaged").items == (str(path),)
    assert done == [(1, 2), (2, 2)]


def test_sound_and_rate_are_notes_not_faults(tmp_path: Path, real_clips: Path) -> None:
    shutil.copy(real_clips / "d18.mp4", tmp_path)
    fake_trees.video(tmp_path / "silent.mp4")
    report = check(tmp_path)
    assert report.healthy
    assert [Path(item).name for item in only(report, "audio").items] == ["silent.mp4"]
    assert "1 of 2 videos without sound" in only(report, "audio").message


def test_any_folder_of_clips_is_checked_and_points_at_a_dataset_inside(own_tree: Tree) -> None:
    root = own_tree("celebdf").parent
    report = check(root)
    assert report.dataset == "clips"
    assert "looks like Celeb-DF" in only(report, "remark").message


def test_nothing_to_check_and_unknown_kinds_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"holds no video, frame folder or picture; known are .*clips"):
        check(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(InputError, match="did you mean 'missing'"):
        check(tmp_path, ignore=["mising"])


def test_the_report_is_json_with_every_item(fake_tree: Tree) -> None:
    content = json.loads(json.dumps(check(fake_tree("voxceleb_official")).as_dict()))
    assert content["healthy"] is False
    assert {each["kind"] for each in content["findings"]} <= {*FAULTS, *NOTES}
    assert len(content["findings"][0]["items"]) == 38
