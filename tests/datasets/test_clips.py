from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.clips import Clips, ClipsConfig
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import InputError


def save(path: Path, level: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((24, 32, 3), level, np.uint8))


def save_video(path: Path, frames: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24000, 1001))
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for index in range(frames):
            image = np.full((24, 32, 3), 40 * index + 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save_video(tmp_path / "loose.mp4")
    for index in range(12):
        save(tmp_path / "anna" / "walk" / f"frame_{index:04d}.png", 10 * index)
    save(tmp_path / "anna" / "portrait.png", 200)
    save(tmp_path / "berta" / "holiday1.jpg")
    save(tmp_path / "berta" / "holiday10.jpg")
    save(tmp_path / "berta" / "holiday2.jpg")
    save(tmp_path / ".thumbnails" / "x.png")
    (tmp_path / "notes.txt").write_text("not a clip")
    return tmp_path


def names(dataset: Clips) -> list[str]:
    return [clip.name for clip in dataset.clips]


def test_videos_frame_folders_and_stills_are_clips_in_natural_order(root: Path) -> None:
    dataset = Clips(ClipsConfig(str(root)))
    assert names(dataset) == [
        "anna/portrait",
        "anna/walk",
        "berta/holiday1",
        "berta/holiday2",
        "berta/holiday10",
        "loose",
    ]
    assert {clip.name: clip.num_frames for clip in dataset.clips}["anna/walk"] == 12
    video = dataset.clip("loose")
    assert (video.num_frames, video.frame_rate) == (5, Fraction(24000, 1001))
    assert dataset.clip("anna/walk").frame_rate is None


def test_frames_are_those_of_the_files(root: Path) -> None:
    dataset = Clips(ClipsConfig(str(root)))
    assert dataset.frame(FrameRef("anna/walk", 11)).mean() == 110
    assert dataset.frame(FrameRef("anna/portrait", 0)).shape == (24, 32, 3)
    assert dataset.frame(FrameRef("loose", 3)).mean() == pytest.approx(140, abs=3)


def test_identity_is_the_first_sub_folder_else_unknown_and_the_clip_itself(root: Path) -> None:
    clips = {clip.name: clip for clip in Clips(ClipsConfig(str(root))).clips}
    assert clips["anna/walk"].identity == clips["anna/portrait"].identity == "anna"
    assert clips["berta/holiday10"].identity == "berta"
    assert clips["anna/walk"].unknown == frozenset()
    assert clips["loose"].identity == "loose"
    assert clips["loose"].unknown == {"identity"}


def test_identity_by_file_makes_every_clip_a_person_of_its_own(root: Path) -> None:
    clips = Clips(ClipsConfig(str(root), identity="file")).clips
    assert [clip.identity for clip in clips] == [clip.name for clip in clips]


def test_identity_by_folder_refuses_a_clip_outside_any(root: Path) -> None:
    with pytest.raises(InputError, match="lies in no sub-folder"):
        _ = Clips(ClipsConfig(str(root), identity="folder")).clips
    (root / "loose.mp4").unlink()
    assert {clip.identity for clip in Clips(ClipsConfig(str(root), identity="folder")).clips} == {"anna", "berta"}


def test_clips_that_differ_in_suffix_alone_keep_it(tmp_path: Path) -> None:
    save_video(tmp_path / "a.mp4")
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    assert names(Clips(ClipsConfig(str(tmp_path)))) == ["a.mp4", "a.png", "b"]


def test_a_single_video_can_be_the_root(root: Path) -> None:
    dataset = Clips(ClipsConfig(str(root / "loose.mp4")))
    assert names(dataset) == ["loose"]
    assert dataset.frame(FrameRef("loose", 0)).shape == (24, 32, 3)


def test_a_folder_of_frames_can_be_the_root(root: Path) -> None:
    dataset = Clips(ClipsConfig(str(root / "anna" / "walk")))
    assert names(dataset) == ["walk"]
    assert dataset.clips[0].identity == "walk"
    assert dataset.frame(FrameRef("walk", 2)).mean() == 20


def test_an_unreadable_file_is_left_out_with_a_warning(root: Path) -> None:
    (root / "broken.mp4").write_text("this is text")
    dataset = Clips(ClipsConfig(str(root)))
    with pytest.warns(UserWarning, match=r"left out: .*broken"):
        assert "broken" not in names(dataset)
    assert list(dataset.skipped) == [root / "broken.mp4"]


def test_errors_say_what_to_do(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--root FOLDER"):
        Clips()
    with pytest.raises(InputError, match="does not exist"):
        Clips(ClipsConfig(str(root / "nowhere")))
    with pytest.raises(InputError, match="did you mean 'folder'"):
        Clips(ClipsConfig(str(root), identity="foldr"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no readable clip"):
        _ = Clips(ClipsConfig(str(tmp_path / "empty"))).clips
    dataset = Clips(ClipsConfig(str(root)))
    with pytest.raises(InputError, match="did you mean 'loose'"):
        dataset.frame(FrameRef("lose", 0))
    with pytest.raises(InputError, match="frames 0 to 4, not 5"):
        dataset.frame(FrameRef("loose", 5))


def test_the_dataset_travels_into_a_worker_process(root: Path) -> None:
    dataset = Clips(ClipsConfig(str(root)))
    before = dataset.frame(FrameRef("loose", 2))
    copy = pickle.loads(pickle.dumps(dataset))
    assert names(copy) == names(dataset)
    assert (copy.frame(FrameRef("loose", 2)) == before).all()


def test_clips_is_registered() -> None:
    assert DATASETS.get("clips") is Clips


def test_real_clips_are_six_people_of_unknown_name(real_clips: Path) -> None:
    dataset = Clips(ClipsConfig(str(real_clips)))
    counts = {clip.name: clip.num_frames for clip in dataset.clips}
    assert counts == {"WolfgangLanger_Pexels": 472, "d6": 1008, "d18": 216, "d19": 250, "s18": 282, "s32": 180}
    assert dataset.clip("WolfgangLanger_Pexels").frame_rate == Fraction(24000, 1001)
    assert len({clip.identity for clip in dataset.clips}) == 6
