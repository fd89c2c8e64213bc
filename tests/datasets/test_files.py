from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import fake_trees
import numpy as np
import pytest
from PIL import Image

from reenact_zoo.consent import TERMS, accept_terms
from reenact_zoo.datasets._files import FileClips, Found, leaks, listed
from reenact_zoo.datasets._probes import Probe, probe_all
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.clips import Clips, ClipsConfig
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import InputError
from reenact_zoo.video.read import RandomAccessVideo
from reenact_zoo.video.write import VideoWriter

Tree = Callable[[str], Path]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder anybody may enter; pytest's own belong to one user."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], None]]:
    """Gives up the rights of root, for which no folder is closed, until the test is over."""
    user = os.geteuid()
    yield lambda: None if user else os.seteuid(65534)
    os.seteuid(user)


def test_a_closed_folder_or_file_is_one_clear_line(open_folder: Path, as_nobody: Callable[[], None]) -> None:
    closed = open_folder / "anna"
    fake_trees.video(closed / "a.mp4")
    fake_trees.video(open_folder / "berta" / "b.mp4")
    (open_folder / "berta" / "b.mp4").chmod(0)
    closed.chmod(0)
    as_nobody()
    try:
        with pytest.raises(InputError, match=r"anna' may not be read \(Permission denied\); change its permissions"):
            _ = Clips(ClipsConfig(str(open_folder))).clips
        with pytest.raises(InputError, match=r"may not be read|cannot be reached"):
            _ = Clips(ClipsConfig(str(closed / "a.mp4"))).clips
        with (
            pytest.warns(UserWarning, match="left out"),
            pytest.raises(InputError, match=r"b\.mp4' may not be read; change its permissions"),
        ):
            _ = Clips(ClipsConfig(str(open_folder / "berta"))).clips
    finally:
        os.seteuid(os.getuid())
        closed.chmod(0o755)


@pytest.mark.parametrize("name", ["clips", "ffpp", "celebdf", "voxceleb", "talkinghead1kh"])
def test_every_reader_refuses_nothing_a_missing_and_an_empty_folder_in_one_line(tmp_path: Path, name: str) -> None:
    cls = DATASETS.get(name)
    if name in TERMS:
        accept_terms(name, tmp_path)
    for root in ("", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(InputError, match=name) as error:
            _ = cls(cls.Config(root=root)).clips
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("layout", sorted(fake_trees.LAYOUTS))
def test_every_layout_travels_into_a_worker_and_gives_the_same_frames(fake_tree: Tree, layout: str) -> None:
    cls = DATASETS.get(layout.partition("_")[0].replace("voxceleb2", "voxceleb"))
    dataset: FileClips = cls(cls.Config(root=str(fake_tree(layout))))
    clip = dataset.clips[-1]
    ref = FrameRef(clip.name, clip.num_frames - 1)
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.frame(ref) == dataset.frame(ref)).all()
    assert [c.name for c in copy.clips] == [c.name for c in dataset.clips]
    assert dataset.path(clip.name).exists()
    with pytest.raises(InputError, match="no clip 'nobody'"):
        dataset.frame(FrameRef("nobody", 0))


@pytest.mark.parametrize("layout", sorted(fake_trees.LAYOUTS))
def test_a_frame_is_read_without_looking_into_the_other_clips(own_tree: Tree, layout: str) -> None:
    cls = DATASETS.get(layout.partition("_")[0].replace("voxceleb2", "voxceleb"))
    root = own_tree(layout)
    names = [clip.name for clip in cls(cls.Config(root=str(root))).clips]
    dataset: FileClips = cls(cls.Config(root=str(root)))
    for name in names[1:]:
        path = dataset.path(name)
        for file in path.iterdir() if path.is_dir() else [path]:
            file.write_bytes(b"")
    assert dataset.frame(FrameRef(names[0], 0)).shape == (64, 64, 3)


def test_broken_clips_are_left_out_with_their_reason(own_tree: Tree) -> None:
    root = own_tree("voxceleb_official")
    first, second, third, _ = (root / "mp4" / f"{name}.mp4" for name in fake_trees.OFFICIAL)
    first.write_bytes(b"")
    second.write_text("404: Not Found")
    third.write_bytes(third.read_bytes()[:-500])
    cls = DATASETS.get("voxceleb")
    dataset = cls(cls.Config(str(root)))
    with pytest.warns(UserWarning, match="left out"):
        assert [clip.name for clip in dataset.clips] == [fake_trees.OFFICIAL[3]]
    assert set(dataset.skipped) == {first, second, third}
    assert "empty (0 bytes)" in dataset.skipped[first]
    assert "not a video" in dataset.skipped[second]
    assert "truncated" in dataset.skipped[third]


def test_strange_names_are_only_names(tmp_path: Path) -> None:
    names = ["-rf.mp4", "#1.mp4", "a b@3.mp4", "видео.mp4", "%20;rm.mp4", "file:x.mp4", "'q\".mp4"]
    for name in names:
        fake_trees.video(tmp_path / "Zoë #2" / name)
    dataset = Clips(ClipsConfig(str(tmp_path)))
    assert {clip.name for clip in dataset.clips} == {f"Zoë #2/{name.removesuffix('.mp4')}" for name in names}
    assert {clip.identity for clip in dataset.clips} == {"Zoë #2"}
    for clip in dataset.clips:
        ref = FrameRef.parse(str(FrameRef(clip.name, 1)))
        assert dataset.frame(ref).shape == (64, 64, 3)


def test_grey_sixteen_bit_and_odd_sizes_become_rgb_of_their_size(tmp_path: Path) -> None:
    grey = (np.arange(33 * 47).reshape(33, 47) * 40).astype(np.uint16)
    for index in range(3):
        folder = tmp_path / "wide"
        folder.mkdir(exist_ok=True)
        Image.fromarray(grey).save(folder / f"{index:03d}.png")
    Image.fromarray((grey // 257).astype(np.uint8)).save(tmp_path / "grey.jpg")
    dataset = Clips(ClipsConfig(str(tmp_path)))
    for name in ("wide", "grey"):
        frame = dataset.frame(FrameRef(name, 0))
        assert frame.shape == (33, 47, 3)
        assert (frame[..., 0] == frame[..., 2]).all()


def test_uneven_times_give_an_average_rate_that_is_called_unknown(tmp_path: Path) -> None:
    times = [Fraction(number, 30) for number in (0, 1, 2, 5, 6, 11)]
    with VideoWriter(tmp_path / "a.mp4", Fraction(30), (64, 64), time_base=Fraction(1, 90000)) as writer:
        for image, time in zip(fake_trees.frames(len(times)), times):
            writer.write(image, time)
    (clip,) = Clips(ClipsConfig(str(tmp_path))).clips
    assert clip.frame_rate == Fraction(5 * 30, 11)
    assert clip.unknown == {"identity", "frame rate"}


def test_a_turned_camera_gives_upright_frames_of_the_turned_size(tmp_path: Path) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24] = 255  # bright above
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(90)
        stored = np.ascontiguousarray(np.rot90(upright, -1))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    dataset = Clips(ClipsConfig(str(tmp_path)))
    frame = dataset.frame(FrameRef("a", 0))
    assert frame.shape == (48, 64, 3)
    assert frame[:20].mean() > 230
    assert frame[28:].mean() < 25


def test_a_link_to_the_folder_above_does_not_count_clips_again(tmp_path: Path) -> None:
    fake_trees.video(tmp_path / "anna" / "a.mp4")
    (tmp_path / "anna" / "again").symlink_to(tmp_path)
    assert [clip.name for clip in Clips(ClipsConfig(str(tmp_path))).clips] == ["anna/a"]


def test_what_was_seen_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reenact_zoo.datasets._probes.cache_folder", lambda: tmp_path / "cache")
    opened: list[Path] = []

    class Counted(RandomAccessVideo):
        def __init__(self, path: Path, cache_frames: int) -> None:
            opened.append(path)
            super().__init__(path, cache_frames)

    monkeypatch.setattr("reenact_zoo.datasets._probes.RandomAccessVideo", Counted)
    path, broken = fake_trees.video(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    broken.write_text("no")
    first = probe_all([path, broken])
    again = probe_all([path, broken])
    assert first[0] == again[0] == Probe(fake_trees.FRAMES, "25", True, False, 64, 64)
    assert isinstance(first[1], InputError)
    assert opened == [path, broken, broken]
    fake_trees.video(path, count=7)
    os.utime(path, ns=(1, 1))
    changed = probe_all([path])[0]
    assert isinstance(changed, Probe)
    assert changed.num_frames == 7


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("reenact_zoo.datasets._probes.cache_folder", lambda: tmp_path / "file")
    assert isinstance(probe_all([fake_trees.video(tmp_path / "a.mp4")])[0], Probe)


def test_leaks_count_everybody_in_a_clip() -> None:
    found = [
        Found("a", Path("a"), "anna", "train"),
        Found("b", Path("b"), "berta", "test", people=("berta", "anna")),
        Found("c", Path("c"), "clara", ""),
        Found("d", Path("d"), "clara", "val"),
    ]
    assert leaks(found) == {"anna": ("test", "train")}
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
