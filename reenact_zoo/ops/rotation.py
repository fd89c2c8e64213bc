"""Rotations: Euler angles of a head, matrices, axis-angle vectors, and the angle between two rotations.

Axes as in model and camera space: x to the right of the image, y up, z towards the camera. A head's rotation is
R = Ry(yaw) @ Rx(-pitch) @ Rz(roll), angles in degrees in the order (yaw, pitch, roll):
yaw > 0 turns the nose to image right, pitch > 0 lifts it, roll > 0 tilts the top of the head to image left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def matrix_from_euler(angles_deg: Tensor) -> Tensor:
    """(…, 3) yaw, pitch, roll in degrees → (…, 3, 3) rotation matrices."""
    _check(angles_deg, (3,), "angles_deg")
    yaw, pitch, roll = torch.deg2rad(angles_deg).unbind(-1)
    cy, sy, cp, sp, cr, sr = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), roll.cos(), roll.sin()
    # Ry(yaw) @ Rx(-pitch) @ Rz(roll), multiplied out
    rows = (
        (cy * cr - sy * sp * sr, -cy * sr - sy * sp * cr, sy * cp),
        (cp * sr, cp * cr, sp),
        (-sy * cr - cy * sp * sr, sy * sr - cy * sp * cr, cy * cp),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def euler_from_matrix(matrix: Tensor) -> Tensor:
    """(…, 3, 3) → (…, 3) yaw in (-180, 180], pitch in [-90, 90], roll in (-180, 180], degrees.

    At pitch = ±90° only yaw ± roll is determined; roll is then reported as 0.
    """
    _check(matrix, (3, 3), "matrix")
    cos_pitch = torch.hypot(matrix[..., 1, 0], matrix[..., 1, 1])
    locked = cos_pitch < 1e-6
    pitch = torch.atan2(matrix[..., 1, 2], cos_pitch)
    yaw = torch.where(
        locked,
        torch.atan2(-matrix[..., 2, 0], matrix[..., 0, 0]),
        torch.atan2(matrix[..., 0, 2], matrix[..., 2, 2]),
    )
    roll = torch.where(locked, torch.zeros_like(yaw), torch.atan2(matrix[..., 1, 0], matrix[..., 1, 1]))
    return torch.rad2deg(torch.stack((yaw, pitch, roll), dim=-1))


def matrix_from_axis_angle(vector: Tensor) -> Tensor:
    """(…, 3) axis times angle in radians (FLAME's pose vectors) → (…, 3, 3), by Rodrigues' formula; smooth at zero."""
    _check(vector, (3,), "vector")
    squared = vector.square().sum(-1)
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)  # keeps the unused branch free of 0 / 0 in backward
    angle = safe.sqrt()
    a = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    skew = _skew(vector)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + a[..., None, None] * skew + b[..., None, None] * (skew @ skew)


def axis_angle_from_matrix(matrix: Tensor) -> Tensor:
    """(…, 3, 3) → (…, 3) axis times angle in radians, angle in [0, π]; stable near 0 and π (by way of a quaternion)."""
    _check(matrix, (3, 3), "matrix")
    q = _quaternion(matrix)
    q = torch.where(q[..., :1] < 0, -q, q)
    sine = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., :1])
    scale = torch.where(sine < 1e-6, torch.full_like(sine, 2.0), angle / sine.clamp(min=1e-12))
    return scale * q[..., 1:]


def geodesic_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angle in degrees, in [0, 180], of the rotation that leads from ``a`` (…, 3, 3) to ``b`` (…, 3, 3)."""
    _check(a, (3, 3), "a")
    _check(b, (3, 3), "b")
    # ‖A − B‖_F = 2√2 sin(θ/2) and trace(AᵀB) = 4 cos²(θ/2) − 1: the arc cosine alone loses half its digits near 0
    half_sine = (a - b).flatten(-2).norm(dim=-1) / (2 * math.sqrt(2))
    half_cosine = ((a * b).sum((-2, -1)) + 1).clamp(min=1e-12).sqrt() / 2
    return torch.rad2deg(2 * torch.atan2(half_sine, half_cosine))


def _skew(v: Tensor) -> Tensor:
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=-1).reshape(*v.shape, 3)


def _quaternion(m: Tensor) -> Tensor:
    """(…, 3, 3) → (…, 4) w, x, y, z; of four equal forms the one with the largest divisor is taken (Shepperd 1978)."""
    t = m.diagonal(dim1=-2, dim2=-1)
    m00, m11, m22 = t.unbind(-1)
    yz, zx, xy = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    sxy, szx, syz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    forms = torch.stack(
        (
            torch.stack((1 + m00 + m11 + m22, yz, zx, xy), dim=-1),
            torch.stack((yz, 1 + m00 - m11 - m22, sxy, szx), dim=-1),
            torch.stack((zx, sxy, 1 - m00 + m11 - m22, syz), dim=-1),
            torch.stack((xy, szx, syz, 1 - m00 - m11 + m22), dim=-1),
        ),
        dim=-2,
    )
    best = forms.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = forms.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    return torch.nn.functional.normalize(q, dim=-1)


def _check(value: Tensor, tail: tuple[int, ...], name: str) -> None:
    if tuple(value.shape[-len(tail) :]) != tail:
        raise ValueError(f"{name} must end in shape {tail}, got {tuple(value.shape)}")
