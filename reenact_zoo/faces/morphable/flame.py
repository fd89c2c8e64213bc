"""FLAME (Li et al., SIGGRAPH Asia 2017) 2020 and 2023 Open, from files that the user obtained under FLAME's licence.

Blend skinning follows the published model, with the coefficients of DECA (Feng et al., SIGGRAPH 2021): shape 100,
texture 50, expression 50, pose 6 (global and jaw rotation as axis-angle in radians, FLAME's own convention), camera 3,
light 27 = 236. Without a texture file the albedo is painted by code and has our own texture coefficients instead.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.morphable._atlas import texel_map
from reenact_zoo.faces.morphable._flame_files import (
    FlameArrays,
    LandmarkEmbedding,
    read_embedding,
    read_flame,
    read_texture,
)
from reenact_zoo.faces.morphable._paint import TEXTURE_NAMES, Painter
from reenact_zoo.faces.morphable._people import random_people
from reenact_zoo.faces.morphable._regions import label_skin
from reenact_zoo.faces.morphable.base import CoefficientLayout, HeadModel, Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

NUM_SHAPE, NUM_EXPRESSION, NUM_TEXTURE = 100, 50, 50
_FIRST_EXPRESSION = 300  # FLAME stores 300 identity directions before the expressions
_CM = 100.0
_SKIN_BOTTOM = 0.74


class FlameHead(HeadModel):
    """The ``flame`` head model.

    Args:
        model: FLAME's pickle.
        landmarks: landmark_embedding.npy.
        texture: FLAME_texture.npz, optional.
        contour: sign of the angle that picks the contour's table. The authors' codes disagree: FLAME_PyTorch and smplx
            use minus the head's angle, DECA's class plus, which mirrors the tables.

    Raises:
        InputError: a file is missing or holds something else.
    """

    name = "flame"

    def __init__(
        self,
        model: Path | str | FlameArrays,
        landmarks: Path | str | LandmarkEmbedding,
        texture: Path | str | None = None,
        contour: Literal["flame_pytorch", "deca"] = "flame_pytorch",
    ) -> None:
        arrays = model if isinstance(model, FlameArrays) else read_flame(Path(model))
        self._embedding = landmarks if isinstance(landmarks, LandmarkEmbedding) else read_embedding(Path(landmarks))
        self._sign = 1.0 if contour == "deca" else -1.0
        self._texture = read_texture(Path(texture), NUM_TEXTURE) if texture is not None else None
        directions = arrays.shape_directions
        used = np.concatenate(
            [directions[..., :NUM_SHAPE], directions[..., _FIRST_EXPRESSION : _FIRST_EXPRESSION + NUM_EXPRESSION]],
            axis=2,
        )
        num_texture = len(self._texture.directions) if self._texture else len(TEXTURE_NAMES)
        self.layout = CoefficientLayout(NUM_SHAPE, num_texture, used.shape[2] - NUM_SHAPE, 6, 3, 27)
        self.template = _float(arrays.template) * _CM
        self.triangles = torch.from_numpy(arrays.triangles.copy())
        self._directions = _float(used)  # (V, 3, 150)
        self._pose_directions = _float(arrays.pose_directions.reshape(-1, arrays.pose_directions.shape[2]).T)
        self._regressor, self._weights = _float(arrays.joint_regressor), _float(arrays.weights)
        self._parents = arrays.parents.tolist()
        self._set_landmarks()
        self._label(arrays)
        self._painters: dict[int, Painter] = {}

    def _set_landmarks(self) -> None:
        e = self._embedding
        self._static = self.triangles[torch.from_numpy(e.static_faces)], _float(e.static_weights)
        self._dynamic = self.triangles[torch.from_numpy(e.dynamic_faces)], _float(e.dynamic_weights)

    def _label(self, arrays: FlameArrays) -> None:
        """Regions from geometry; the atlas from the texture file or by projection."""
        points = arrays.template * _CM
        at_rest = self.landmarks(self.template[None], torch.zeros(1, 6))[0].double().numpy()
        eye = _eyeballs(points, arrays.triangles)
        regions = np.full(len(arrays.triangles), int(Region.SKIN))
        of_triangle = eye[arrays.triangles[:, 0]]
        regions[of_triangle == 1], regions[of_triangle == 2] = Region.EYE_LEFT, Region.EYE_RIGHT
        regions = label_skin(points, arrays.triangles, regions, at_rest)
        self.regions = torch.from_numpy(regions)
        centres, radii = np.zeros((2, 3)), np.ones(2)
        for i in range(2):
            if (eye == i + 1).any():
                centres[i] = points[eye == i + 1].mean(axis=0)
                radii[i] = np.linalg.norm(points[eye == i + 1] - centres[i], axis=1).mean()
        self._guides = at_rest, centres, radii
        if self._texture is not None:
            self.uv, self.uv_triangles = _float(self._texture.uv), torch.from_numpy(self._texture.uv_triangles)
        else:
            uv, uv_triangles = _projected(points, arrays.triangles, of_triangle, centres)
            self.uv, self.uv_triangles = _float(uv), torch.from_numpy(uv_triangles)

    # ------------------------------------------------------------------ geometry

    def vertices(self, shape: Tensor, expression: Tensor, pose: Tensor, eyes: Tensor | None = None) -> Tensor:
        """(B, 100), (B, 50), (B, 6) → (B, V, 3) cm; ``eyes`` (B, 6) axis-angle like the pose, left first, default 0."""
        vertices, _ = self.skin(shape, expression, pose, eyes)
        return vertices

    def skin(
        self, shape: Tensor, expression: Tensor, pose: Tensor, eyes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posed vertices (B, V, 3) and joints (B, J, 3), cm.

        Joints are regressed from the shaped mesh, expression included; the pose feature is R - I of every joint but
        the root; the neck does not bend.
        """
        batch = len(pose)
        eyes = pose.new_zeros(batch, 6) if eyes is None else eyes
        full = torch.cat([pose[:, :3], pose.new_zeros(batch, 3), pose[:, 3:], eyes], dim=1).view(batch, -1, 3)
        rotations = rodrigues(full)
        betas = torch.cat([shape, expression], dim=1)
        shaped = self.template / _CM + torch.einsum("bk,vck->bvc", betas, self._directions)
        joints = torch.einsum("jv,bvc->bjc", self._regressor, shaped)
        feature = (rotations[:, 1:] - torch.eye(3, device=pose.device)).flatten(1)
        posed = shaped + (feature @ self._pose_directions).view_as(shaped)
        rotation, place = self._chain(rotations, joints)
        # A joint's transform takes the joint at rest to its place: x → R (x - j) + p.
        offset = place - (rotation @ joints[..., None]).squeeze(-1)
        blended = torch.einsum("vj,bjmn->bvmn", self._weights, rotation)
        vertices = (blended @ posed[..., None]).squeeze(-1) + torch.einsum("vj,bjm->bvm", self._weights, offset)
        return vertices * _CM, place * _CM

    def _chain(self, rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """World rotations (B, J, 3, 3) and places (B, J, 3) along the skeleton."""
        turned, placed = [rotations[:, 0]], [joints[:, 0]]
        for i, parent in enumerate(self._parents[1:], start=1):
            bone = (joints[:, i] - joints[:, parent])[..., None]
            placed.append(placed[parent] + (turned[parent] @ bone).squeeze(-1))
            turned.append(turned[parent] @ rotations[:, i])
        return torch.stack(turned, dim=1), torch.stack(placed, dim=1)

    def landmarks(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """(B, V, 3) → (B, 68, 3) cm: 17 contour points from the table of the head's angle, then the 51 fixed ones."""
        faces, weights = self._dynamic
        row = contour_row(self.head_rotation(pose), self._sign)
        contour = (
            vertices[torch.arange(len(row), device=row.device)[:, None, None], faces[row]] * weights[row][..., None]
        ).sum(2)
        faces, weights = self._static
        return torch.cat([contour, (vertices[:, faces] * weights[..., None]).sum(2)], dim=1)

    def head_rotation(self, pose: Tensor) -> Tensor:
        """(B, 6) → (B, 3, 3), the global rotation; DECA's coefficients have no neck."""
        return rodrigues(pose[:, None, :3])[:, 0]

    # ------------------------------------------------------------------ appearance

    def albedo(self, texture: Tensor, size: int = 256) -> Tensor:
        """(B, texture) → (B, 3, size, size) in [0, 1]."""
        if self._texture is not None:
            mean, directions = (torch.from_numpy(a).to(texture) for a in (self._texture.mean, self._texture.directions))
            image = (mean + torch.tensordot(texture, directions, dims=1)).movedim(-1, 1)
            return F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False).clamp(0, 1)
        if size not in self._painters:
            arrays = (self.template, self.triangles, self.uv, self.uv_triangles, self.regions)
            points, triangles, uv, uv_triangles, regions = (a.cpu().numpy() for a in arrays)
            texels = texel_map(points.astype(np.float64), triangles, uv.astype(np.float64), uv_triangles, regions, size)
            self._painters[size] = Painter(texels, *self._guides).to(texture.device)
        return self._painters[size](texture)

    def sample(self, generator: torch.Generator, count: int) -> Tensor:
        """``count`` random people at rest → (count, K)."""
        return random_people(self.layout, generator, count)

    def to(self, device: torch.device | str) -> FlameHead:
        """A copy whose tensors are on ``device``."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(other, name, value.to(device))
        other._set_landmarks()
        other._static, other._dynamic = (tuple(t.to(device) for t in pair) for pair in (other._static, other._dynamic))  # type: ignore[assignment]
        other._painters = {size: painter.to(device) for size, painter in self._painters.items()}
        return other


def rodrigues(axis_angle: Tensor) -> Tensor:
    """(B, J, 3) → (B, J, 3, 3); the angle is taken of r + 1e-8, as FLAME's published layers do."""
    angle = (axis_angle + 1e-8).norm(dim=-1, keepdim=True)
    x, y, z = (axis_angle / angle).unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    s, c = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3, device=k.device, dtype=k.dtype) + s * k + (1 - c) * (k @ k)


def contour_row(rotation: Tensor, sign: float) -> Tensor:
    """Head rotations (B, 3, 3) → row (B,) of the contour's table: degrees 0 … 39, then -1 … -39, then all beyond."""
    degrees = torch.rad2deg(torch.atan2(-rotation[:, 2, 0], rotation[:, 0, 0].hypot(rotation[:, 1, 0])))
    angle = (sign * degrees).clamp(max=39).round().long()
    return torch.where(angle >= 0, angle, torch.where(angle < -39, torch.full_like(angle, 78), 39 - angle))


def _eyeballs(points: Array, triangles: Ints) -> Ints:
    """(V,) 1 on the left eyeball, 2 on the right, 0 elsewhere: FLAME's eyeballs are parts of their own."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(points), len(points)))
    _, part = connected_components(graph, directed=False)
    sizes = np.bincount(part)
    result = np.zeros(len(points), dtype=np.int64)
    for number in np.argsort(-sizes, kind="stable")[1:3]:
        if sizes[number] > 50:
            result[part == number] = 1 if points[part == number, 0].mean() > 0 else 2
    return result


def _projected(points: Array, triangles: Ints, eye: Ints, centres: Array) -> tuple[Array, Ints]:
    """Atlas by code: the skin unrolled about the vertical axis, both eyes on one polar chart; one uv per corner."""
    middle = points.mean(axis=0)
    corners = points[triangles]
    turn = np.arctan2(corners[..., 0] - middle[0], corners[..., 2] - middle[2]) / np.pi
    turn = np.where(
        np.ptp(turn, axis=1, keepdims=True) > 1, np.where(turn < 0, turn + 2, turn), turn
    )  # across the back
    height = (points[:, 1].max() - corners[..., 1]) / np.ptp(points[:, 1])
    uv = np.stack([(turn + 1.0) / 3.0, 0.005 + (_SKIN_BOTTOM - 0.01) * height], axis=-1)
    for side in (1, 2):
        away = corners[eye == side] - centres[side - 1]
        tilt = np.arccos(np.clip(away[..., 2] / np.maximum(np.linalg.norm(away, axis=-1), 1e-9), -1, 1)) / np.pi
        around = np.arctan2(away[..., 1], away[..., 0])
        chart = 0.5 + 0.48 * (tilt**0.7)[..., None] * np.stack([np.cos(around), -np.sin(around)], axis=-1)
        uv[eye == side] = chart * (0.25, 0.99 - _SKIN_BOTTOM) + (0.0, _SKIN_BOTTOM)
    return uv.reshape(-1, 2), np.arange(3 * len(triangles)).reshape(-1, 3)


def _float(array: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
