"""One clip: which frames, which square, which annotations."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_clips import SmallClips, SmallConfig

from reenact_zoo.data.prepare import clip as clip_module
from reenact_zoo.data.prepare.boxes import read_boxes
from reenact_zoo.data.prepare.clip import Context, Job, prepare_clip
from reenact_zoo.data.prepare.frames import nearest_in_time
from reenact_zoo.data.prepare.run import prepare
from reenact_zoo.data.prepare.spec import PrepareSpec, required_by
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.datasets.prepared import Prepared, PreparedConfig
from reenact_zoo.faces.track import TrackedFace
from reenact_zoo.registry import METHODS
from reenact_zoo.types import InputError
from reenact_zoo.video.read import Frame

BLACK = np.zeros((1, 1, 3), np.uint8)


def kept(times: Sequence[Fraction], rate: int, duration: Fraction) -> list[int]:
    frames = [Frame(index, time, BLACK) for index, time in enumerate(times)]
    return [frame.index for frame in nearest_in_time(frames, Fraction(rate), duration)]


def test_thirty_frames_become_twenty_five_by_leaving_out_every_sixth() -> None:
    chosen = kept([Fraction(i, 30) for i in range(60)], 25, Fraction(1, 30))
    assert len(chosen) == 50
    assert sorted(set(range(60)) - set(chosen)) == list(range(3, 60, 6))


def test_an_equal_rate_keeps_every_frame_once() -> None:
    assert kept([Fraction(i, 25) for i in range(9)], 25, Fraction(1, 25)) == list(range(9))


def test_a_slower_source_repeats_frames_and_keeps_its_duration() -> None:
    chosen = kept([Fraction(i, 10) for i in range(10)], 25, Fraction(1, 10))
    assert len(chosen) == 25
    assert chosen == sorted(chosen)
    assert set(chosen) == set(range(10))


def test_uneven_times_choose_the_nearest_in_time() -> None:
    times = [Fraction(0), Fraction(1, 100), Fraction(9, 100), Fraction(12, 100)]
    wanted = [min(range(4), key=lambda i: (abs(times[i] - Fraction(k, 25)), i)) for k in range(4)]
    assert kept(times, 25, Fraction(1, 25)) == wanted


class Dots(ClipDataset):
    """One clip of 100x80 whose white dot moves by six pixels to the right per frame."""

    clips: Sequence[Clip] = [Clip("dots", "nobody", "", 5, Fraction(25))]  # type: ignore[assignment]

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        image = np.zeros((80, 100, 3), np.uint8)
        image[37:44, 27 + 6 * ref.index : 34 + 6 * ref.index] = 255
        return image


class DotTracker:
    """The dot's bounds as 68 points; blind for some frames."""

    def __init__(self, blind: Sequence[int] = ()) -> None:
        self.blind, self.seen = blind, -1

    def reset(self) -> None:
        self.seen = -1

    def track(self, image: NDArray[np.uint8]) -> TrackedFace | None:
        self.seen += 1
        if self.seen in self.blind:
            return None
        rows, columns = np.nonzero(image[..., 0])
        points = np.stack([np.linspace(columns.min(), columns.max(), 68), np.linspace(rows.min(), rows.max(), 68)], 1)
        return TrackedFace((0, 0, 1, 1), points.astype(np.float32), 1.0, was_detected=False)


def made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blind: Sequence[int] = (), **fields: Any
) -> tuple[Prepared, dict[str, Any]]:
    monkeypatch.setattr(clip_module, "_tracker", lambda: DotTracker(blind))
    spec = PrepareSpec(**{"size": 64, "codec": "png", "scale": 2.0, "shift_y": 0.0} | fields)
    prepare("dots", Dots(), tmp_path / "out", spec)
    prepared = Prepared(PreparedConfig(str(tmp_path / "out")))
    return prepared, prepared._table.to_pylist()[0]


def test_the_square_encloses_the_whole_tube_and_landmarks_follow_the_dot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepared, row = made(monkeypatch, tmp_path)
    # the dot's pixels span columns 27 … 57 and rows 37 … 43 over the clip: centre (42, 40), side 2 x 30
    assert row["box"] == [12, 10, 72, 70]
    assert row["box_policy"] == "tube"
    assert row["source_size"] == [100, 80]
    for index in range(5):
        points = prepared.annotations(FrameRef("dots", index))["landmarks"]
        columns = np.nonzero(prepared.frame(FrameRef("dots", index))[..., 0].max(0) > 127)[0]
        middle = (points[:, 0].min() + points[:, 0].max()) / 2
        assert abs((2 * columns.mean() + 1) / 64 - 1 - middle) < 1 / 64
        assert abs(points).max() < 1


def test_frames_without_a_face_have_landmarks_of_nan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prepared, row = made(monkeypatch, tmp_path, blind=[1, 3])
    known = [bool(np.isfinite(prepared.annotations(FrameRef("dots", i))["landmarks"]).all()) for i in range(5)]
    assert known == [True, False, True, False, True]
    assert row["tracked"] == 3


def test_a_clip_that_mostly_shows_no_face_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prepared, _ = made(monkeypatch, tmp_path, blind=[0, 1, 3])
    assert prepared.failed["dots"].startswith("the face was found in 2 of 5 frames")
    with pytest.raises(InputError, match="holds no clip"):
        _ = prepared.clips


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("clip,left,top,right,bottom,width,height\ndots,20,20,60,40,200,160\n", [-0.5, -5.5, 39.5, 34.5]),
        (
            "video_id,start,end,bbox,fps,width,height,partition,person_id\nv,3,90,20-20-60-40,25,200,160,test,id1\n",
            None,
        ),
    ],
)
def test_official_boxes_are_scaled_to_the_file_and_made_square(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, box: list[float] | None
) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(text)
    boxes = read_boxes(file)
    context = Context(Dots(), PrepareSpec(policy="boxes", scale=2.0, size=64, annotations=()), boxes)
    row = prepare_clip(context, Job(0, Dots.clips[0])).row
    if box is None:
        assert list(boxes) == ["id1#v#000003#000090"]
        assert row["error"] == "the list of boxes has none for clip 'dots'"
    else:
        # 40x20 px of 200x160 are 20x10 of 100x80 about (20, 15); the square has side 2 x 20
        assert row["box"] == box
        assert row["error"] == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip,left\na,1\n", "it needs the columns"),
        ("clip,left,top,right,bottom,width,height\na,5,5,5,9,10,10\n", "line 2: the box of 'a' is empty"),
        ("clip,left,top,right,bottom,width,height\na,x,5,5,9,10,10\n", "line 2: could not convert"),
    ],
)
def test_a_list_of_boxes_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_boxes(tmp_path / "boxes.csv")


def test_annotations_are_estimated_from_the_stored_frame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Brightness:
        def fill(self, batch: dict[str, torch.Tensor], requires: frozenset[str]) -> dict[str, torch.Tensor]:
            assert requires == {"source_coefficients", "source_matte"}
            image = batch["source"]
            matte = image.mean(1, keepdim=True)
            matte[image.flatten(1).amax(1) < 0.66] = torch.nan
            return {"source_coefficients": image.mean((2, 3)), "source_matte": matte}

    monkeypatch.setattr(clip_module, "_annotator", Brightness)
    monkeypatch.setattr("reenact_zoo.data.prepare.spec._instruments", lambda spec: {"matte": "brightness 1"})
    monkeypatch.setattr(clip_module, "_AT_ONCE", 3)
    spec = PrepareSpec(policy="none", size=16, quality=90, annotations=("coefficients", "matte"))
    prepare("small", SmallClips(SmallConfig(count=2, frames=8, faults=False)), tmp_path / "out", spec)
    prepared = Prepared(PreparedConfig(str(tmp_path / "out")))
    for index in (7, 0, 4):
        ref = FrameRef("part/clip #1", index)
        image, known = prepared.frame(ref) / 255, prepared.annotations(ref)
        np.testing.assert_allclose(known["coefficients"], image.mean((0, 1)), atol=1e-4)
        expected = np.full((1, 16, 16), np.nan) if image.max() < 0.66 else image.mean(2)[None]
        np.testing.assert_allclose(known["matte"], expected, atol=0.5 / 255 + 1e-6)


def test_methods_say_what_has_to_be_annotated() -> None:
    assert required_by(["copy_source"]) == ()
    assert required_by(["landmark_warp"]) == ("landmarks",)
    with patch.object(METHODS.get("copy_source"), "training_requires", frozenset({"driving_matte", "extra_sources"})):
        assert required_by(["copy_source", "landmark_warp"]) == ("landmarks", "matte")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"policy": "tubes"}, "unknown box policy 'tubes'; did you mean 'tube'"),
        ({"codec": "jpg"}, "did you mean 'jpeg'"),
        ({"annotations": ("landmark",)}, "did you mean 'landmarks'"),
        ({"frame_rate": "0"}, "no frame rate"),
        ({"frame_rate": "fast"}, "no frame rate"),
        ({"quality": 101}, "quality lies in 1 to 100"),
        ({"size": 0}, "must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PrepareSpec(**fields)


def test_lists_of_boxes_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the list of official boxes"):
        prepare("dots", Dots(), tmp_path / "out", PrepareSpec(policy="boxes", annotations=()))
