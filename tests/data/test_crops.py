from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.data.crops import PROBED_FRAMES, CroppedClips, CropSpec
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.faces.align import SquareBox
from reenact_zoo.faces.detect import Detection
from reenact_zoo.types import InputError


class Wanderer(ClipDataset):
    """A white 20 px square on black that moves 1 px per frame; the clip "empty" has none."""

    Config = dict

    @property
    def clips(self) -> Sequence[Clip]:
        return [Clip("walk", "a", "", 21), Clip("empty", "b", "", 3), Clip("still", "c", "", 1)]

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        image = np.zeros((100, 160, 3), np.uint8)
        if ref.clip != "empty":
            image[40:60, 50 + ref.index : 70 + ref.index] = 255
        return image


class SquareFinder:
    """Finds what is white and counts its calls."""

    name = "white"
    min_face_px = 1

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.calls += 1
        rows, columns = np.nonzero(image[..., 0] > 128)
        if not len(rows):
            return []
        return [Detection((columns.min(), rows.min(), columns.max(), rows.max()), 1.0)]


def cropped(finder: SquareFinder | None = None, **spec: Any) -> CroppedClips:
    found = finder or SquareFinder()
    return CroppedClips(Wanderer(), CropSpec(**spec), lambda: found)


def test_without_a_policy_the_largest_centred_square_is_taken() -> None:
    images = cropped(size=50)
    image = images.image(FrameRef("walk", 0))
    assert image.shape == (3, 50, 50)
    assert images.boxes["walk"] == SquareBox(79.5, 49.5, 100.0)
    white = image[0] > 0.5
    assert white.any(0).nonzero()[:, 0].tolist() == list(range(10, 20))  # columns 50-69 of 30-129, halved
    assert white.any(1).nonzero()[:, 0].tolist() == list(range(20, 30))


def test_a_picture_that_already_fits_keeps_its_pixels() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)

    class Fixed(Wanderer):
        def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
            return picture

    pixels = CroppedClips(Fixed(), CropSpec(size=32)).pixels(FrameRef("walk", 0))
    assert (pixels == picture).all()
    pixels[:] = 0
    assert picture.any(), "the dataset's own array must not be handed out"


def test_the_face_box_is_the_median_over_evenly_spaced_frames_and_stays_for_the_clip() -> None:
    finder = SquareFinder()
    images = cropped(finder, policy="face", scale=2.0, size=38)
    images.image(FrameRef("walk", 0))
    assert finder.calls == PROBED_FRAMES
    assert images.boxes["walk"] == SquareBox(69.5, 49.5, 38.0)  # frame 10 of 21 is the middle one
    start, end = images.image(FrameRef("walk", 0)), images.image(FrameRef("walk", 20))
    assert finder.calls == PROBED_FRAMES
    shift = [(image[0] > 0.5).any(0).nonzero()[:, 0].float().mean().item() for image in (start, end)]
    assert shift[1] - shift[0] == pytest.approx(17, abs=4)  # the motion stays in the picture (both ends are cut)


def test_the_shift_moves_the_square_by_a_share_of_the_face() -> None:
    images = cropped(policy="face", scale=2.0, shift_y=-0.5, size=38)
    images.image(FrameRef("still", 0))
    assert images.boxes["still"] == SquareBox(59.5, 49.5 - 9.5, 38.0)


def test_a_clip_without_a_face_is_named_and_searched_only_once() -> None:
    finder = SquareFinder()
    images = cropped(finder, policy="face")
    for _ in range(2):
        with pytest.raises(InputError, match=r"no face found in clip 'empty' \(frames 0, 1, 2, detector white\)"):
            images.image(FrameRef("empty", 1))
    assert finder.calls == 3


def test_a_wrong_specification_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'face'"):
        CropSpec(policy="fase")
    with pytest.raises(InputError, match="positive"):
        CropSpec(size=0)


def test_it_travels_into_a_worker_process() -> None:
    images = CroppedClips(Wanderer(), CropSpec(policy="face", size=38), SquareFinder)
    first = images.image(FrameRef("walk", 3))
    copy = pickle.loads(pickle.dumps(images))
    assert copy.boxes == images.boxes
    assert (copy.image(FrameRef("walk", 3)) == first).all()
