"""What the bundled instruments learn from: crops whose truth moves with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable._dense import DenseHead, pose_from_rotation
from reenact_zoo.faces.renderer import Camera
from reenact_zoo.faces.synthetic_crop import face_matrices, points_to_crop
from reenact_zoo.ops.rotation import matrix_from_euler
from reenact_zoo.train.instruments.appearance import Strength, changed, filmed
from reenact_zoo.train.instruments.batches import (
    MIRRORED_CLASSES,
    MIRRORED_POINTS,
    Batcher,
    Cut,
    mirrored_actions,
    mirrored_expression,
    turned_rotation,
)
from reenact_zoo.train.instruments.expression_code import (
    displacement_gram,
    expression_basis,
    face_vertices,
    face_width_cm,
    leading_root,
)

SIZE = 96
STILL = Strength(0, 0, 0, 0)
EXACT = Cut(face_matrices, noise=0, shift=0, scale=0, turn_deg=0, mirror=False)


@pytest.fixture(scope="module")
def head() -> DenseHead:
    model = load_head("procedural")
    assert isinstance(model, DenseHead)
    return model


def landmarks(head: DenseHead, rotation_deg: Tensor, expression: Tensor) -> Tensor:
    """(B, 68, 2) normalised, of the mean person under a parallel camera."""
    pose = pose_from_rotation(rotation_deg)
    shape = torch.zeros(len(pose), head.layout.shape)
    points = head.landmarks(head.vertices(shape, expression, pose), pose)
    camera = Camera(head, "weak")
    return camera.project(camera.centred(points), torch.zeros(len(pose), 3))[..., :2]


def records(head: DenseHead, count: int = 6) -> dict[str, Tensor]:
    """Noise in place of pictures, with true points, rotations and expressions."""
    generator = torch.Generator().manual_seed(3)
    rotation = torch.tensor([30.0, 12.0, 10.0]) * torch.randn(count, 3, generator=generator)
    expression = torch.rand(count, 53, generator=generator) * 0.3
    pictures = torch.randint(256, (count, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    return {
        "premultiplied": pictures,
        "matte": torch.full((count, SIZE, SIZE), 255, dtype=torch.uint8),
        "labels": torch.randint(19, (count, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        "landmarks": landmarks(head, rotation, expression),
        "rotation_deg": rotation,
        "expression": expression,
        "person": torch.arange(count),
    }


SCENES = torch.full((3, 3, SIZE, SIZE), 128, dtype=torch.uint8)


def test_mirrored_indices_are_their_own_inverse(head: DenseHead) -> None:
    for order in (MIRRORED_POINTS, mirrored_actions(head.expression_names), MIRRORED_CLASSES):
        assert order[order].tolist() == list(range(len(order)))


def test_a_mirrored_face_has_mirrored_points_rotation_and_expression(head: DenseHead) -> None:
    data = records(head)
    batcher = Batcher(data, SCENES, replace(EXACT, mirror=True), STILL, seed=6)
    batch = batcher.take(torch.arange(6))
    assert 0 < batch.mirrored.sum() < 6
    rotation = turned_rotation(matrix_from_euler(data["rotation_deg"]), batch)
    sign = torch.where(batch.mirrored[:, None], torch.tensor([-1.0, 1.0, -1.0]), torch.ones(3))
    torch.testing.assert_close(rotation, matrix_from_euler(data["rotation_deg"] * sign), atol=1e-5, rtol=0)
    expression = mirrored_expression(data["expression"], batch, mirrored_actions(head.expression_names))
    again = landmarks(head, data["rotation_deg"] * sign, expression)
    # in units of the crop both must agree up to the crop's own place, which depends on the points alone
    px = ((again + 1) * SIZE - 1) / 2
    expected = points_to_crop(px, face_matrices(px))
    assert (batch.points - expected).abs().max() < 0.03  # the head is symmetric to about a millimetre


def test_a_turned_crop_has_a_turned_rotation(head: DenseHead) -> None:
    data = records(head)
    batch = Batcher(data, SCENES, replace(EXACT, turn_deg=25), STILL, seed=2).take(torch.arange(6))
    assert batch.turned_deg.abs().max() > 10
    turned = turned_rotation(matrix_from_euler(data["rotation_deg"]), batch)
    straight = Batcher(data, SCENES, EXACT, STILL).take(torch.arange(6))
    # the tip of the nose relative to the root, as a vector of the picture, turns by the same angle as the head
    nose = [b.points[:, 30] - b.points[:, 27] for b in (straight, batch)]
    angle = torch.deg2rad(batch.turned_deg)
    x, y = nose[0][:, 0], -nose[0][:, 1]  # y up
    expected = torch.stack([angle.cos() * x - angle.sin() * y, -(angle.sin() * x + angle.cos() * y)], 1)
    torch.testing.assert_close(nose[1], expected, atol=1e-4, rtol=0)
    up = turned @ torch.tensor([0.0, 1.0, 0.0])
    before = matrix_from_euler(data["rotation_deg"]) @ torch.tensor([0.0, 1.0, 0.0])
    leaned = torch.rad2deg(torch.atan2(before[:, 0], before[:, 1]) - torch.atan2(up[:, 0], up[:, 1]))
    torch.testing.assert_close(leaned, batch.turned_deg, atol=1e-2, rtol=0)


def test_the_picture_moves_with_its_points(head: DenseHead) -> None:
    data = records(head)
    data["premultiplied"].zero_()
    for row, points in enumerate(((data["landmarks"] + 1) * SIZE - 1) / 2):
        x, y = points[30].round().long().tolist()
        data["premultiplied"][row, y - 1 : y + 2, x - 1 : x + 2] = 255  # a white nose tip
    cut = Cut(face_matrices, noise=0.03, shift=0.1, scale=0.2, turn_deg=25, mirror=True)
    batch = Batcher(data, SCENES, cut, STILL, seed=4).take(torch.arange(6))
    brightest = batch.crops[:, 0].flatten(1).argmax(1)
    found = torch.stack([brightest % 64, brightest // 64], 1)
    nose = ((batch.points[:, 30] + 1) * 64 - 1) / 2
    assert (found - nose).abs().max() < 3


def test_mirrored_labels_change_sides(head: DenseHead) -> None:
    data = records(head)
    data["labels"].fill_(4)
    data["labels"][:, :, : SIZE // 2] = 5
    batch = Batcher(data, SCENES, replace(EXACT, mirror=True), STILL, seed=1).take(torch.arange(6), labels=True)
    assert batch.labels is not None
    for labels in batch.labels:
        assert labels[32, 8] == 5, "the eye at image left stays the right one, mirrored or not"
        assert labels[32, -8] == 4


def test_reused_crops_keep_their_truth_and_are_repeatable(head: DenseHead) -> None:
    first, second = (Batcher(records(head), SCENES, Cut(face_matrices), seed=5) for _ in range(2))
    for _ in range(7):
        a, b = first.draw(4), second.draw(4)
        torch.testing.assert_close(a.crops, b.crops)
        assert len(a.rows) == len(a.crops) == len(a.points) == 4
        # points must lie where the matrix of the same row puts the record's own landmarks
        px = ((first.records["landmarks"][a.rows] + 1) * SIZE - 1) / 2
        there = points_to_crop(px, a.matrices)
        flipped = there[:, MIRRORED_POINTS] * torch.tensor([-1.0, 1.0])
        torch.testing.assert_close(a.points, torch.where(a.mirrored[:, None, None], flipped, there))


def test_appearance_changes_pictures_and_stays_in_range() -> None:
    crops = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        out = changed(crops, crops, Strength(), generator)
        assert out.shape == crops.shape
        assert 0 <= float(out.min()) <= float(out.max()) <= 1
        assert (out - crops).abs().mean() > 0.02
    none: Any = filmed(crops, 0.0, generator)
    torch.testing.assert_close(none, crops)


def test_expression_distance_is_the_movement_of_the_face(head: DenseHead) -> None:
    vertices, width = face_vertices(head), face_width_cm(head)
    directions = head.arrays.expression_directions
    root = leading_root(displacement_gram(directions, vertices, width), len(directions))
    a, b = torch.rand(2, 53, generator=torch.Generator().manual_seed(0))
    moved = torch.einsum("e,evc->vc", a - b, torch.from_numpy(directions[:, vertices]))
    expected = 100 / width * moved.square().sum(-1).mean().sqrt()
    torch.testing.assert_close((root @ (a - b)).norm(), expected, rtol=1e-3, atol=0)
    leading = expression_basis(head, 20)
    assert leading.shape == (20, 53)
    assert 0.9 * expected < (leading @ (a - b)).norm() <= expected * 1.0001
