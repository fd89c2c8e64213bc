"""A small linear 3-D face fitted to 68 landmarks: separates head pose, face shape and expression.

Symbols: X = mean + Σ c_k M_k (points in cm; x right, y up, z towards the camera), image point u = s P R X + t with the
scaled orthographic projection P; u in pixels with y up. The modes M_k (identity, then expression) are principal modes
of ICT-FaceKit (MIT licence; bundled/landmark_model, made by benchmarks/make_landmark_model.py): c ~ N(0, 1) a priori.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.ops.coordinates import normalised_to_pixel, pixel_to_normalised

Array = NDArray[np.float64]

LANDMARKS = 68
NOISE_CM = 0.2  # of one landmark in the image: instrument plus what the modes cannot say
CONTOUR_WEIGHT = 0.15  # points 0-16 slide along the visible outline, so they say little about depth and pose
MIN_FACE_PX = 4.0  # landmarks that span less cannot be told from a point
ITERATIONS = 4  # further ones move the landmarks by less than 0.1 mm


@dataclass(frozen=True)
class Pose:
    """How the head lies in the image: u = scale * P @ rotation @ X + shift.

    Attributes:
        scale: (B,) px per cm.
        rotation: (B, 3, 3).
        shift: (B, 2) px, y up.
    """

    scale: Array
    rotation: Array
    shift: Array

    def project(self, points: Array) -> tuple[Array, Array]:
        """Points (B, P, 3) cm → image points (B, P, 2) px, y up, and nearness (B, P) cm."""
        turned = points @ self.rotation.transpose(0, 2, 1)
        return self.scale[:, None, None] * turned[..., :2] + self.shift[:, None], turned[..., 2]

    @property
    def roll(self) -> Array:
        """(B,) rotation in the image plane, rad, counter-clockwise: where the head's own up-axis points."""
        return np.arctan2(-self.rotation[:, 0, 1], self.rotation[:, 1, 1])


@dataclass(frozen=True)
class Fit:
    """Pose and coefficients: identity (B, KI) and expression (B, KE), standard normal a priori."""

    pose: Pose
    identity: Array
    expression: Array


@dataclass(frozen=True)
class FaceModel:
    """Mean (P, 3) and modes (K, P, 3); the first 68 points are the landmarks, the others lie on cheeks and forehead."""

    mean: Array
    identity: Array
    expression: Array

    def points(self, identity: Array, expression: Array) -> Array:
        """(B, KI), (B, KE) → (B, P, 3) cm."""
        return self.mean + np.tensordot(identity, self.identity, 1) + np.tensordot(expression, self.expression, 1)

    def fit(self, landmarks: Array) -> Fit:
        """Landmarks (B, 68, 2) px, y up → most probable pose and coefficients, by Gauss-Newton from a rigid start."""
        weights = np.ones(LANDMARKS)
        weights[:17] = CONTOUR_WEIGHT
        pose = _rigid(self.mean[:LANDMARKS], landmarks, weights)
        modes = np.concatenate((self.identity, self.expression))
        coefficients = np.zeros((len(landmarks), len(modes)))
        for _ in range(ITERATIONS):
            pose, coefficients = self._step(landmarks, weights, pose, modes, coefficients)
        count = len(self.identity)
        return Fit(pose, coefficients[:, :count], coefficients[:, count:])

    def _step(
        self, landmarks: Array, weights: Array, pose: Pose, modes: Array, coefficients: Array
    ) -> tuple[Pose, Array]:
        batch, count = coefficients.shape
        points = self.mean[:LANDMARKS] + np.tensordot(coefficients, modes[:, :LANDMARKS], 1)
        turned = points @ pose.rotation.transpose(0, 2, 1)
        scale = pose.scale[:, None, None]
        x, y, z = scale[..., 0] * turned[..., 0], scale[..., 0] * turned[..., 1], scale[..., 0] * turned[..., 2]
        one, nil = np.ones_like(x), np.zeros_like(x)
        # columns: log scale, small rotation (ω × RX), shift; one block for u_x and one for u_y
        rigid = np.stack(
            (np.stack((x, nil, z, -y, one, nil), -1), np.stack((y, -z, nil, x, nil, one), -1)), 2
        )  # (B, 68, 2, 6)
        flexible = scale[..., None] * np.einsum("bij,kpj->bpik", pose.rotation[:, :2], modes[:, :LANDMARKS])
        jacobian = np.concatenate((rigid, flexible), -1).reshape(batch, 2 * LANDMARKS, 6 + count)
        residual = (landmarks - np.stack((x, y), -1) - pose.shift[:, None]).reshape(batch, -1, 1)
        precision = np.repeat(weights, 2)[None, :, None] / (pose.scale[:, None, None] * NOISE_CM) ** 2
        transposed = (jacobian * precision).transpose(0, 2, 1)
        prior = np.concatenate((np.zeros(6), np.ones(count)))
        gradient = (transposed @ residual)[..., 0]
        gradient[:, 6:] -= coefficients
        step = np.linalg.solve(transposed @ jacobian + np.diag(prior), gradient[..., None])[..., 0]
        moved = Pose(
            pose.scale * np.exp(np.clip(step[:, 0], -0.5, 0.5)),
            _rotation(np.clip(step[:, 1:4], -0.5, 0.5)) @ pose.rotation,
            pose.shift + step[:, 4:6],
        )
        return moved, coefficients + step[:, 6:]


@cache
def face_model() -> FaceModel:
    """The bundled model; read once."""
    path = files("reenact_zoo") / "bundled" / "landmark_model" / "landmark_model.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        return FaceModel(**{name: arrays[name].astype(np.float64) for name in ("mean", "identity", "expression")})


@dataclass(frozen=True)
class Face:
    """Landmarks (B, 68, 2) px, y down, and what was fitted to them; rows without a face hold a stand-in."""

    landmarks: Array
    fit: Fit
    found: NDArray[np.bool_]


def fit_face(landmarks: Tensor, size: tuple[int, int]) -> Face:
    """Normalised landmarks (B, 68, 2) of an image of ``size`` (H, W) → the fitted face; NaN or tiny rows: not found."""
    points = normalised_to_pixel(landmarks.detach().double().cpu(), *size).numpy()
    found = np.isfinite(points).all((1, 2))
    found[found] = np.ptp(points[found], axis=1).min(-1) >= MIN_FACE_PX
    stand_in = 8 * face_model().mean[:LANDMARKS, :2] * [1, -1] + [size[1] / 2, size[0] / 2]
    points = np.where(found[:, None, None], points, stand_in)
    return Face(points, face_model().fit(turned_over(points)), found)


def with_shape_of(source: Face, driving: Face, keep_identity: float = 1.0) -> Array:
    """The driving landmarks (B, 68, 2) px, moved by what the difference in face shape makes under the driving pose."""
    pose = driving.fit.pose
    difference = keep_identity * (source.fit.identity - driving.fit.identity)
    shape = np.tensordot(difference, face_model().identity[:, :LANDMARKS], 1)
    moved = pose.scale[:, None, None] * (shape @ pose.rotation.transpose(0, 2, 1))[..., :2]
    return driving.landmarks + turned_over(moved)


def personalised_landmarks(source_landmarks: Tensor, driving_landmarks: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the driving face's landmarks would lie if its shape were the source's; pose and expression stay.

    Args:
        source_landmarks: (B, 68, 2) normalised; both images have ``size``.
        driving_landmarks: (B, 68, 2) normalised.
        size: (H, W).

    Returns:
        (B, 68, 2) normalised, of the driving landmarks' type and place, no gradient; NaN rows where either face is
        missing or smaller than ``MIN_FACE_PX``.
    """
    source, driving = fit_face(source_landmarks, size), fit_face(driving_landmarks, size)
    points = pixel_to_normalised(with_shape_of(source, driving), *size)
    points[~(source.found & driving.found)] = np.nan
    return torch.from_numpy(points).to(driving_landmarks)


def turned_over(points: Array) -> Array:
    """Turn the y axis round: up ↔ down."""
    return points * [1, -1]


def _rigid(points: Array, landmarks: Array, weights: Array) -> Pose:
    """Scaled orthographic pose of rigid points (N, 3): least-squares affine map, then the nearest rotation."""
    w = weights / weights.sum()
    centre, middle = w @ points, w @ landmarks  # (3,), (B, 2)
    x, u = points - centre, landmarks - middle[:, None]
    covariance = (x * w[:, None]).T @ x
    affine = np.linalg.solve(covariance, (x * w[:, None]).T @ u).transpose(0, 2, 1)  # (B, 2, 3)
    left, values, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.concatenate((rows, np.cross(rows[:, 0], rows[:, 1])[:, None]), 1)
    scale = np.maximum(values.mean(-1), 1e-6)
    shift = middle - scale[:, None] * (rotation[:, :2] @ centre)
    return Pose(scale, rotation, shift)


def _rotation(vector: Array) -> Array:
    """(B, 3) axis times angle → (B, 3, 3), Rodrigues' formula."""
    angle = np.maximum(np.linalg.norm(vector, axis=-1), 1e-12)[:, None, None]
    k = np.zeros((len(vector), 3, 3))
    k[:, 2, 1], k[:, 0, 2], k[:, 1, 0] = (vector / angle[:, 0]).T
    k = k - k.transpose(0, 2, 1)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
