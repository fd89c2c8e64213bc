from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.faces.detect import Detection, FirstThatFinds, HogDetector, MtcnnDetector, iou, largest_first, resize

FACE = (175, 85, 285, 210)  # the astronaut's face, read off the picture: left, top, right, bottom


def test_hog_finds_the_astronaut_and_no_other_face(astronaut: NDArray[np.uint8]) -> None:
    found = HogDetector().detect(astronaut)
    assert len(found) == 1
    assert iou(found[0].box, FACE) > 0.5


@pytest.mark.parametrize("side", [96, 128])
def test_hog_finds_a_face_in_a_small_image_because_it_enlarges_it(astronaut: NDArray[np.uint8], side: int) -> None:
    small = resize(astronaut[:256, 100:356], side / 256)
    found = HogDetector().detect(small)
    assert len(found) == 1
    expected = (np.array(FACE) - [100, 0, 100, 0]) * side / 256
    assert iou(found[0].box, expected) > 0.5


def test_a_huge_image_is_searched_at_a_bounded_size() -> None:
    detector = HogDetector()
    assert detector.scale(4320, 7680) * 7680 < 1280
    assert HogDetector(min_face_px=40).scale(4320, 7680) * 7680 == pytest.approx(1280)
    assert detector.scale(16, 16) == 4.0


def test_a_grey_image_holds_no_face() -> None:
    assert HogDetector().detect(np.full((64, 64, 3), 128, np.uint8)) == []


def test_detections_come_largest_first() -> None:
    small, large = Detection((0, 0, 10, 10), 9.0), Detection((50, 50, 90, 90), 0.1)
    assert largest_first([small, large]) == [large, small]


def test_iou_of_known_boxes() -> None:
    assert iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 1, 1), (1, 1, 2, 2)) == 0
    assert iou((0, 0, 4, 4), (0, 0, 4, 4)) == 1


def test_the_second_detector_is_asked_only_when_the_first_finds_nothing() -> None:
    class Fixed:
        min_face_px = 1

        def __init__(self, name: str, boxes: list[Detection]) -> None:
            self.name, self.boxes, self.calls = name, boxes, 0

        def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
            self.calls += 1
            return self.boxes

    image, one = np.zeros((4, 4, 3), np.uint8), [Detection((0, 0, 1, 1), 1.0)]
    blind, seeing, last = Fixed("blind", []), Fixed("seeing", one), Fixed("last", [])
    chain = FirstThatFinds([blind, seeing, last])
    assert chain.detect(image) == one
    assert (blind.calls, seeing.calls, last.calls) == (1, 1, 0)
    assert chain.name == "blind+seeing+last"


def test_mtcnn_agrees_with_hog_and_gives_five_points_in_order(
    weights_folder: Path, astronaut: NDArray[np.uint8]
) -> None:
    found = MtcnnDetector().detect(astronaut)
    assert len(found) == 1
    assert found[0].score > 0.99
    assert iou(found[0].box, HogDetector().detect(astronaut)[0].box) > 0.5
    left_eye, right_eye, nose, left_mouth, right_mouth = found[0].five_points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert left_mouth[0] < right_mouth[0]


def test_mtcnn_finds_nothing_in_noise_or_in_a_tiny_image(weights_folder: Path) -> None:
    detector = MtcnnDetector()
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(noise[:8, :8]) == []
