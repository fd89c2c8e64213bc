from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.landmark_model import Array, Pose, face_model
from reenact_zoo.methods.landmark_warp import mouth, plate
from reenact_zoo.methods.landmark_warp.mesh import HeadRegion, mirrored, mirrored_share, surroundings, triangles
from reenact_zoo.methods.landmark_warp.module import Config, LandmarkWarp
from reenact_zoo.ops.coordinates import identity_grid, pixel_to_normalised
from reenact_zoo.ops.rotation import euler_from_matrix, matrix_from_euler
from reenact_zoo.types import PairBatch

SIZE = 96
SCALE = 4.0  # px per cm: a head of about the usual crop


def pose(
    yaw: float = 0, pitch: float = 0, roll: float = 0, x: float = 0, y: float = 0, scale: float = SCALE, batch: int = 1
) -> Pose:
    angles = torch.tensor([[yaw, pitch, roll]], dtype=torch.float64).expand(batch, 3)
    shift = np.array([[SIZE / 2 + x, -SIZE / 2 + y]]).repeat(batch, 0)
    return Pose(np.full(batch, scale), matrix_from_euler(angles).numpy(), shift)


def coefficients(seed: int | None, count: int, spread: float = 0.7) -> Array:
    if seed is None:
        return np.zeros((1, count))
    return np.random.default_rng(seed).normal(0, spread, (1, count))


def landmarks(head: Pose, identity: int | None = None, expression: int | None = None) -> Tensor:
    """(1, 68, 2) normalised, of the bundled face itself."""
    model = face_model()
    points = model.points(coefficients(identity, len(model.identity)), coefficients(expression, len(model.expression)))
    return torch.from_numpy(pixel_to_normalised(head.project(points)[0][:, :68] * [1, -1], SIZE, SIZE)).float()


def picture(seed: int = 0) -> Tensor:
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear", align_corners=False)


def pair(source: Tensor, driving: Tensor, image: Tensor | None = None, **more: Tensor) -> PairBatch:
    image = picture() if image is None else image
    image = image.expand(len(source), -1, -1, -1)
    return {  # type: ignore[typeddict-item]
        "source": image,
        "driving": torch.zeros(len(source), 3, SIZE, SIZE),
        "same_identity": torch.zeros(len(source), dtype=torch.bool),
        "source_landmarks": source,
        "driving_landmarks": driving,
        **more,
    }


# --- the face model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 5, -10), (-40, -15, 20), (10, 20, 0)])
def test_fit_recovers_the_pose_of_a_face_made_by_the_model(angles: tuple[float, float, float]) -> None:
    model = face_model()
    head = pose(*angles, x=6, y=-3)
    points = model.points(coefficients(1, len(model.identity), 0.4), coefficients(2, len(model.expression), 0.4))
    fit = model.fit(head.project(points)[0][:, :68])
    found = euler_from_matrix(torch.from_numpy(fit.pose.rotation))[0]
    torch.testing.assert_close(found, torch.tensor(angles, dtype=torch.float64), atol=3.5, rtol=0)
    assert fit.pose.scale[0] == pytest.approx(SCALE, rel=0.04)
    again = fit.pose.project(model.points(fit.identity, fit.expression))[0][:, :68]
    assert np.linalg.norm(again - head.project(points)[0][:, :68], axis=-1).mean() / SCALE < 0.12


def test_fit_tells_face_shape_from_expression() -> None:
    model = face_model()
    shape = coefficients(3, len(model.identity))
    grimace = coefficients(4, len(model.expression))
    still = model.fit(pose().project(model.points(shape, 0 * grimace))[0][:, :68])
    moved = model.fit(pose(yaw=15).project(model.points(shape, grimace))[0][:, :68])
    other = model.fit(pose().project(model.points(-shape, 0 * grimace))[0][:, :68])
    assert np.abs(still.identity - moved.identity).mean() < 0.5 * np.abs(still.identity - other.identity).mean()


def test_fit_of_a_row_does_not_depend_on_its_neighbours() -> None:
    points = np.concatenate([landmarks(pose(yaw)).numpy() * [40, -40] for yaw in (-20.0, 0.0, 30.0)]).astype(float)
    together, alone = face_model().fit(points), face_model().fit(points[2:])
    np.testing.assert_allclose(together.pose.rotation[2:], alone.pose.rotation, atol=1e-9)
    np.testing.assert_allclose(together.expression[2:], alone.expression, atol=1e-8)


# --- the mesh ---------------------------------------------------------------------------------------------------------


def test_no_triangle_joins_the_lips_across_the_mouth_or_the_lids_to_the_other_eye() -> None:
    upper, lower, inner = set(range(49, 54)), set(range(55, 60)), set(range(60, 68))
    for triangle in triangles().tolist():
        corners = set(triangle)
        assert not (corners & upper and corners & lower and not corners & inner), triangle
        assert not (corners & set(range(36, 42)) and corners & set(range(42, 48))), triangle


def test_mirror_pairs_left_and_right_and_is_its_own_inverse() -> None:
    mirror = mirrored()
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    assert mirror[[0, 8, 17, 36, 48, 60]].tolist() == [16, 8, 26, 45, 54, 64]


def test_what_the_source_hides_and_the_target_shows_is_mirrored() -> None:
    weight = mirrored_share(pose(yaw=30), pose(yaw=-10))[0]  # the nose points to image right, which hides that side
    assert weight[12:16].min() > 0.3
    assert weight[:8].max() == 0
    assert weight[27:68].max() == 0
    assert mirrored_share(pose(yaw=30), pose(yaw=30)).max() == 0
    assert mirrored_share(pose(yaw=30), pose(yaw=45)).max() == 0
    assert mirrored_share(pose(), pose(yaw=30)).max() == 0


def test_the_similarity_between_head_regions_moves_one_outline_onto_the_other() -> None:
    one = np.ones(1)
    a, b = HeadRegion.of(pose(roll=10, x=3), one), HeadRegion.of(pose(roll=-20, y=5, scale=5), one)
    matrix = a.to(b)
    moved = a.ring() @ matrix[:, :, :2].transpose(0, 2, 1) + matrix[:, None, :, 2]
    np.testing.assert_allclose(moved, b.ring(), atol=1e-9)
    np.testing.assert_allclose(a.radius(a.ring()), 1)


@pytest.mark.parametrize("roll", [0.0, 25.0, -40.0])
def test_the_long_axis_of_the_head_region_lies_along_the_head(roll: float) -> None:
    head = pose(roll=roll, x=7)
    top = head.project(np.array([[[0.0, 15.5, 3.0]]]))[0] * [1, -1]  # 13.5 cm above the middle
    assert HeadRegion.of(head, np.ones(1)).radius(top)[0, 0] == pytest.approx(1, abs=1e-6)


def test_surroundings_of_a_still_head_change_nothing_and_guess_nothing() -> None:
    region = HeadRegion.of(pose(scale=2.5), np.ones(1))
    flow, behind = surroundings(region, region, (SIZE, SIZE), (SIZE, SIZE))
    np.testing.assert_allclose(flow[0], identity_grid(SIZE, SIZE).numpy(), atol=1e-5)
    assert behind.max() == 0


def test_the_frame_of_the_picture_stays_when_the_head_moves() -> None:
    source, target = (HeadRegion.of(pose(x=x, scale=2.0), np.ones(1)) for x in (-8, 8))
    flow, _ = surroundings(target, source, (SIZE, SIZE), (SIZE, SIZE))
    shift_px = np.abs(flow[0] - identity_grid(SIZE, SIZE).numpy()) * SIZE / 2
    for edge in (shift_px[0], shift_px[:, 0], shift_px[:, -1]):
        assert edge.max() < 1.5
    assert shift_px[SIZE // 2, SIZE // 2 + 8, 0] == pytest.approx(16, abs=1e-3)


# --- the method -------------------------------------------------------------------------------------------------------


def test_driving_by_the_source_itself_returns_the_source() -> None:
    same = landmarks(pose(scale=3, yaw=5), identity=1, expression=2)
    output = LandmarkWarp().reenact(pair(same, same))
    assert (output.reenacted - picture()).abs().max() < 0.02  # bicubic at float32 positions


def test_the_flow_carries_each_source_landmark_to_its_aim() -> None:
    source, driving = landmarks(pose(yaw=-8), 1), landmarks(pose(yaw=15, pitch=8, roll=6, x=4), 1, 3)
    output = LandmarkWarp().reenact(pair(source, driving))
    aim = output.aux["landmarks"][0]
    sampled = torch.nn.functional.grid_sample(
        output.aux["flow"].permute(0, 3, 1, 2), aim[None, None], mode="bilinear", align_corners=False
    )[0, :, 0].T
    inner = [*range(27, 36), 37, 44, 51, 57]  # far from folds and from the rim of the mesh
    error_px = (sampled - source[0]).norm(dim=-1)[inner] * SIZE / 2
    assert error_px.max() < 1.0  # the flow is sampled between pixels of a bent map


def test_turning_the_head_moves_the_nose_but_not_the_outline() -> None:
    output = LandmarkWarp().reenact(pair(landmarks(pose()), landmarks(pose(yaw=20))))
    shift_px = (output.aux["flow"][0] - identity_grid(SIZE, SIZE)) * SIZE / 2
    nose = landmarks(pose(yaw=20))[0, 30]
    column, row = ((nose + 1) * SIZE / 2 - 0.5).round().long().tolist()
    assert shift_px[row, column, 0] < -8  # content comes from the left: the nose went to image right
    assert shift_px[:, [0, -1]].abs().max() < 2


def test_keep_identity_leaves_much_of_the_drivers_face_shape_out() -> None:
    errors: dict[float, list[float]] = {0.0: [], 1.0: []}
    for own, other in ((1, 2), (2, 3), (3, 1), (5, 2)):
        driving, wanted = landmarks(pose(yaw=10), other), landmarks(pose(yaw=10), own)
        for keep, found in errors.items():
            output = LandmarkWarp(Config(keep_identity=keep)).reenact(pair(landmarks(pose(), own), driving))
            found.append((output.aux["landmarks"] - wanted).norm(dim=-1).mean().item())
        assert errors[0.0][-1] == pytest.approx((driving - wanted).norm(dim=-1).mean().item(), abs=1e-5)
    assert sum(errors[1.0]) < 0.7 * sum(errors[0.0])


def test_relative_motion_from_the_same_reference_leaves_the_source_as_it_is() -> None:
    source, reference = landmarks(pose(scale=3, yaw=-10), 1, 1), landmarks(pose(yaw=20, x=5), 2, 2)
    output = LandmarkWarp().reenact(pair(source, reference, driving_reference_landmarks=reference))
    torch.testing.assert_close(output.aux["landmarks"], source, atol=1e-4, rtol=0)
    assert (output.reenacted - picture()).abs().max() < 0.02


def test_relative_motion_transfers_the_change_and_not_the_state() -> None:
    source = landmarks(pose(yaw=-10), 1)
    reference, driving = landmarks(pose(yaw=20, x=5, scale=4.4), 2), landmarks(pose(yaw=35, x=5, scale=4.4), 2)
    output = LandmarkWarp().reenact(pair(source, driving, driving_reference_landmarks=reference))
    wanted = landmarks(pose(yaw=5), 1)
    error, before = ((points - wanted).norm(dim=-1).mean() for points in (output.aux["landmarks"], source))
    assert error < 0.35 * before


def test_relative_motion_moves_the_head_by_what_the_driver_moved_in_head_sizes() -> None:
    source, reference = landmarks(pose(scale=2.0)), landmarks(pose(x=-10, scale=4.0))
    driving = landmarks(pose(x=6, y=-8, scale=4.0))  # y up: 8 px down
    output = LandmarkWarp().reenact(pair(source, driving, driving_reference_landmarks=reference))
    shift_px = ((output.aux["landmarks"] - source) * SIZE / 2).mean((0, 1))
    assert shift_px.tolist() == pytest.approx([8, 4], abs=0.2)


@pytest.mark.parametrize("which", ["source_landmarks", "driving_landmarks"])
def test_a_missing_face_gives_a_row_of_nan_and_leaves_the_others_alone(which: str) -> None:
    faces = landmarks(pose()).repeat(3, 1, 1)
    moved = landmarks(pose(yaw=12)).repeat(3, 1, 1)
    whole = LandmarkWarp().reenact(pair(faces, moved)).reenacted
    batch = pair(faces.clone(), moved.clone())
    batch[which][1, 5] = float("nan")  # type: ignore[literal-required]
    output = LandmarkWarp().reenact(batch).reenacted
    assert output[1].isnan().all()
    assert output[[0, 2]].equal(whole[[0, 2]])


def test_landmarks_on_one_spot_are_no_face() -> None:
    output = LandmarkWarp().reenact(pair(landmarks(pose()), torch.zeros(1, 68, 2)))
    assert output.reenacted.isnan().all()


def test_extreme_poses_and_positions_leave_no_hole_and_stay_in_range() -> None:
    source = torch.cat([landmarks(pose(yaw=-35, x=-20)), landmarks(pose(yaw=50)), landmarks(pose(roll=40))])
    driving = torch.cat(
        [landmarks(pose(yaw=60, x=30, y=20), 1), landmarks(pose(yaw=-60, scale=6)), landmarks(pose(pitch=-35, scale=2))]
    )
    output = LandmarkWarp().reenact(pair(source, driving))
    assert output.reenacted.isfinite().all()
    assert output.reenacted.min() >= 0
    assert output.reenacted.max() <= 1
    assert output.aux["flow"].isfinite().all()


def test_source_and_driving_may_differ_in_size_and_shape() -> None:
    batch = pair(landmarks(pose()), landmarks(pose(yaw=10)))
    batch["source"] = torch.nn.functional.interpolate(picture(), (SIZE * 2, SIZE * 2), mode="bilinear")
    batch["driving"] = torch.zeros(1, 3, 80, 120)
    assert LandmarkWarp().reenact(batch).reenacted.shape == (1, 3, 80, 120)


def test_encoding_the_source_once_gives_the_same_frames() -> None:
    method, source = LandmarkWarp(), landmarks(pose(yaw=25))
    state = method.encode_source({"source": picture(), "source_landmarks": source})  # type: ignore[typeddict-item]
    for yaw in (-20.0, 10.0):
        batch = pair(source, landmarks(pose(yaw=yaw)))
        assert method.drive(state, batch).reenacted.equal(method.reenact(batch).reenacted)


# --- the background ---------------------------------------------------------------------------------------------------


def test_the_plate_keeps_what_lies_around_the_head_and_takes_the_head_out() -> None:
    region = HeadRegion.of(pose(scale=2.0), np.ones(1))
    image = torch.full((1, 3, SIZE, SIZE), 0.25)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float).reshape(2, -1)
    radius = torch.from_numpy(region.radius(np.stack((x, y), -1)[None])).reshape(SIZE, SIZE)
    image[:, :, radius < 1] = 0.9
    filled = plate.background(image, region)
    assert filled[:, :, radius > plate.HEAD].equal(image[:, :, radius > plate.HEAD])
    torch.testing.assert_close(filled, torch.full_like(filled, 0.25))


def test_a_head_that_leaves_its_place_below_the_edge_uncovers_background_and_not_itself_again() -> None:
    high, low = HeadRegion.of(pose(y=30, scale=1.8), np.ones(1)), HeadRegion.of(pose(y=-10, scale=1.8), np.ones(1))
    _, behind = surroundings(low, high, (SIZE, SIZE), (SIZE, SIZE))
    column = behind[0, :, SIZE // 2]
    inside = low.radius(np.array([[[SIZE // 2, row] for row in range(SIZE)]], float))[0] < 0.9
    assert column[inside].max() == 0
    assert column[:10].max() > 0.9
    torch.testing.assert_close(
        plate.lay_behind(picture(), picture(1), torch.ones(1, SIZE, SIZE)), picture(1), atol=1e-6, rtol=0
    )


# --- the mouth --------------------------------------------------------------------------------------------------------


def opened(by_px: float) -> NDArray[np.float64]:
    points = pose().project(face_model().mean[None])[0][:, :68] * [1, -1]
    points[:, [*range(55, 60), *range(65, 68)], 1] += by_px
    return points


def test_an_opening_mouth_is_painted_inside_the_lips_only() -> None:
    image = torch.full((1, 3, SIZE, SIZE), 0.6)
    closed, wide, scale = opened(0), opened(6), np.array([SCALE])
    painted = mouth.paint(image, image, closed, wide, scale, scale)
    changed = (painted - image).abs().amax(1)[0] > 0.02
    rows, columns = changed.nonzero().unbind(-1)
    assert changed.any()
    assert rows.min() >= wide[0, [61, 62, 63], 1].min() - 2
    assert rows.max() <= wide[0, [65, 66, 67], 1].max() + 2
    assert columns.min() >= wide[0, 60, 0] - 2
    assert columns.max() <= wide[0, 64, 0] + 2
    middle = round(wide[0, 62, 0])
    top, bottom = round(wide[0, 62, 1]) + 2, round(wide[0, 66, 1]) - 2
    assert painted[0, :, top, middle].mean() > 2 * painted[0, :, bottom, middle].mean()  # teeth above a dark hollow


def test_a_mouth_that_is_as_open_in_the_source_keeps_its_own_inside() -> None:
    image = torch.full((1, 3, SIZE, SIZE), 0.6)
    wide, scale = opened(6), np.array([SCALE])
    assert mouth.paint(image, image, wide, wide, scale, scale) is image
    assert mouth.paint(image, image, opened(0), opened(0), scale, scale) is image


def test_the_paint_can_be_switched_off() -> None:
    closed, wide = (torch.from_numpy(pixel_to_normalised(opened(px), SIZE, SIZE)).float() for px in (0, 6))
    outputs = [LandmarkWarp(Config(mouth_interior=on)).reenact(pair(closed, wide)).reenacted for on in (True, False)]
    assert not outputs[0].equal(outputs[1])


def test_a_mouth_beyond_the_image_is_no_error() -> None:
    image, scale = torch.full((1, 3, SIZE, SIZE), 0.6), np.array([SCALE])
    painted = mouth.paint(image, image, opened(0), opened(6) + 500, scale, scale)
    assert painted.equal(image)
