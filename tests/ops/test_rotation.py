import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from reenact_zoo.ops.rotation import (
    axis_angle_from_matrix,
    euler_from_matrix,
    geodesic_deg,
    matrix_from_axis_angle,
    matrix_from_euler,
)


def _angles(count: int = 200) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    limits = torch.tensor([179.0, 89.0, 179.0], dtype=torch.float64)
    return (2 * torch.rand(count, 3, generator=g, dtype=torch.float64) - 1) * limits


def test_signs_are_those_of_the_convention():
    nose, top = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])
    assert (matrix_from_euler(torch.tensor([30.0, 0, 0])) @ nose)[0] > 0.49  # yaw: nose to image right
    assert (matrix_from_euler(torch.tensor([0.0, 30, 0])) @ nose)[1] > 0.49  # pitch: nose up
    assert (matrix_from_euler(torch.tensor([0.0, 0, 30])) @ top)[0] < -0.49  # roll: top to image left


def test_euler_matrix_is_scipys_yxz_product():
    angles = _angles()
    signed = (angles * torch.tensor([1.0, -1.0, 1.0])).numpy()
    expected = Rotation.from_euler("YXZ", signed, degrees=True).as_matrix()
    torch.testing.assert_close(matrix_from_euler(angles), torch.from_numpy(expected))


def test_euler_angles_survive_the_round_trip():
    angles = _angles()
    torch.testing.assert_close(euler_from_matrix(matrix_from_euler(angles)), angles)


@pytest.mark.parametrize("pitch", [90.0, -90.0])
def test_gimbal_lock_gives_the_same_rotation_with_zero_roll(pitch):
    matrix = matrix_from_euler(torch.tensor([20.0, pitch, 35.0], dtype=torch.float64))
    angles = euler_from_matrix(matrix)
    assert angles[2] == 0
    torch.testing.assert_close(matrix_from_euler(angles), matrix, atol=1e-7, rtol=0)


def test_axis_angle_agrees_with_scipy_including_small_and_half_turns():
    g = torch.Generator().manual_seed(1)
    axes = torch.nn.functional.normalize(torch.randn(60, 3, generator=g, dtype=torch.float64), dim=-1)
    sizes = torch.cat([torch.logspace(-9, 0, 30), torch.linspace(1, math.pi - 1e-6, 30)]).double()
    vectors = axes * sizes[:, None]
    matrices = matrix_from_axis_angle(vectors)
    torch.testing.assert_close(matrices, torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_matrix()))
    torch.testing.assert_close(axis_angle_from_matrix(matrices), vectors, atol=1e-9, rtol=1e-9)


def test_axis_angle_has_a_finite_gradient_at_zero():
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix_from_axis_angle, vector)


def test_euler_matrix_passes_gradcheck():
    angles = _angles(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: euler_from_matrix(matrix_from_euler(a)), angles)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, 90.0, 179.9, 180.0])
def test_geodesic_is_the_angle_of_the_relative_rotation(angle):
    base = matrix_from_euler(torch.tensor([10.0, -20.0, 30.0], dtype=torch.float64))
    axis = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64), dim=0)
    turned = base @ matrix_from_axis_angle(axis * math.radians(angle))
    assert geodesic_deg(base, turned).item() == pytest.approx(angle, abs=1e-4)  # 1e-4: the clamp at half a turn


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="angles_deg must end in shape"):
        matrix_from_euler(torch.zeros(4))
