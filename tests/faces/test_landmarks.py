from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.faces.align import five_points
from reenact_zoo.faces.detect import HogDetector, MtcnnDetector
from reenact_zoo.faces.landmarks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DlibLandmarks,
    OpenSeeFaceLandmarks,
    SyntheticLandmarks,
    _stretched,
    default_landmarks,
    hog_like_box,
    landmark_box,
    to_68,
)
from reenact_zoo.video.read import RandomAccessVideo
from reenact_zoo.weights.store import WeightsMissing


def located(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return OpenSeeFaceLandmarks().detect(image, [HogDetector().detect(image)[0].box])[0]


def test_the_66_points_map_onto_the_68_without_loss() -> None:
    points = np.stack([np.arange(66.0), np.zeros(66)], 1).astype(np.float32)
    full = to_68(points)[:, 0]
    assert full[:48].tolist() == list(range(48))
    assert full[48] == 58, "outer corner at image left"
    assert full[54] == 62, "outer corner at image right"
    assert full[49:54].tolist() == [48, 49, 50, 51, 52], "upper lip"
    assert full[55:60].tolist() == [53, 54, 55, 56, 57], "lower lip"
    assert full[[61, 62, 63]].tolist() == [59, 60, 61]
    assert full[[65, 66, 67]].tolist() == [63, 64, 65]


def test_derived_inner_corners_lie_just_inside_the_outer_ones() -> None:
    points = np.zeros((66, 2), np.float32)
    points[58], points[62] = (0, 0), (10, 0)
    points[[59, 65]] = [(3, -1), (3, 1)]
    points[[61, 63]] = [(7, -1), (7, 1)]
    full = to_68(points)
    assert full[60] == pytest.approx([0.6, 0])
    assert full[64] == pytest.approx([9.4, 0])


def test_landmarks_of_the_astronaut_have_the_anatomy_of_the_68_layout(
    weights_folder: Path, astronaut: NDArray[np.uint8]
) -> None:
    p = located(astronaut)
    x, y = p.T
    assert np.all(np.diff(x[0:17]) > 0), "jaw runs from image left to right"
    assert y[8] == y[0:17].max(), "point 8 is the chin"
    assert np.all(np.diff(x[17:27]) > 0), "brows run from image left to right"
    assert np.all(np.diff(y[27:31]) > 0), "nose bridge runs down"
    for first in (36, 42):  # outer, upper two, inner, lower two
        assert max(y[first + 1], y[first + 2]) < min(y[first + 4], y[first + 5]), "upper lid above lower lid"
    assert x[48] < x[60] < x[61] < x[63] < x[64] < x[54], "mouth from corner to corner"
    assert y[51] < y[62] <= y[66] < y[57], "upper lip, inner lips, lower lip"
    assert 36 < x[36] - 140 < 80


def test_landmarks_agree_with_mtcnn_five_points(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    points = located(astronaut)
    found = MtcnnDetector().detect(astronaut)[0].five_points
    distance = np.linalg.norm(five_points(points) - found, axis=1) / np.linalg.norm(points[36] - points[45])
    assert distance.mean() < 0.05  # two instruments; median on six real clips is 0.024
    assert distance.max() < 0.1


def test_a_mirrored_face_gives_mirrored_landmarks(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    jaw, brows, nose = range(16, -1, -1), range(26, 16, -1), (*range(27, 31), *range(35, 30, -1))
    eyes = (45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40)
    mouth = (*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1))
    mirror = np.array([*jaw, *brows, *nose, *eyes, *mouth])
    plain = located(astronaut)
    flipped = located(np.ascontiguousarray(astronaut[:, ::-1]))[mirror]
    flipped[:, 0] = 511 - flipped[:, 0]
    error = np.linalg.norm(plain - flipped, axis=1) / np.linalg.norm(plain[36] - plain[45])
    assert error.mean() < 0.05


def test_landmarks_move_with_the_image(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    box = landmark_box(located(astronaut))
    tool = OpenSeeFaceLandmarks()
    plain = tool.detect_scored(astronaut, [box], around_landmarks=True)[0][0]
    shifted_box = [box[0] + 16, box[1] + 9, box[2] + 16, box[3] + 9]
    moved = np.roll(astronaut, (9, 16), (0, 1))
    shifted = tool.detect_scored(moved, [shifted_box], around_landmarks=True)[0][0]
    np.testing.assert_allclose(shifted, plain + np.array([16, 9]), atol=0.02)


def test_the_scale_of_the_image_hardly_matters(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    import cv2

    plain = located(astronaut)
    large = cv2.resize(astronaut, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    box = [4 * edge for edge in landmark_box(plain)]
    found = (OpenSeeFaceLandmarks().detect(large, [box])[0] + 0.5) / 4 - 0.5
    assert np.abs(found - plain).mean() < 0.6  # pixels of 512; catches an offset of the shrinking by averages


@pytest.mark.parametrize("side", [224, 600, 896, 1900])
def test_the_stretched_crop_reads_each_pixel_at_its_place(side: int) -> None:
    rows, columns = np.mgrid[:2000, :2000]
    blob = 250 * np.exp(-((columns - 130.25) ** 2 + (rows - 140.75) ** 2) / (2 * 15**2))
    image = np.repeat(np.rint(blob).astype(np.uint8)[..., None], 3, 2)
    crop = _stretched(image, np.array([50.5, 40.0, side, side], np.float32), 224)
    light = ((crop * IMAGENET_STD + IMAGENET_MEAN) * 255).mean(2)
    centre = np.array([light.sum(0) @ np.arange(224), light.sum(1) @ np.arange(224)]) / light.sum()
    found = np.array([50.5, 40.0]) + centre * side / 224
    np.testing.assert_allclose(found, [130.25, 140.75], atol=0.2)  # pixels of the image


def test_no_box_gives_no_face(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    assert OpenSeeFaceLandmarks().detect(astronaut, []).shape == (0, 68, 2)


def test_the_instrument_can_be_pickled_into_a_worker(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    tool = OpenSeeFaceLandmarks()
    before = tool.detect(astronaut, [(175, 85, 285, 210)])
    after = pickle.loads(pickle.dumps(tool)).detect(astronaut, [(175, 85, 285, 210)])
    np.testing.assert_array_equal(before, after)


def test_without_any_weights_the_error_names_all_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)
    monkeypatch.setattr("reenact_zoo.weights.store._bundled_folder", lambda: tmp_path / "nothing")
    with pytest.raises(WeightsMissing) as error:
        default_landmarks()
    for name in ("openseeface_lm0", "dlib_68", "synthetic_landmarks_68"):
        assert name in str(error.value)


def test_the_bundled_network_is_used_where_there_is_no_other_and_knows_a_real_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)
    tool = default_landmarks()
    assert isinstance(tool, SyntheticLandmarks)
    points, scores = tool.detect_scored(astronaut, [HogDetector().detect(astronaut)[0].box])
    assert scores[0] > 0.5
    # pupils and mouth corners as read off the picture by eye, in pixels; the model has only ever seen renders
    seen = {
        (36, 37, 38, 39, 40, 41): (204, 101),
        (42, 43, 44, 45, 46, 47): (247, 103),
        (48,): (201, 139),
        (54,): (246, 140),
    }
    for indices, where in seen.items():
        assert (
            np.linalg.norm(points[0][list(indices)].mean(axis=0) - where) < 9
        )  # the outer eye corners are 63 px apart


def test_the_bundled_predictor_stays_near_openseeface_on_real_clips(weights_folder: Path, real_clips: Path) -> None:
    reference, bundled, detector = OpenSeeFaceLandmarks(), DlibLandmarks("synthetic_landmarks_68"), HogDetector()
    errors = []
    for path in sorted(real_clips.glob("*.mp4")):
        image = RandomAccessVideo(path).frame(0)
        box = detector.detect(image)[0].box
        expected, found = reference.detect(image, [box])[0], bundled.detect(image, [box])[0]
        span = np.linalg.norm(expected[36] - expected[45])
        errors.append(np.linalg.norm(found - expected, axis=1).mean() / span)
    assert np.median(errors) < 0.1  # 7 % measured; the two networks disagree on the jaw line most


def test_the_box_for_shape_predictors_is_square_and_higher_than_the_landmarks() -> None:
    left, top, right, bottom = hog_like_box((100, 100, 180, 200))
    assert (right - left, bottom - top) == (100, 100)
    assert (left + right) / 2 == 140
    assert (top + bottom) / 2 == pytest.approx(138)
