from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reenact_zoo.faces.expression import expression_from_tddfa
from reenact_zoo.faces.head_pose import GENERIC_FACE, pose_from_landmarks, pose_from_tddfa
from reenact_zoo.faces.measure import FaceMeasurer
from reenact_zoo.ops.rotation import matrix_from_euler

POSES = [(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 25), (0, 0, -25), (35, -12, 18)]


def projected(angles: tuple[float, float, float], distance: float) -> NDArray[np.float32]:
    """Generic face at a pose, seen by a pinhole camera: (68, 2) px, y down; other points at the face's middle."""
    model = np.array(list(GENERIC_FACE.values()))
    turned = (model - model.mean(0)) @ matrix_from_euler(torch.tensor(angles).double()).numpy().T
    nearness = distance / (distance - turned[:, 2])
    xy = np.stack([turned[:, 0], -turned[:, 1]], 1) * nearness[:, None]
    points = np.tile(xy.mean(0), (68, 1))
    points[list(GENERIC_FACE)] = xy
    return (points * 11 + [300, 180]).astype(np.float32)


@pytest.mark.parametrize("angles", POSES)
def test_pnp_finds_the_pose_of_a_projected_face_with_its_signs(angles: tuple[float, float, float]) -> None:
    found = pose_from_landmarks(projected(angles, distance=90))
    assert found == pytest.approx(angles, abs=3)  # the camera's distance is only assumed


def test_a_turn_to_image_right_moves_the_nose_right_in_the_picture() -> None:
    def nose(yaw: float, pitch: float) -> NDArray[np.float32]:
        return projected((yaw, pitch, 0), 90)[30] - projected((0, 0, 0), 90)[30]

    assert nose(20, 0)[0] > 0
    assert nose(0, 20)[1] < 0, "up is a smaller row"


def test_pnp_does_not_care_where_the_face_lies_or_how_large_it_is() -> None:
    points = projected((20, 10, -5), 90)
    np.testing.assert_allclose(pose_from_landmarks(points * 0.2 + 900), pose_from_landmarks(points), atol=0.05)


def test_points_that_are_no_face_give_nan() -> None:
    assert np.isnan(pose_from_landmarks(np.full((68, 2), np.nan, np.float32))).all()
    assert np.isnan(pose_from_landmarks(np.ones((68, 2), np.float32))).all()


@pytest.mark.parametrize("angles", POSES)
def test_the_3ddfa_matrix_is_scale_times_rotation(angles: tuple[float, float, float]) -> None:
    matrix = torch.zeros(3, 4, dtype=torch.float64)
    matrix[:, :3] = 4.7e-4 * matrix_from_euler(torch.tensor(angles).double())
    matrix[:, 3] = torch.tensor([60.0, 55, -66])
    parameters = torch.cat([matrix.flatten(), torch.ones(50, dtype=torch.float64)])[None]
    assert pose_from_tddfa(parameters)[0].tolist() == pytest.approx(angles, abs=1e-3)


def test_a_third_row_of_another_scale_does_not_bend_the_rotation() -> None:
    matrix = torch.zeros(3, 4)
    matrix[:, :3] = matrix_from_euler(torch.tensor([25.0, -10, 5])) * torch.tensor([[1.0], [1.0], [0.2]])
    parameters = torch.cat([matrix.flatten(), torch.zeros(50)])[None]
    assert pose_from_tddfa(parameters)[0].tolist() == pytest.approx([25, -10, 5], abs=1e-3)


def test_the_expression_is_the_last_ten() -> None:
    assert expression_from_tddfa(torch.arange(62.0)[None]).tolist() == [list(range(52, 62))]


@pytest.mark.parametrize("quantity", ["pose_3ddfa_v2", "pose_pnp"])
def test_mirroring_flips_yaw_and_roll_and_keeps_pitch(
    weights_folder: Path, astronaut: NDArray[np.uint8], quantity: str
) -> None:
    image = torch.from_numpy(astronaut).permute(2, 0, 1)[None].float() / 255
    yaw, pitch, roll = FaceMeasurer().measure(quantity, image)[0].tolist()
    mirrored = FaceMeasurer().measure(quantity, image.flip(-1))[0].tolist()
    assert mirrored == pytest.approx([-yaw, pitch, -roll], abs=4)


@pytest.mark.parametrize(("clip", "sign"), [("s18", 1), ("s32", -1)])
def test_the_sign_of_yaw_in_real_clips(weights_folder: Path, real_clips: Path, clip: str, sign: int) -> None:
    import av

    with av.open(str(real_clips / f"{clip}.mp4")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    image = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    measurer = FaceMeasurer()
    for quantity in ("pose_3ddfa_v2", "pose_pnp"):
        # looked at: the woman of s18 points her nose to image right, the one of s32 to image left
        assert 10 < sign * float(measurer.measure(quantity, image)[0, 0]) < 40


@pytest.mark.parametrize("quantity", ["pose_3ddfa_v2", "pose_pnp"])
@pytest.mark.parametrize("turn", [-15, 15])
def test_turning_the_picture_turns_the_roll(
    weights_folder: Path, astronaut: NDArray[np.uint8], quantity: str, turn: int
) -> None:
    import cv2

    def roll(image: NDArray[np.uint8]) -> float:
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        return float(FaceMeasurer().measure(quantity, tensor)[0, 2])

    around = cv2.getRotationMatrix2D((230, 145), turn, 1)  # positive: counter-clockwise as seen
    turned = cv2.warpAffine(astronaut, around, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    assert roll(turned) - roll(astronaut) == pytest.approx(turn, abs=4)
