from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stand_ins import BoxLandmarks, BrightSquareDetector, picture

from reenact_zoo.faces.detect import Detection, iou
from reenact_zoo.faces.track import FaceTracker


def tracker(**options: float) -> tuple[FaceTracker, BrightSquareDetector, BoxLandmarks]:
    detector, landmarks = BrightSquareDetector(), BoxLandmarks()
    return FaceTracker(detector, landmarks, **options), detector, landmarks  # type: ignore[arg-type]


def test_a_slowly_moving_face_is_detected_once_and_followed() -> None:
    follow, detector, _ = tracker(redetect_every=0)
    for step in range(20):
        face = follow.track(picture(20 + 4 * step, 30))
        assert face is not None
        assert face.box == pytest.approx((20 + 4 * step, 30, 59 + 4 * step, 69), abs=1)
        assert face.was_detected == (step == 0)
    assert detector.calls == 1


def test_the_detector_checks_every_n_frames() -> None:
    follow, detector, _ = tracker(redetect_every=5)
    for _ in range(21):
        assert follow.track(picture(50, 50)) is not None
    assert detector.calls == 5


def test_a_jump_makes_the_detector_look_again() -> None:
    follow, detector, _ = tracker(redetect_every=0)
    follow.track(picture(10, 10))
    face = follow.track(picture(110, 110))
    assert face is not None
    assert face.was_detected
    assert detector.calls == 2


def test_landmarks_that_leap_are_not_believed() -> None:
    follow, detector, _ = tracker(redetect_every=0)
    follow.track(picture(50, 50))
    face = follow.track(picture(80, 50))  # the search region still holds a part of the square: certain, but elsewhere
    assert face is not None
    assert face.box == pytest.approx((80, 50, 119, 89), abs=1)
    assert detector.calls == 2


def test_a_face_that_vanishes_is_reported_and_found_again() -> None:
    follow, _, _ = tracker(redetect_every=0)
    assert follow.track(picture(10, 10)) is not None
    assert follow.track(np.full((160, 160, 3), 60, np.uint8)) is None
    assert follow.num_faces == 0
    again = follow.track(picture(90, 90))
    assert again is not None
    assert again.was_detected


def test_uncertain_landmarks_lose_the_face() -> None:
    follow, detector, landmarks = tracker(redetect_every=0, min_score=0.6)
    follow.track(picture(50, 50))
    landmarks.score = 0.45  # too little to follow, enough beside a detection
    assert follow.track(picture(50, 50)) is not None
    assert detector.calls == 2
    landmarks.score = 0.1
    assert follow.track(picture(50, 50)) is None


class TwoFaces:
    name, min_face_px = "two", 1

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        return [Detection((80, 80, 140, 140), 1.0), Detection((10, 10, 40, 40), 1.0)]


def two() -> NDArray[np.uint8]:
    image = picture(80, 80, 60)
    image[10:40, 10:40] = 250
    return image


@pytest.mark.parametrize(("index", "left"), [(0, 80), (1, 10)])
def test_the_index_counts_from_the_largest_face(index: int, left: int) -> None:
    follow = FaceTracker(TwoFaces(), BoxLandmarks(), face_index=index, redetect_every=1)
    for _ in range(3):
        face = follow.track(two())
        assert face is not None
        assert face.box[0] == pytest.approx(left, abs=1)
    assert follow.num_faces == 2


def test_an_index_beyond_the_faces_finds_none() -> None:
    assert FaceTracker(TwoFaces(), BoxLandmarks(), face_index=2).track(two()) is None


def test_a_real_face_is_followed_through_shifts(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    follow = FaceTracker(redetect_every=0)
    first = follow.track(astronaut)
    assert first is not None
    for step in range(1, 6):
        face = follow.track(np.roll(astronaut, 5 * step, 1))
        assert face is not None
        assert not face.was_detected
        moved = (first.box[0] + 5 * step, first.box[1], first.box[2] + 5 * step, first.box[3])
        assert iou(face.box, moved) > 0.9
        assert face.score > 0.6
    assert follow.track(np.full_like(astronaut, 90)) is None
