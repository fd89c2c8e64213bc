from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.faces import synthetic_crop
from reenact_zoo.faces.align import similarity, warp_crop
from reenact_zoo.faces.networks.synthetic_coefficients import OUTPUTS, SyntheticCoefficients
from reenact_zoo.faces.networks.synthetic_embedding import SyntheticIdentityJudge, SyntheticIdentityTrain
from reenact_zoo.faces.networks.synthetic_features import SyntheticFeatures
from reenact_zoo.faces.networks.synthetic_landmarks import SyntheticLandmarks
from reenact_zoo.faces.networks.synthetic_motion import CODE, SyntheticMotionJudge, SyntheticMotionTrain
from reenact_zoo.faces.networks.synthetic_parsing import SyntheticParsing
from reenact_zoo.ops.rotation import matrix_from_euler


def faces(count: int = 3, size: int = 96, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random pictures and clouds of 68 points in them, px."""
    generator = torch.Generator().manual_seed(seed)
    points = size / 2 + size / 8 * torch.randn(count, 68, 2, generator=generator)
    return torch.rand(count, 3, size, size, generator=generator), points


def test_a_crop_is_the_affine_crop_of_its_matrix() -> None:
    images, points = faces()
    crops, matrices = synthetic_crop.face_crop(images, points)
    torch.testing.assert_close(crops, warp_crop(images, matrices, 64), atol=1e-5, rtol=0)


def test_no_crop_depends_on_its_neighbours() -> None:
    images, points = faces()
    points[1] = 48 + 4 * (points[1] - 48)  # shrinks by another whole number than the others
    together = synthetic_crop.sample(images, synthetic_crop.head_matrices(points))
    alone = torch.cat([synthetic_crop.head_crop(i[None], p[None])[0] for i, p in zip(images, points)])
    torch.testing.assert_close(together, alone)


def test_face_crop_shows_the_box_in_its_middle() -> None:
    _, points = faces()
    inside = synthetic_crop.points_to_crop(points, synthetic_crop.face_matrices(points))
    low, high = inside.amin(1), inside.amax(1)
    torch.testing.assert_close(low + high, torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close((high - low).amax(1), torch.full((3,), 2 / synthetic_crop.FACE_SCALE))


def test_identity_crop_is_the_least_squares_similarity() -> None:
    _, points = faces()
    matrices = synthetic_crop.identity_matrices(points)
    for cloud, matrix in zip(points.numpy(), matrices.numpy()):
        five = np.stack([cloud[36:42].mean(0), cloud[42:48].mean(0), cloud[30], cloud[48], cloud[54]])
        np.testing.assert_allclose(matrix, similarity(five, synthetic_crop._template().numpy()), atol=1e-4)


def test_points_and_maps_come_back() -> None:
    images, points = faces()
    matrices = synthetic_crop.head_matrices(points)
    there = synthetic_crop.points_to_crop(points, matrices)
    torch.testing.assert_close(synthetic_crop.points_to_image(there, matrices), points, atol=1e-3, rtol=0)
    size = images.shape[-1]
    ramp = torch.arange(size).float().expand(3, 1, size, size)
    back = synthetic_crop.maps_to_image(synthetic_crop.sample(ramp, matrices), matrices, size, size)
    middle = slice(size // 2 - 8, size // 2 + 8)
    torch.testing.assert_close(back[:, :, middle, middle], ramp[:, :, middle, middle], atol=0.3, rtol=0)


def test_camera_of_the_crop_projects_to_the_crop() -> None:
    _, points = faces()
    matrices = synthetic_crop.face_matrices(points)
    camera = torch.tensor([[0.1, -0.2, 0.15]]).expand(3, 3)
    in_crop = synthetic_crop.camera_to_crop(camera, matrices, frame=96)
    torch.testing.assert_close(synthetic_crop.camera_to_frame(in_crop, matrices, frame=96), camera)
    body = torch.tensor([[0.3, 0.4], [-0.5, 0.1]])  # scaled, then moved, y up: the renderer's rule

    def placed(c: Tensor) -> Tensor:
        return (body * c[:, None, :1].exp() + c[:, None, 1:]) * torch.tensor([1.0, -1.0])

    frame_px = ((placed(camera) + 1) * 96 - 1) / 2
    torch.testing.assert_close(synthetic_crop.points_to_crop(frame_px, matrices), placed(in_crop), atol=1e-5, rtol=0)


def test_crops_are_differentiable_in_the_images() -> None:
    images, points = faces(count=1)
    images.requires_grad_()
    synthetic_crop.identity_crop(images, points).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_networks_answer_in_the_shapes_they_state() -> None:
    crops = torch.rand(2, 3, 64, 64)
    for embedder in (SyntheticIdentityTrain(), SyntheticIdentityJudge()):
        torch.testing.assert_close(embedder.eval()(crops).norm(dim=1), torch.ones(2))
    for motion in (SyntheticMotionTrain(), SyntheticMotionJudge()):
        rotation, code = motion.eval().rotation_and_code(crops)
        torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3), atol=1e-5, rtol=0)
        answer = motion(crops)
        torch.testing.assert_close(matrix_from_euler(answer[:, :3]), rotation, atol=1e-4, rtol=0)
        torch.testing.assert_close(answer[:, 3:], code)
        assert code.shape == (2, CODE)
    coefficients, points = SyntheticCoefficients().eval().coefficients_and_points(crops)
    assert coefficients.shape == (2, OUTPUTS)
    assert points.shape == (2, 68, 2)
    assert SyntheticParsing().eval()(crops).shape == (2, 19, 64, 64)
    assert [tuple(m.shape[1:]) for m in SyntheticFeatures().eval()(crops)] == [
        (16, 64, 64),
        (32, 32, 32),
        (64, 16, 16),
        (96, 8, 8),
    ]
    found = SyntheticLandmarks().eval()(crops)
    assert found.points.shape == (2, 68, 2)
    assert found.points.abs().max() < 1
    assert ((found.confidence > 0) & (found.confidence < 1)).all()


def test_a_peak_in_a_heat_map_is_where_the_point_is() -> None:
    network = SyntheticLandmarks()
    maps = torch.zeros(1, 68, 16, 16)
    maps[:, :, 2, 13] = 1
    expected = torch.tensor([(2 * 13 + 1) / 16 - 1, (2 * 2 + 1) / 16 - 1]).expand(1, 68, 2)
    torch.testing.assert_close(network.points(maps.flatten(2)), expected)
