"""What both dense heads promise: named expressions, lids, gaze, neck, contour, regions, painted albedo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reenact_zoo.faces.morphable import Region, load_head
from reenact_zoo.faces.morphable._dense import DenseHead, pose_from_rotation
from reenact_zoo.ops.rotation import euler_from_matrix, matrix_from_euler
from reenact_zoo.types import InputError

CHIN, NOSE_TIP = 8, 30
EYE_TOP_BOTTOM = {"R": ((37, 41), (38, 40)), "L": ((43, 47), (44, 46))}


def posed(
    head: DenseHead, shape: Tensor | None = None, pose: dict[str, float] | None = None, **expression: float
) -> Tensor:
    """Vertices (1, V, 3) of one expression; names without a side act on both sides."""
    vertices, _ = _posed(head, shape, pose, expression)
    return vertices


def marks(
    head: DenseHead, shape: Tensor | None = None, pose: dict[str, float] | None = None, **expression: float
) -> Tensor:
    """The 68 landmarks (68, 3) of one expression."""
    vertices, coefficients = _posed(head, shape, pose, expression)
    return head.landmarks(vertices, coefficients)[0]


def _posed(
    head: DenseHead, shape: Tensor | None, pose: dict[str, float] | None, expression: dict[str, float]
) -> tuple[Tensor, Tensor]:
    activation, turn = torch.zeros(1, head.layout.expression), torch.zeros(1, 9)
    for name, value in expression.items():
        names = [name] if name in head.expression_names else [f"{name}_L", f"{name}_R"]
        for each in names:
            activation[0, head.expression_names.index(each)] = value
    for name, value in (pose or {}).items():
        turn[0, head.pose_names.index(name)] = value
    shape = torch.zeros(1, head.layout.shape) if shape is None else shape
    return head.vertices(shape, activation, turn), turn


def aperture(points: Tensor, side: str) -> float:
    """Mean height of an eye's opening, cm; overlapping lids count as open by as much."""
    return float(np.mean([(points[a, 1] - points[b, 1]).abs().item() for a, b in EYE_TOP_BOTTOM[side]]))


def triangles_of(head: DenseHead, *regions: Region) -> Tensor:
    return head.triangles[torch.isin(head.regions, torch.tensor([int(r) for r in regions]))]


def vertices_of(head: DenseHead, *regions: Region) -> Tensor:
    return triangles_of(head, *regions).unique()


def inside_eye(head: DenseHead, vertices: Tensor, side: int) -> Tensor:
    """How deep (cm, positive inside) the outer lid vertices lie in the eyeball's white."""
    lid = torch.from_numpy(np.flatnonzero(head.arrays.lid_of_vertex == side))
    centre = torch.from_numpy(head.arrays.eye_centres[side - 1]).float()
    return head.arrays.eye_radius[side - 1] - (vertices[0, lid] - centre).norm(dim=-1)


def test_layout_is_the_one_of_the_benchmark(ict: DenseHead) -> None:
    sizes = (ict.layout.shape, ict.layout.expression, ict.layout.pose, ict.layout.camera, ict.layout.light)
    assert sizes == (100 + len(ict.style_names), 53, 9, 3, 27)
    assert len(ict.texture_names) == ict.layout.texture
    assert 7_500 <= len(ict.arrays.template) <= 8_500


def test_both_heads_know_the_same_expressions(ict: DenseHead) -> None:
    procedural = load_head("procedural")
    assert isinstance(procedural, DenseHead)
    assert procedural.expression_names == ict.expression_names
    assert procedural.layout.texture == ict.layout.texture


def test_an_open_jaw_lowers_chin_and_lower_lip_and_parts_the_lips(head: DenseHead) -> None:
    rest, opened = marks(head), marks(head, jawOpen=1.0)
    assert opened[CHIN, 1] < rest[CHIN, 1] - 1.5
    assert opened[57, 1] < rest[57, 1] - 1.5
    assert (opened[51] - rest[51]).norm() < 0.5  # the upper lip stays
    assert opened[62, 1] - opened[66, 1] > 1.5
    assert (opened[NOSE_TIP] - rest[NOSE_TIP]).norm() < 0.1


@pytest.mark.parametrize("side", ["L", "R"])
def test_a_blink_closes_its_own_eye_and_no_other(head: DenseHead, side: str) -> None:
    other = "R" if side == "L" else "L"
    generator = torch.Generator().manual_seed(5)
    shapes = head.layout.split(head.sample(generator, 6))["shape"]
    for shape in torch.cat([torch.zeros(1, head.layout.shape), shapes]):
        rest = marks(head, shape[None])
        closed = marks(head, shape[None], **{f"eyeBlink_{side}": 1.0})
        assert aperture(closed, side) < 0.15 * aperture(rest, side)
        assert aperture(closed, other) == pytest.approx(aperture(rest, other), abs=1e-3)


@pytest.mark.parametrize("amount", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("gaze", [0.0, 25.0])
def test_no_lid_goes_into_the_eyeball_on_its_way(head: DenseHead, amount: float, gaze: float) -> None:
    vertices = posed(head, None, {"gaze_yaw": gaze}, eyeBlink=amount)
    for side in (1, 2):
        assert inside_eye(head, vertices, side).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "landmark", "axis", "sign"),
    [
        ("mouthSmile", 48, 1, 1),
        ("mouthFrown", 48, 1, -1),
        ("browOuterUp", 18, 1, 1),
        ("browInnerUp", 21, 1, 1),
        ("browDown", 19, 1, -1),
        ("jawLeft", CHIN, 0, 1),  # to the person's left is to the image's right
        ("jawRight", CHIN, 0, -1),
        ("jawForward", CHIN, 2, 1),
        ("mouthLeft", 57, 0, 1),
        ("mouthRight", 57, 0, -1),
        ("mouthUpperUp", 50, 1, 1),
        ("mouthLowerDown", 58, 1, -1),
        ("mouthPucker", 48, 0, 1),
        ("noseSneer", 31, 1, 1),
        ("eyeLookDown", 37, 1, -1),
        ("eyeWide", 37, 1, 1),
    ],
)
def test_expressions_do_what_their_names_say(head: DenseHead, name: str, landmark: int, axis: int, sign: int) -> None:
    moved = marks(head, **{name: 1.0})[landmark, axis] - marks(head)[landmark, axis]
    assert sign * moved > 0.08


def test_left_is_the_persons_own_left(head: DenseHead) -> None:
    moved = (marks(head, mouthSmile_L=1.0) - marks(head)).norm(dim=1)
    assert marks(head)[54, 0] > 0  # image right
    assert moved[54] > 5 * moved[48]
    for left, right in ((Region.EYE_LEFT, Region.EYE_RIGHT), (Region.BROW_LEFT, Region.BROW_RIGHT)):
        assert head.template[vertices_of(head, left), 0].mean() > 1
        assert head.template[vertices_of(head, right), 0].mean() < -1
    assert head.template[vertices_of(head, Region.EAR_LEFT), 0].min() > 5


def pupil_direction(head: DenseHead, vertices: Tensor, side: int) -> Tensor:
    """Where an eye looks: from its centre to the vertex that lies foremost at rest."""
    ball = np.flatnonzero(head.arrays.eye_of_vertex == side)
    foremost = ball[np.argmax(head.arrays.template[ball, 2])]
    direction = vertices[0, foremost] - torch.from_numpy(head.arrays.eye_centres[side - 1]).float()
    return direction / direction.norm()


def test_gaze_turns_both_eyes_and_vergence_turns_them_inwards(head: DenseHead) -> None:
    rest = [pupil_direction(head, posed(head), side) for side in (1, 2)]
    right = [pupil_direction(head, posed(head, None, {"gaze_yaw": 20.0}), side) for side in (1, 2)]
    up = [pupil_direction(head, posed(head, None, {"gaze_pitch": 15.0}), side) for side in (1, 2)]
    crossed = [pupil_direction(head, posed(head, None, {"vergence": 10.0}), side) for side in (1, 2)]
    for eye in range(2):
        assert torch.rad2deg(torch.atan2(*(right[eye] - 0)[[0, 2]])) - torch.rad2deg(
            torch.atan2(*rest[eye][[0, 2]])
        ) == pytest.approx(20, abs=1)
        assert up[eye][1] > rest[eye][1] + 0.2
    assert crossed[0][0] < rest[0][0] - 0.1
    assert crossed[1][0] > rest[1][0] + 0.1


@pytest.mark.parametrize(("look", "pose"), [("Up", {"gaze_pitch": 25.0}), ("Down", {"gaze_pitch": -25.0})])
def test_look_expressions_and_gaze_are_one_quantity(head: DenseHead, look: str, pose: dict[str, float]) -> None:
    by_expression = posed(head, **{f"eyeLook{look}": 1.0})
    by_pose = posed(head, None, pose)
    assert torch.allclose(by_expression, by_pose, atol=1e-5)
    both_ways = posed(head, None, {"gaze_yaw": 30.0})
    assert torch.allclose(posed(head, eyeLookOut_L=1.0, eyeLookIn_R=1.0), both_ways, atol=1e-5)


def test_lids_follow_a_lowered_gaze(head: DenseHead) -> None:
    assert aperture(marks(head, None, {"gaze_pitch": -25.0}), "L") < 0.8 * aperture(marks(head), "L")


@pytest.mark.parametrize("angles", [(30.0, 0.0, 0.0), (0.0, 20.0, 0.0), (0.0, 0.0, 25.0), (-40.0, 10.0, 15.0)])
def test_the_head_turns_by_the_angles_asked_for_and_the_shoulders_stay(
    head: DenseHead, angles: tuple[float, ...]
) -> None:
    pose = pose_from_rotation(torch.tensor([angles]))
    zero = torch.zeros(1, head.layout.shape), torch.zeros(1, head.layout.expression)
    rest, turned = head.vertices(*zero, torch.zeros(1, 9)), head.vertices(*zero, pose)
    rotation = head.head_rotation(pose)
    assert torch.allclose(euler_from_matrix(rotation)[0], torch.tensor(angles), atol=1e-2)
    skull = torch.from_numpy(np.flatnonzero(head.arrays.bone_weights[:, 2] == 1))
    a, b = rest[0, skull], turned[0, skull]
    assert torch.allclose((a - a.mean(0)) @ rotation[0].mT, b - b.mean(0), atol=1e-3)
    torso = torch.from_numpy(np.flatnonzero(head.arrays.bone_weights[:, 0] == 1))
    assert len(torso) > 50
    assert torch.equal(rest[0, torso], turned[0, torso])


def test_neck_and_head_compose_to_the_rotation_of_the_skull(head: DenseHead) -> None:
    pose = torch.tensor([[25.0, -10.0, 5.0, -15.0, 20.0, 10.0, 0.0, 0.0, 0.0]])
    zero = torch.zeros(1, head.layout.shape), torch.zeros(1, head.layout.expression)
    rest, turned = head.vertices(*zero, torch.zeros(1, 9)), head.vertices(*zero, pose)
    skull = torch.from_numpy(np.flatnonzero(head.arrays.bone_weights[:, 2] == 1))
    a, b = rest[0, skull], turned[0, skull]
    assert torch.allclose((a - a.mean(0)) @ head.head_rotation(pose)[0].mT, b - b.mean(0), atol=1e-3)


def test_signs_of_the_head_angles(head: DenseHead) -> None:
    rest = marks(head)
    assert marks(head, None, {"head_yaw": 20.0})[NOSE_TIP, 0] > rest[NOSE_TIP, 0] + 1
    assert marks(head, None, {"head_pitch": 20.0})[NOSE_TIP, 1] > rest[NOSE_TIP, 1] + 1
    assert marks(head, None, {"head_roll": 20.0})[27, 0] < rest[27, 0] - 0.5
    assert marks(head, None, {"neck_yaw": 20.0})[NOSE_TIP, 0] > rest[NOSE_TIP, 0] + 1


def test_the_contour_slides_to_the_silhouette_on_the_far_side_only(head: DenseHead) -> None:
    vertices, pose = _posed(head, None, {"head_yaw": 25.0, "neck_yaw": 15.0}, {})
    contour = head.landmarks(vertices, pose)[0, :17]
    fixed = vertices[0, torch.from_numpy(head.arrays.landmark_vertices[:17])]
    face = vertices[0, vertices_of(head, Region.SKIN)]
    for i in (13, 14, 15):  # the image's right side turns away
        level = (face[:, 1] - contour[i, 1]).abs() < 0.4
        outline = face[level & (face[:, 2] > 0), 0].max()
        assert contour[i, 0] > fixed[i, 0] - 0.02
        assert outline - contour[i, 0] < 0.6
    assert torch.allclose(contour[1:4], fixed[1:4], atol=0.6)
    rest = marks(head)
    at_rest = head.template[torch.from_numpy(head.arrays.landmark_vertices)]
    assert (rest - at_rest)[:, :2].norm(dim=1).max() < 1.0  # in the picture; depth may differ along the jaw


def test_landmarks_lie_on_their_features(head: DenseHead) -> None:
    points = marks(head)

    def near(indices: range, *regions: Region) -> float:
        surface = head.template[vertices_of(head, *regions)]
        return float(torch.cdist(points[list(indices)], surface).min(dim=1).values.max())

    assert near(range(17, 22), Region.BROW_RIGHT) < 0.6
    assert near(range(22, 27), Region.BROW_LEFT) < 0.6
    assert near(range(27, 36), Region.NOSE) < 0.5
    assert near(range(36, 42), Region.EYE_RIGHT) < 0.6
    assert near(range(42, 48), Region.EYE_LEFT) < 0.6
    assert near(range(48, 68), Region.LIPS_UPPER, Region.LIPS_LOWER) < 0.35
    assert points[0, 0] < points[4, 0] < points[8, 0] < points[12, 0] < points[16, 0]
    assert points[CHIN, 1] == points[:, 1].min()


def test_every_region_is_there_and_where_it_belongs(head: DenseHead) -> None:
    present = set(head.regions.unique().tolist())
    assert present == set(range(16))
    middle = {r: head.template[vertices_of(head, r)].mean(0) for r in map(Region, sorted(present))}
    assert middle[Region.HAIR][1] > middle[Region.NOSE][1] > middle[Region.LIPS_UPPER][1] > middle[Region.LIPS_LOWER][1]
    assert middle[Region.LIPS_LOWER][1] > middle[Region.NECK][1] > middle[Region.CLOTHES][1]
    assert middle[Region.TEETH][2] < middle[Region.LIPS_UPPER][2]


def test_the_eyes_of_a_mesh_face_outwards(head: DenseHead) -> None:
    for side, region in ((1, Region.EYE_LEFT), (2, Region.EYE_RIGHT)):
        a, b, c = head.template[triangles_of(head, region)].unbind(1)
        normal = torch.linalg.cross(b - a, c - a)
        outward = (a + b + c) / 3 - torch.from_numpy(head.arrays.eye_centres[side - 1]).float()
        real = normal.norm(dim=1) > 1e-6
        assert ((normal * outward).sum(1)[real] > 0).float().mean() > 0.99


def test_mixing_takes_identity_from_the_source_and_motion_from_the_driver(head: DenseHead) -> None:
    people = head.sample(torch.Generator().manual_seed(1), 2)
    parts = head.layout.split(people)
    parts["expression"][:] = torch.rand(2, head.layout.expression)
    parts["pose"][:] = torch.randn(2, 9)
    parts["camera"][:] = torch.randn(2, 3)
    people = head.layout.join(**parts)
    mixed = head.layout.split(head.layout.mix(people[:1], people[1:]))
    for name in ("shape", "texture", "light"):
        assert torch.equal(mixed[name], parts[name][:1])
    for name in ("expression", "pose", "camera"):
        assert torch.equal(mixed[name], parts[name][1:])


def test_sampling_and_building_are_deterministic(head: DenseHead) -> None:
    a, b = (head.sample(torch.Generator().manual_seed(3), 4) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a[0], a[1])
    texture = head.layout.split(a)["texture"]
    assert torch.equal(head.albedo(texture, 64), head.albedo(texture, 64))


def test_rebuilding_the_procedural_head_gives_the_same_arrays() -> None:
    from reenact_zoo.faces.morphable import procedural

    first = procedural._arrays().asdict()
    procedural._arrays.cache_clear()
    second = procedural._arrays().asdict()
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name


def test_rows_of_a_batch_do_not_influence_each_other_and_gradients_are_finite(head: DenseHead) -> None:
    people = head.sample(torch.Generator().manual_seed(2), 3)
    parts = head.layout.split(people)
    parts["expression"][:] = 0.5 * torch.rand(3, head.layout.expression)
    parts["pose"][:] = 5 * torch.randn(3, 9)
    inputs = [parts[name].clone().requires_grad_() for name in ("shape", "expression", "pose")]
    together = head.vertices(*inputs)
    alone = head.vertices(*(x[1:2] for x in inputs))
    assert torch.allclose(together[1:2], alone, atol=1e-4)
    head.landmarks(together, inputs[2]).square().mean().backward()
    for x in inputs:
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert x.grad.abs().sum() > 0


def test_a_copy_on_another_device_is_the_same_head(head: DenseHead) -> None:
    copied = head.to("cpu")
    assert torch.equal(copied.template, head.template)
    meta = head.to("meta")
    assert meta.template.is_meta
    assert not head.template.is_meta


def test_euler_helper_splits_a_turn_between_neck_and_head() -> None:
    asked = torch.tensor([[35.0, -12.0, 8.0]])
    pose = pose_from_rotation(asked, torch.tensor([[1.0, 2.0, 3.0]]))
    assert torch.allclose(pose[:, 6:], torch.tensor([[1.0, 2.0, 3.0]]))
    neck, top = matrix_from_euler(pose[:, 3:6]), matrix_from_euler(pose[:, :3])
    assert torch.allclose(neck @ top, matrix_from_euler(asked), atol=1e-4)
    assert pose[0, 3].abs() < pose[0, 0].abs()


def test_an_unknown_head_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'procedural'"):
        load_head("procedual")
