from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.draw import polygon2mask
from torch import Tensor

from reenact_zoo.faces.landmark_model import face_model, personalised_landmarks
from reenact_zoo.methods.landmark_warp.module import LandmarkWarp
from reenact_zoo.methods.one_shot.geometry import align_source, inverse, similarity, usable, warp_to
from reenact_zoo.methods.one_shot.parts import fixed_fusion, fixed_mask, moved_parts, warp_parts
from reenact_zoo.methods.one_shot.regions import CHANNELS, fill, official_region_maps, region_maps, weight_map
from reenact_zoo.methods.one_shot.schemes import CURVES, SCHEMES, scheme_named
from reenact_zoo.ops.coordinates import identity_grid, normalised_to_pixel
from reenact_zoo.ops.warp import transform_points
from reenact_zoo.types import InputError, PairBatch

SIZE = (64, 64)


def face(scale: float = 1 / 11, x: float = 0.0, y: float = -0.1) -> Tensor:
    """(1, 68, 2): the bundled mean face seen from the front."""
    points = torch.from_numpy(face_model().mean[:68, :2] * [1, -1]).float()
    return (points * scale + torch.tensor([x, y]))[None]


def gradient(size: tuple[int, int] = SIZE) -> Tensor:
    """(1, 3, H, W): red is x, green is y, so that a warp's flow can be read off the picture."""
    grid = identity_grid(*size).permute(2, 0, 1)
    return torch.cat((grid, grid[:1]))[None] * 0.5 + 0.5


def at(maps: Tensor, channel: str, point: Tensor) -> float:
    """Value (of the first sample) of the pixel that holds a normalised point."""
    x, y = normalised_to_pixel(point, maps.shape[-2], maps.shape[-1]).round().long().tolist()
    return float(maps[0, CHANNELS.index(channel), y, x])


# --- schemes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_every_scheme_has_every_curve_on_existing_points(name: str) -> None:
    scheme = SCHEMES[name]
    completed = scheme.complete(torch.rand(2, scheme.points, 2)).shape[1]
    assert tuple(scheme.curves) == CURVES
    assert max(i for indices in scheme.curves.values() for i in indices) == completed - 1
    for side in ("left", "right"):
        top, bottom = scheme.curves[f"{side}_eye_top"], scheme.curves[f"{side}_eye_bottom"]
        assert (top[0], top[-1]) == (bottom[-1], bottom[0])
    assert not set(scheme.curves["contour"]) & set(scheme.inner())


def test_made_brows_and_irises_lie_where_they_belong() -> None:
    scheme, points = SCHEMES["68"], face()
    complete = scheme.complete(points)
    for side, top, eye in (("left", range(17, 22), range(36, 42)), ("right", range(22, 27), range(42, 48))):
        lower = complete[0, list(scheme.curves[f"{side}_brow_bottom"])].mean(0)
        assert points[0, list(top), 1].mean() < lower[1] < points[0, list(eye), 1].mean()
        iris, corners = complete[0, list(scheme.curves[f"{side}_iris"])], points[0, [eye[0], eye[3]]]
        radius = (iris - points[0, list(eye)].mean(0)).norm(dim=-1)
        assert torch.allclose(radius, 0.25 * (corners[1] - corners[0]).norm().expand(20), atol=1e-5)


def test_the_pupils_of_98_points_are_used() -> None:
    points = torch.rand(1, 98, 2, generator=torch.Generator().manual_seed(0))
    iris = SCHEMES["98"].complete(points)[:, list(SCHEMES["98"].curves["right_iris"])]
    assert torch.allclose(iris.mean(1), points[:, 97], atol=1e-6)


def test_wrong_scheme_says_what_there_is() -> None:
    with pytest.raises(InputError, match="no landmark scheme '106'; there are 68, 98, osfr_146"):
        scheme_named("106")
    with pytest.raises(InputError, match=r"scheme '98' needs landmarks of shape \(B, 98, 2\), got \(1, 68, 2\)"):
        region_maps(face(), SIZE, "98")


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_filled_share_is_the_polygons_area(size: tuple[int, int]) -> None:
    corners = torch.tensor([[[-0.61, -0.7], [0.53, -0.42], [0.71, 0.64], [0.1, 0.05], [-0.4, 0.77]]])
    x, y = normalised_to_pixel(corners[0], *size).unbind(-1)
    area = 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum().abs()
    drawn = fill(corners, [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)], size)
    assert torch.allclose(drawn[0, 0], drawn[0, 1], atol=1e-5)
    assert float(drawn[0, 0].sum()) == pytest.approx(float(area), rel=2e-3)
    mask = polygon2mask(size, torch.stack((y, x), -1).numpy())  # by pixel centres
    assert np.abs(drawn[0, 0].numpy() - mask).max() < 1 - 1e-3
    assert ((drawn[0, 0].numpy() > 0.5) != mask).mean() < 0.004


def test_polygons_beyond_the_frame_are_cut_off() -> None:
    square = torch.tensor([[[-3.0, -3.0], [0.0, -3.0], [0.0, 5.0], [-3.0, 5.0]]])
    drawn = fill(square, [(0, 1, 2, 3)], (8, 8))[0, 0]
    assert torch.equal(drawn, torch.tensor([1.0] * 4 + [0.0] * 4).expand(8, 8))


@pytest.mark.parametrize("size", [64, 128, 256])
def test_maps_show_the_parts_of_the_face(size: int) -> None:
    points = face()
    maps = region_maps(points, (size, size))
    assert maps.shape == (1, 9, size, size)
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1
    p = points[0]
    assert at(maps, "face", p[[3, 13]].mean(0)) > 0.99
    assert at(maps, "face", torch.tensor([-0.95, -0.95])) == 0
    assert at(maps, "nose", p[[29, 33]].mean(0)) > 0.9
    assert at(maps, "nose_bridge", p[28]) > 0.8
    for eye in (range(36, 42), range(42, 48)):
        middle = p[list(eye)].mean(0)
        assert at(maps, "eyes", middle) > 0.7
        assert at(maps, "gaze", middle) > 0.7
        assert at(maps, "eyes", middle + torch.tensor([0.0, 0.1])) == 0
    assert (maps[:, 3] <= maps[:, 2] + 1e-5).all()  # an iris shows inside its eye only
    shares = maps.mean((2, 3))[0, :8]
    reference = region_maps(points, (512, 512)).mean((2, 3))[0, :8]
    assert torch.allclose(shares, reference, rtol=0.08, atol=5e-4)  # the same face at every size


def test_maps_follow_the_points_by_fractions_of_a_pixel() -> None:
    step = torch.tensor([0.25 * 2 / 64, 0.0])  # a quarter of a pixel
    here, there = (region_maps(p, SIZE)[:, 0] for p in (face(), face() + step))
    column = torch.arange(64.0)
    centre = [float((m * column).sum() / m.sum()) for m in (here, there)]
    assert centre[1] - centre[0] == pytest.approx(0.25, abs=0.01)


def test_maps_of_a_batch_are_those_of_its_samples_and_nan_stays_in_its_row() -> None:
    batch = torch.cat((face(), face(x=0.2), face(scale=1 / 8)))
    batch[1, 5, 0] = float("nan")
    maps = region_maps(batch, SIZE)
    assert maps[1].isnan().all()
    for i in (0, 2):
        assert torch.equal(maps[i], region_maps(batch[i : i + 1], SIZE)[0])
    assert official_region_maps(batch, 64, "68")[:, 0, 0, 0].isnan().tolist() == [False, True, False]


def test_maps_have_a_gradient_in_x() -> None:
    points = face().requires_grad_()
    maps = region_maps(points, SIZE)
    (maps[:, 0] * torch.linspace(0, 1, 64)).sum().backward()
    assert points.grad is not None
    assert float(points.grad[..., 0].sum()) > 0  # moving the face to the right raises the weighted sum


def test_weights_are_the_papers() -> None:
    maps = torch.rand(2, 9, 4, 4, generator=torch.Generator().manual_seed(1))
    c = maps.unbind(1)
    expected = c[0] + 2 * c[1] + 3 * c[2] + 4 * c[3] + 2 * c[4] + 3 * c[5] + 3 * c[6] + 2 * c[7] + c[8]
    assert torch.allclose(weight_map(maps)[:, 0], expected, atol=1e-5)


# --- alignment --------------------------------------------------------------------------------------------------------


def test_aligning_a_face_with_itself_changes_nothing() -> None:
    image = gradient()
    for warped, points in (align_source(image, face(), face()), warp_parts(image, face(), face())):
        assert torch.allclose(warped, image, atol=2e-3)
        assert torch.allclose(points, face(), atol=1e-5)


def test_a_moved_face_is_followed_by_the_similarity() -> None:
    matrix = torch.tensor([[[0.9, -0.2, 0.1], [0.2, 0.9, -0.05]]])
    driving = transform_points(matrix, face())
    aligned, points = align_source(gradient(), face(), driving)
    assert torch.allclose(points, driving, atol=1e-5)
    back = transform_points(inverse(matrix), identity_grid(*SIZE).reshape(1, -1, 2)).reshape(*SIZE, 2)
    seen = aligned[0, :2].permute(1, 2, 0) * 2 - 1
    inside = (back.abs() < 0.9).all(-1)
    assert inside.float().mean() > 0.6
    assert (seen - back)[inside].abs().max() < 0.01  # exact up to bilinear sampling of a linear picture


def test_the_contour_becomes_the_drivers_and_the_rest_stays() -> None:
    driving = face()
    driving[:, :17, 0] *= 1.2
    aligned, points = align_source(gradient(), face(), driving)
    assert torch.allclose(points[:, :17], driving[:, :17])
    assert torch.allclose(points[:, 17:], face()[:, 17:], atol=1e-5)
    chin = driving[0, 2]
    x, y = normalised_to_pixel(chin, *SIZE).tolist()
    seen = aligned[0, 0, round(y), round(x)] * 2 - 1
    assert float(seen) == pytest.approx(float(face()[0, 2, 0]), abs=0.04)


def test_every_part_moves_by_its_own_similarity() -> None:
    driving = face()
    driving[:, 48:68] += torch.tensor([0.0, 0.08])  # the mouth alone
    driving[:, 36:42] += torch.tensor([-0.04, 0.0])
    warped, points = warp_parts(gradient(), face(), driving)
    assert torch.allclose(points, driving, atol=1e-4)
    x, y = normalised_to_pixel(driving[0, 48:68].mean(0), *SIZE).round().long().tolist()
    seen = warped[0, :2, y, x] * 2 - 1
    assert torch.allclose(seen, identity_grid(*SIZE)[y, x] - torch.tensor([0.0, 0.08]), atol=0.02)
    driving[:, 60:68, 1] *= 1.3  # a part keeps its shape where the driving one has another
    own = moved_parts(face(), driving, SIZE)[0, 31:36]
    assert torch.allclose(own.diff(dim=0), face()[0, 31:36].diff(dim=0), atol=1e-5)


def test_corners_of_the_picture_stay_and_border_is_repeated() -> None:
    image = gradient()
    warped, _ = warp_parts(image, face(), face(scale=1 / 13, x=0.1))
    assert torch.allclose(
        warped[..., [0, 0, -1, -1], [0, -1, 0, -1]], image[..., [0, 0, -1, -1], [0, -1, 0, -1]], atol=0.02
    )
    aligned, _ = align_source(torch.ones(1, 3, *SIZE), face(), face(scale=1 / 20))
    assert torch.allclose(aligned, torch.ones_like(aligned))
    hole, _ = align_source(torch.ones(1, 3, *SIZE), face(), face(scale=1 / 20), border="zeros")
    assert float(hole[0, 0, 0, 0]) == 0


def test_unusable_rows_become_nan_and_leave_the_others_alone() -> None:
    good = face()
    line = good.clone()
    line[..., 1] = 0.5 * line[..., 0]
    point = good * 0
    nan = good.clone()
    nan[0, 3, 1] = float("nan")
    infinite = good.clone()
    infinite[0, 3, 1] = float("inf")
    source = torch.cat((good, line, point, nan, good + 4, infinite, good))
    assert usable(source).tolist() == [True, False, False, False, False, False, True]
    images = gradient().expand(len(source), -1, -1, -1)
    driving = face(x=0.1).expand(len(source), -1, -1)
    for function in (align_source, warp_parts):
        for values in function(images, source, driving):
            assert values.isfinite().flatten(1).all(1).tolist() == usable(source).tolist()
            assert torch.allclose(values[0], values[-1])
        assert torch.equal(function(images, driving, source)[0].isnan().any(3).any(2).any(1), ~usable(source))
    official, _ = align_source(images, source, driving, official=True)
    assert torch.equal(official.isnan().flatten(1).all(1), ~usable(source))


def test_profiles_are_usable() -> None:
    points = torch.from_numpy(face_model().mean[:68])
    angle = np.deg2rad(75.0)
    turned = torch.stack((np.cos(angle) * points[:, 0] + np.sin(angle) * points[:, 2], -points[:, 1]), -1) / 11
    assert usable(turned[None].float() - torch.tensor([0.5, 0.1])).all()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match=r"driving_landmarks has shape \(2, 68, 2\), but 1 images"):
        align_source(gradient(), face(), face().expand(2, -1, -1))
    with pytest.raises(InputError, match="square images"):
        align_source(gradient((64, 48)), face(), face(), official=True)


def test_inverse_undoes_a_similarity() -> None:
    points = face()
    matrix = similarity(points, transform_points(torch.tensor([[[0.5, -0.3, 0.2], [0.3, 0.5, 0.1]]]), points))
    assert torch.allclose(transform_points(inverse(matrix), transform_points(matrix, points)), points, atol=1e-5)
    assert torch.equal(inverse(torch.zeros(1, 2, 3)), torch.zeros(1, 2, 3))


def test_warp_to_brings_the_content_of_a_point_to_its_new_place() -> None:
    source = torch.tensor([[[-0.2, 0.1]]])
    target = torch.tensor([[[0.25, -0.1]]])
    warped = warp_to(gradient(), source, target)
    x, y = normalised_to_pixel(target[0, 0], *SIZE).round().long().tolist()
    assert torch.allclose(warped[0, :2, y, x] * 2 - 1, source[0, 0], atol=0.04)


# --- fixed fusion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 256])
def test_fixed_mask_is_skin_inside_both_faces(size: int) -> None:
    mask = fixed_mask(face(), face(x=0.1), (size, size))
    points = face()[0]
    grid = normalised_to_pixel(torch.stack((points[[3, 31]].mean(0), points[[62, 66]].mean(0))), size, size)
    (cheek_x, cheek_y), (mouth_x, mouth_y) = grid.round().long().tolist()
    assert mask[0, 0, cheek_y, cheek_x] > 0.9
    assert mask[0, 0, mouth_y, mouth_x] < 0.1
    outside = region_maps(face(), (size, size))[:, :1] == 0
    assert float(mask[outside].max()) < 1e-3
    assert 0 <= float(mask.min()) <= float(mask.max()) <= 1


def test_fixed_fusion_is_the_released_blend() -> None:
    generated, warped = torch.zeros(1, 3, *SIZE), torch.ones(1, 3, *SIZE)
    fused, mask = fixed_fusion(generated, warped, face(), face())
    assert torch.allclose(fused, 0.9 * mask.expand_as(fused), atol=1e-6)
    assert torch.equal(fused[..., 0, 0], generated[..., 0, 0])
    assert torch.allclose(fixed_fusion(generated, warped, face(), face(), ratio=1.0)[0], generated)


# --- the source's shape in the driving landmarks ----------------------------------------------------------------------


def test_personalised_landmarks_take_the_sources_shape_only() -> None:
    model = face_model()
    wide, narrow = (np.zeros((1, len(model.identity))) for _ in range(2))
    wide[0, 1], narrow[0, 1] = 2.0, -2.0
    expression = np.zeros((1, len(model.expression)))
    expression[0, 0] = 1.5
    smile = [torch.from_numpy(model.points(i, expression)[:, :68, :2] * [1, -1]).float() / 11 for i in (wide, narrow)]
    neutral = torch.from_numpy(model.points(wide, 0 * expression)[:, :68, :2] * [1, -1]).float() / 11
    result = personalised_landmarks(neutral, smile[1], SIZE)
    before, after = ((smile[0] - other).norm(dim=-1).mean() for other in (smile[1], result))
    assert after < 0.7 * before
    assert torch.allclose(personalised_landmarks(neutral, neutral, SIZE), neutral, atol=1e-5)
    lost = personalised_landmarks(torch.cat((neutral, neutral * float("nan"))), smile[1].expand(2, -1, -1), SIZE)
    assert lost.isnan().all(2).all(1).tolist() == [False, True]


def test_personalised_landmarks_are_what_landmark_warp_aims_at() -> None:
    source, driving = face(), face(scale=1 / 13, x=0.1)
    driving[:, :17, 0] *= 1.1
    image = gradient()
    method = LandmarkWarp()
    batch: PairBatch = {
        "source": image,
        "driving": image,
        "same_identity": torch.zeros(1, dtype=torch.bool),
        "source_landmarks": source,
        "driving_landmarks": driving,
    }
    aim = method.reenact(batch).aux["landmarks"]
    assert torch.equal(personalised_landmarks(source, driving, SIZE), aim)
    assert not torch.allclose(aim, driving, atol=1e-3)
