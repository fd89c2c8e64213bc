"""What the heads made of plain arrays share: linear shape and expression, a neck, turning eyes, a sliding contour.

A vertex goes through three steps. Linear directions first (shape, expression); then the eyeballs turn and the lids
are pushed out of them, because a lid vertex on a straight path would cut the ball; last, linear blend skinning over
three bones: the torso stays, the neck turns about its root, the head about the top of the neck.

Pose coefficients (degrees, always yaw, pitch, roll; signs as everywhere: yaw > 0 turns to the image's right,
pitch > 0 lifts, roll > 0 tilts the crown to the image's left):
head yaw, pitch, roll (relative to the neck) · neck yaw, pitch, roll · gaze yaw, pitch (relative to the head),
vergence (each eye turns inwards by that angle).
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.morphable._atlas import TexelMap, texel_map
from reenact_zoo.faces.morphable._outfit import CELLS, outfit
from reenact_zoo.faces.morphable._paint import TEXTURE_NAMES, Painter
from reenact_zoo.faces.morphable._people import dress_people, random_people
from reenact_zoo.faces.morphable._wardrobe import STYLE_NAMES, Wardrobe
from reenact_zoo.faces.morphable._wardrobe_paint import WARDROBE_NAMES, WardrobePainter
from reenact_zoo.faces.morphable.base import CoefficientLayout, HeadModel, Region
from reenact_zoo.ops.rotation import (
    axis_angle_from_matrix,
    euler_from_matrix,
    matrix_from_axis_angle,
    matrix_from_euler,
)

POSE_NAMES = (
    "head_yaw",
    "head_pitch",
    "head_roll",
    "neck_yaw",
    "neck_pitch",
    "neck_roll",
    "gaze_yaw",
    "gaze_pitch",
    "vergence",
)
LOOK_YAW_DEG = 30.0
"""Eyeball rotation that belongs to eyeLookIn or eyeLookOut = 1."""
LOOK_PITCH_DEG = 25.0
"""Eyeball rotation that belongs to eyeLookUp or eyeLookDown = 1."""
NECK_SHARE = 0.35
"""Part of a head turn that the neck takes in ``pose_from_rotation``."""


@dataclass(frozen=True)
class HeadArrays:
    """Everything a dense head is made of; V vertices, F triangles, cm. Saved as one npz."""

    template: NDArray[np.float64]  # (V, 3)
    triangles: NDArray[np.int64]  # (F, 3)
    uv: NDArray[np.float64]  # (U, 2)
    uv_triangles: NDArray[np.int64]  # (F, 3)
    regions: NDArray[np.int64]  # (F,)
    shape_directions: NDArray[np.float32]  # (S, V, 3) per standard deviation
    expression_directions: NDArray[np.float32]  # (E, V, 3) at full activation
    expression_names: NDArray[np.str_]  # (E,)
    landmark_vertices: NDArray[np.int64]  # (68,)
    contour_vertices: NDArray[np.int64]  # (17, N, 3) corners of the triangle under each candidate
    contour_weights: NDArray[np.float64]  # (17, N, 3) barycentric
    contour_outward: NDArray[np.float64]  # (17, 2) unit, in the frontal view
    bone_weights: NDArray[np.float64]  # (V, 3) torso, neck, head; rows sum to 1
    pivots: NDArray[np.float64]  # (2, 3) root of the neck, top of the neck
    eye_of_vertex: NDArray[np.int64]  # (V,) 0 none, 1 left, 2 right eyeball
    lid_of_vertex: NDArray[np.int64]  # (V,) 0 none, 1 left, 2 right: kept outside that eyeball
    lid_gap: NDArray[np.float64]  # (V,) the distance a lid vertex keeps from the eyeball
    eye_centres: NDArray[np.float64]  # (2, 3) left, right
    eye_radius: NDArray[np.float64]  # (2,) of the white's sphere
    cornea: NDArray[np.float64]  # (2,) distance of the cornea's sphere from the eye's centre, its radius

    def asdict(self) -> dict[str, Any]:
        """Arrays by field name, for ``numpy.savez``."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @functools.cached_property
    def rest(self) -> RestHead:
        """The part that texels and masks are made of."""
        return RestHead(self)

    @classmethod
    def fromdict(cls, arrays: Mapping[str, Any]) -> HeadArrays:
        """Inverse of ``asdict``; takes an open npz too."""
        return cls(**{f.name: arrays[f.name] for f in fields(cls)})


class RestHead:
    """Those of ``arrays`` that decide what lies where on the atlas; equal where their contents are."""

    NAMES = ("template", "triangles", "uv", "uv_triangles", "regions", "landmark_vertices", "eye_centres", "eye_radius")

    def __init__(self, arrays: HeadArrays) -> None:
        self.arrays = arrays
        digest = hashlib.sha256()
        for name in self.NAMES:
            digest.update(np.ascontiguousarray(getattr(arrays, name)).tobytes())
        self.digest = digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RestHead) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def texels(self, size: int) -> TexelMap:
        """The head at rest on a (size, size) atlas."""
        a = self.arrays
        return texel_map(a.template, a.triangles, a.uv, a.uv_triangles, a.regions, size)


@functools.lru_cache(maxsize=6)
def _rest_painter(rest: RestHead, size: int) -> Painter:
    """One per process for all heads of the same arrays: it is read only, and takes seconds to make at 512 texels."""
    a = rest.arrays
    return Painter(rest.texels(size), a.template[a.landmark_vertices], a.eye_centres, a.eye_radius)


def pose_from_rotation(rotation_deg: Tensor, gaze_deg: Tensor | None = None) -> Tensor:
    """Head rotation (…, 3) and gaze (…, 3: yaw, pitch, vergence) in degrees → pose coefficients (…, 9).

    The neck takes the share ``NECK_SHARE`` of the turn about the same axis, so neck and head compose exactly to the
    rotation asked for.
    """
    axis_angle = axis_angle_from_matrix(matrix_from_euler(rotation_deg))
    neck, head = _euler(NECK_SHARE * axis_angle), _euler((1 - NECK_SHARE) * axis_angle)
    gaze = torch.zeros_like(head) if gaze_deg is None else gaze_deg
    return torch.cat([head, neck, gaze], dim=-1)


def _euler(axis_angle: Tensor) -> Tensor:
    return euler_from_matrix(matrix_from_axis_angle(axis_angle))


class DenseHead(HeadModel):
    """A head model over ``HeadArrays``; ``procedural`` and ``ict`` are two of them.

    Args:
        arrays: the geometry.

    Attributes (beyond those of ``HeadModel``):
        expression_names, pose_names, texture_names: what each coefficient is, in order.
        template: (V, 3) cm, the mean head at rest. The vertices of ``arrays`` come first, what it wears after them.
        surfaces: (F,) regions whose material the triangles have: a beard belongs to the skin and looks like hair.
        style_names: the last of the shape coefficients, see ``_wardrobe``; none for a bare head.
        blink_closes: part of an eye's opening by which eyeBlink = 1 moves the lids, before they are pushed out of the
            eyeball; over 1 where the upper lid must overlap the lower for no slit to remain.
    """

    blink_closes: float = 1.0
    dressed: bool = True
    """Whether the head has hair, beard, glasses and clothes as geometry, chosen by the last shape coefficients."""

    pose_names: tuple[str, ...] = POSE_NAMES
    texture_names: tuple[str, ...] = TEXTURE_NAMES + WARDROBE_NAMES

    def __init__(self, arrays: HeadArrays) -> None:
        self.arrays = arrays
        self.expression_names = tuple(str(name) for name in arrays.expression_names)
        self.style_names: tuple[str, ...] = STYLE_NAMES if self.dressed else ()
        self.layout = CoefficientLayout(
            shape=len(arrays.shape_directions) + len(self.style_names),
            texture=len(self.texture_names),
            expression=len(arrays.expression_directions),
            pose=len(POSE_NAMES),
            camera=3,
            light=27,
        )
        self._body = _float(arrays.template)
        self.triangles = torch.from_numpy(np.array(arrays.triangles))
        self.uv = _float(arrays.uv)
        self.uv_triangles = torch.from_numpy(np.array(arrays.uv_triangles))
        self.regions = torch.from_numpy(np.array(arrays.regions))
        self._shape = _float(arrays.shape_directions.reshape(len(arrays.shape_directions), -1))
        self._expression = _float(arrays.expression_directions.reshape(self.layout.expression, -1))
        self._landmarks = torch.from_numpy(np.array(arrays.landmark_vertices))
        self._contour = torch.from_numpy(np.array(arrays.contour_vertices))
        self._contour_weights = _float(arrays.contour_weights)
        self._outward = _float(arrays.contour_outward)
        self._bones = _float(arrays.bone_weights)
        self._pivots = _float(arrays.pivots)
        self._centres = _float(arrays.eye_centres)
        self._eyes = [torch.from_numpy(np.flatnonzero(arrays.eye_of_vertex == side)) for side in (1, 2)]
        self._lids = [torch.from_numpy(np.flatnonzero(arrays.lid_of_vertex == side)) for side in (1, 2)]
        self._gaps = [_float(arrays.lid_gap[lid.numpy()])[:, None] for lid in self._lids]
        self._look = self._look_indices()
        self._blink = torch.tensor([self.expression_names.index(f"eyeBlink_{side}") for side in "LR"])
        blink = self._expression[self._blink].unflatten(1, (-1, 3))
        own = torch.arange(2)
        self._blink_travel = -self._opening(blink)[own, own] / self.blink_closes
        self._painters: dict[int, Painter] = {}
        self._wardrobe_painters: dict[int, WardrobePainter] = {}
        self._wardrobe: Wardrobe | None = None
        self.surfaces = self.regions
        if self.dressed:
            self._dress()
        rest = [torch.zeros(1, n) for n in (self.layout.shape, self.layout.expression, self.layout.pose)]
        self.template = self.vertices(*rest)[0]

    def _dress(self) -> None:
        """Append the parts of the wardrobe to the body's triangles."""
        parts, hidden = outfit(self.arrays, CELLS[self.name])
        self._wardrobe = Wardrobe(parts, hidden)
        first, surfaces = len(self.arrays.template), [self.regions]
        for part in parts:
            first_uv = len(self.uv)
            added = torch.from_numpy(np.ascontiguousarray(part.triangles))
            self.triangles = torch.cat([self.triangles, added + first])
            self.uv_triangles = torch.cat([self.uv_triangles, added + first_uv])
            self.uv = torch.cat([self.uv, _float(part.uv)])
            self.regions = torch.cat([self.regions, torch.full((len(added),), int(part.region))])
            surfaces.append(torch.full((len(added),), int(part.region if part.name != "beard" else Region.HAIR)))
            first += part.low.shape[1]
        self.surfaces = torch.cat(surfaces)

    def _look_indices(self) -> Tensor:
        """(2 eyes, 4) positions of eyeLookIn, Out, Up, Down among the expressions."""
        order = [[f"eyeLook{way}_{side}" for way in ("In", "Out", "Up", "Down")] for side in "LR"]
        return torch.tensor([[self.expression_names.index(name) for name in row] for row in order])

    # ------------------------------------------------------------------ geometry

    def vertices(self, shape: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """(B, shape), (B, expression), (B, pose) → (B, V, 3) cm; differentiable.

        eyeLook* coefficients and the gaze of the pose are one quantity: either turns the eyeball and takes the lids
        along, and both together add up.
        """
        identity = shape[:, : len(self._shape)]
        neutral = self._body + (identity @ self._shape).unflatten(-1, (-1, 3))
        gaze = self.gaze(expression, pose)
        activation = self._lids_follow(self._full_blink(expression, neutral), gaze)
        moved = neutral + (activation @ self._expression).unflatten(-1, (-1, 3))
        moved = self._turn_eyes(moved, neutral, gaze)
        bones = self._bones
        if self._wardrobe is not None:
            styles = shape[:, len(self._shape) :]
            worn, worn_bones = self._wardrobe.dress(styles, neutral - self._body, moved - self._body)
            moved = torch.cat([moved, worn], dim=1)
            bones = torch.cat([bones.expand(len(moved), -1, -1), worn_bones], dim=1)
        return self._skin(moved, bones, pose)

    def gaze(self, expression: Tensor, pose: Tensor) -> Tensor:
        """Rotation of the two eyeballs relative to the head, (B, 2 eyes left first, 2: yaw, pitch) in degrees."""
        look = expression[:, self._look]  # (B, 2, 4)
        inwards = look.new_tensor([-1.0, 1.0])  # the left eye's "in" is towards the image's left
        yaw = pose[:, 6:7] + inwards * (pose[:, 8:9] + LOOK_YAW_DEG * (look[..., 0] - look[..., 1]))
        pitch = pose[:, 7:8] + LOOK_PITCH_DEG * (look[..., 2] - look[..., 3])
        return torch.stack([yaw, pitch], dim=-1)

    def _full_blink(self, expression: Tensor, neutral: Tensor) -> Tensor:
        """Expression coefficients with eyeBlink scaled to this person's eyes.

        One linear blink fits the mean head alone: it would leave large eyes ajar and fold small ones over. Here 1 takes
        the lids of everybody ``blink_closes`` of the way.
        """
        opening = self._opening(neutral)
        return expression.index_copy(1, self._blink, expression[:, self._blink] * opening / self._blink_travel)

    def _opening(self, vertices: Tensor) -> Tensor:
        """Heights (B, 2) in cm of the eyes' openings, left eye first, at the lids' four landmarks."""
        lids = vertices[:, self._landmarks[[43, 44, 37, 38, 47, 46, 41, 40]], 1].unflatten(1, (2, 2, 2))
        return (lids[:, 0] - lids[:, 1]).mean(dim=2)

    def _lids_follow(self, expression: Tensor, gaze: Tensor) -> Tensor:
        """Expression coefficients with eyeLook* replaced by what the eyeballs really do."""
        inwards = gaze.new_tensor([-1.0, 1.0])
        yaw, pitch = gaze[..., 0] * inwards / LOOK_YAW_DEG, gaze[..., 1] / LOOK_PITCH_DEG
        look = torch.stack([yaw, -yaw, pitch, -pitch], dim=-1).clamp(min=0)  # (B, 2, 4)
        return expression.index_copy(1, self._look.flatten(), look.flatten(1))

    def _turn_eyes(self, moved: Tensor, neutral: Tensor, gaze: Tensor) -> Tensor:
        rotation = matrix_from_euler(torch.cat([gaze, torch.zeros_like(gaze[..., :1])], dim=-1))  # (B, 2, 3, 3)
        offset, radius = (float(x) for x in self.arrays.cornea)
        for side in range(2):
            eye, lid = self._eyes[side], self._lids[side]
            ball = neutral[:, eye]
            centre, scale = self._ball(ball, side)
            moved = moved.index_copy(1, eye, centre + (ball - centre) @ rotation[:, side].mT)
            axis = rotation[:, side, :, 2].unsqueeze(1)
            gap = self._gaps[side]
            outside = _push_out(moved[:, lid], centre, scale * float(self.arrays.eye_radius[side]) + gap)
            outside = _push_out(outside, centre + scale * offset * axis, scale * radius + gap)
            moved = moved.index_copy(1, lid, outside)
        return moved

    def _ball(self, ball: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Centre (B, 1, 3) and size relative to rest (B, 1, 1) of an eyeball that was moved and scaled."""
        rest = self._body[self._eyes[side]]
        middle, rest_middle = ball.mean(dim=1, keepdim=True), rest.mean(dim=0)
        spread = (ball - middle).norm(dim=-1).mean(dim=1)[:, None, None]
        scale = spread / (rest - rest_middle).norm(dim=-1).mean()
        return middle + scale * (self._centres[side] - rest_middle), scale

    def _skin(self, rest: Tensor, w: Tensor, pose: Tensor) -> Tensor:
        """Linear blend skinning; with R_n, R_h about p_n, p_h the head is p → R_n (R_h (p - p_h) + p_h - p_n) + p_n."""
        neck, head = matrix_from_euler(pose[:, 3:6]), matrix_from_euler(pose[:, 0:3])
        p_neck, p_head = self._pivots
        by_neck = (rest - p_neck) @ neck.mT + p_neck
        by_head = ((rest - p_head) @ head.mT + p_head - p_neck) @ neck.mT + p_neck
        return w[..., 0:1] * rest + w[..., 1:2] * by_neck + w[..., 2:3] * by_head

    def head_rotation(self, pose: Tensor) -> Tensor:
        """(B, pose) → (B, 3, 3): neck after head."""
        return matrix_from_euler(pose[:, 3:6]) @ matrix_from_euler(pose[:, 0:3])

    def landmarks(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """(B, V, 3) → (B, 68, 3) cm.

        Points 17-67 are vertices. Each contour point 0-16 has a row of candidates that runs from the jaw line over
        the cheek towards the middle of the face; the point goes to the candidates that stand out most, seen along -z
        in the contour's own outward direction (landmark marching, Zhu et al., CVPR 2015), blended over 1 mm so that
        it slides instead of jumping. At rest that is the jaw line.
        """
        points = vertices[:, self._landmarks]
        candidates = (vertices[:, self._contour] * self._contour_weights[..., None]).sum(dim=3)  # (B, 17, N, 3)
        in_plane = torch.cat([self._outward, torch.zeros_like(self._outward[:, :1])], dim=1)
        direction = torch.einsum("bij,nj->bni", self.head_rotation(pose), in_plane)[..., :2]
        direction = direction / direction.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        height = torch.einsum("bnkc,bnc->bnk", candidates[..., :2], direction)
        weights = torch.softmax(height / 0.1, dim=2)
        contour = (candidates * weights[..., None]).sum(dim=2)
        return torch.cat([contour, points[:, 17:]], dim=1)

    # ------------------------------------------------------------------ appearance

    def texels(self, size: int) -> TexelMap:
        """The head at rest on a (size, size) atlas."""
        return self.arrays.rest.texels(size)

    def albedo(self, texture: Tensor, size: int = 256) -> Tensor:
        """(B, texture) → (B, 3, size, size) RGB in [0, 1], display-referred (no gamma to undo)."""
        image = self._painter(size)(texture)
        return image if self._wardrobe is None else self._wardrobe_painter(size)(image, texture)

    def relief(self, texture: Tensor, size: int = 256) -> Tensor:
        """(B, texture) → (B, 1, size, size) height in cm of pores, lines and locks of hair."""
        height = self._painter(size).relief(texture)
        return height if self._wardrobe is None else self._wardrobe_painter(size).relief(height, texture)

    def _wardrobe_painter(self, size: int) -> WardrobePainter:
        if size not in self._wardrobe_painters:
            painter = WardrobePainter(CELLS[self.name], size)
            self._wardrobe_painters[size] = painter.to(self.triangles.device)
        return self._wardrobe_painters[size]

    def _painter(self, size: int) -> Painter:
        if size not in self._painters:
            self._painters[size] = _rest_painter(self.arrays.rest, size).to(self.triangles.device)
        return self._painters[size]

    def sample(self, generator: torch.Generator, count: int) -> Tensor:
        """``count`` random people at rest → (count, K); see ``_people.random_people``."""
        people = random_people(self.layout, generator, count)
        if self._wardrobe is None:
            return people
        return dress_people(people, self.layout, self._wardrobe, generator)

    def to(self, device: torch.device | str) -> DenseHead:
        """A copy whose tensors are on ``device``."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(other, name, value.to(device))
            elif isinstance(value, list):
                setattr(other, name, [item.to(device) for item in value])
        other._painters = {size: painter.to(device) for size, painter in self._painters.items()}
        other._wardrobe_painters = {size: painter.to(device) for size, painter in self._wardrobe_painters.items()}
        other._wardrobe = None if self._wardrobe is None else self._wardrobe.to(device)
        return other


def _float(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _push_out(points: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Points (B, N, 3) that lie inside the sphere go radially to its surface; the others stay."""
    away = points - centre
    distance = away.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return torch.where(distance < radius, centre + away * (radius / distance), points)
