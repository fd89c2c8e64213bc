from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reenact_zoo.faces.align import CropPolicy, SquareBox
from reenact_zoo.faces.detect import Detection
from reenact_zoo.serving._framing import ChosenFace, DrivingFaces, Instruments, SteadySquare, source_face


def face(x: float, y: float = 100.0, side: float = 50.0) -> np.ndarray:
    unit = np.random.default_rng(0).random((68, 2))
    unit[:2] = (0, 0), (1, 1)
    return ((unit - 0.5) * side + (x, y)).astype(np.float32)


def test_the_square_rests_while_the_head_moves_a_little() -> None:
    steady = SteadySquare(CropPolicy())
    first = steady.update(face(100))
    assert first.side == pytest.approx(2.2 * 50)
    for x in (101, 97, 105, 92, 108):  # up to 8 px of 95: under 12 %
        assert steady.update(face(x)) == first


def test_the_square_follows_a_walk_without_a_jump_and_comes_to_rest() -> None:
    steady = SteadySquare(CropPolicy())
    places = [steady.update(face(100 + min(4 * i, 200))).x for i in range(150)]
    steps = np.diff(places)
    assert steps.min() >= 0
    assert steps.max() < 8
    assert places[-1] == pytest.approx(300, abs=0.04 * 95)
    assert steps[-20:].max() == 0
    inside = [abs(100 + min(4 * i, 200) - x) for i, x in enumerate(places)]
    assert max(inside) < 0.5 * 95 - 5  # the face's middle never leaves the square


def test_the_square_follows_a_face_that_comes_nearer() -> None:
    steady = SteadySquare(CropPolicy())
    steady.update(face(100, side=50))
    for _ in range(100):
        last = steady.update(face(100, side=75))
    assert last.side == pytest.approx(2.2 * 75, rel=0.07)


def test_the_square_jumps_at_a_cut() -> None:
    steady = SteadySquare(CropPolicy())
    steady.update(face(100))
    assert steady.update(face(400)).x == pytest.approx(400)
    assert steady.update(face(400, side=160)).side == pytest.approx(2.2 * 160)


class ThreeBoxes:
    name, min_face_px = "three", 1

    def detect(self, image: np.ndarray) -> list[Detection]:
        return [Detection((float(x), 0.0, x + 30.0 - i, 30.0), 0.5) for i, x in enumerate((0, 40, 80))]


class Judge:
    """Certainty of the landmarks by box, left to right."""

    name = "judge"

    def __init__(self, *scores: float) -> None:
        self.scores = np.array(scores, np.float32)

    def detect_scored(
        self, image: np.ndarray, boxes: Sequence[Any], *, around_landmarks: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(boxes), 68, 2), np.float32), self.scores[[int(box[0]) // 40 for box in boxes]]

    def detect(self, image: np.ndarray, boxes: Sequence[Any]) -> np.ndarray:
        return self.detect_scored(image, boxes)[0]


@pytest.mark.parametrize(
    ("scores", "expected", "note"),
    [
        ((0.49, 0.83, 0.37), [40.0], ""),  # HOG in the portrait of an astronaut: two of three boxes lie on the suit
        ((0.80, 0.83, 0.37), [0.0, 40.0], "2 faces"),
        ((0.1, 0.2, 0.3), [0.0, 40.0, 80.0], "3 faces"),  # the landmarks see none: leave it to the detector
        ((np.nan, np.nan, np.nan), [0.0, 40.0, 80.0], "3 faces"),  # an instrument without an opinion
    ],
)
def test_only_faces_that_the_landmarks_confirm_count(
    scores: tuple[float, ...], expected: list[float], note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ChosenFace(Instruments(ThreeBoxes(), Judge(*scores)), None, Path("face.png"))
    image = np.zeros((40, 120, 3), np.uint8)
    for _ in range(2):
        assert [d.box[0] for d in chosen.detect(image)] == expected
    told = capsys.readouterr().err
    assert note in told
    assert told.count("\n") == bool(note)


class OneBox(ThreeBoxes):
    def detect(self, image: np.ndarray) -> list[Detection]:
        return super().detect(image)[:1]


class Spread:
    name, min_score = "spread", 0.0

    def detect_scored(self, image: np.ndarray, boxes: Sequence[Any], **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([face(15, 15, 28) for _ in boxes]), np.ones(len(boxes), np.float32)


def test_whole_pictures_are_the_largest_centred_square_wherever_the_face_is() -> None:
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    instruments = Instruments(OneBox(), Spread())  # type: ignore[arg-type]
    given: tuple[Any, ...] = (instruments, CropPolicy(size=64), None, Path("picture.png"))
    for found in (source_face(image, *given, whole=True), DrivingFaces(*given, whole=True).crop(image)):
        assert found is not None
        assert found.square == SquareBox.of_image(64, 64)
        np.testing.assert_array_equal(found.image, image)
        np.testing.assert_allclose(found.landmarks, (2 * face(15, 15, 28) + 1) / 64 - 1, atol=1e-5)
    assert source_face(image, *given).square.side < 64
