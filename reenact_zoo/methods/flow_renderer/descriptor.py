"""The motion descriptor: what rows of head coefficients say about expression, rotation, translation and crop.

A row is what E_3D reads off one picture. Of it the networks get some numbers, each centred and divided by about its
spread, and the rigid prior gets a ``RigidMotion``; shape, texture and light say nothing about motion and are left out,
as in PIRenderer's descriptor of 73 numbers (Ren et al., ICCV 2021).

Three kinds of rows are known:

* "ict_reduced" (120): what the bundled E_3D of the synthetic people answers, the camera that of the whole frame;
* "flame" (236): FLAME's in the order of the project, pose as axis times angle of head and jaw in radians, the camera
  that of the whole frame (log scale, x right and y up in half frames, as the renderer has it);
* "deep3d" (73): Deep3DFaceRecon's 64 expressions, 3 angles in radians and 3 translations, then log scale, x right and y
  up in half frames that lead from its 224-pixel crop to the picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.faces.coefficients import LAYOUT as ICT_REDUCED_LAYOUT
from reenact_zoo.faces.morphable._dense import pose_from_rotation
from reenact_zoo.faces.morphable.base import CoefficientLayout
from reenact_zoo.methods.flow_renderer.rigid import (
    AXES,
    DEEP3D_FOCAL,
    ICT_REDUCED,
    RigidMotion,
    deep3d_motion,
    head_motion,
)
from reenact_zoo.ops.rotation import (
    axis_angle_from_matrix,
    euler_from_matrix,
    matrix_from_axis_angle,
    matrix_from_euler,
)

ROTATION_DEG = (20.0, 8.0, 6.0)
"""Spread of a talking head's yaw, pitch and roll."""

CAMERA_CENTRE, CAMERA_UNIT = (0.4, 0.0, 0.2), (0.1, 0.35, 0.2)
"""Of log scale, x and y."""


class Reader(ABC):
    """One kind of rows.

    Attributes:
        name: as in the configuration.
        total: K, numbers of a row.
        camera_distance: for ``rigid_grid``, in half frames; None for a parallel projection.
        expressions: how many of a descriptor's numbers, the first ones, are expression; head angles come next.
    """

    name: ClassVar[str]
    total: ClassVar[int]
    camera_distance: ClassVar[float | None]
    expressions: ClassVar[int]

    @property
    def numbers(self) -> int:
        """N of a descriptor."""
        return self.descriptor(torch.zeros(1, self.total)).shape[-1]

    @abstractmethod
    def descriptor(self, rows: Tensor) -> Tensor:
        """(…, K) → (…, N) float32, of about unit size: expression, three head angles, the rest."""

    @abstractmethod
    def motion(self, rows: Tensor) -> RigidMotion:
        """(B, K) → the rigid part."""

    @abstractmethod
    def relative(self, source: Tensor, driving: Tensor, reference: Tensor) -> Tensor:
        """Rows (…, K) of the source, moved as ``reference`` moved to ``driving``.

        R = R_d R_rᵀ R_s; the rest is s + d - r, of a scale its logarithm, so that scales change by their ratio.
        """


class IctReducedReader(Reader):
    """See the module. Estimated expressions hardly leave their mean: the unit is theirs, not that of true ones."""

    name = "ict_reduced"
    total = ICT_REDUCED_LAYOUT.total
    camera_distance = ICT_REDUCED.camera_distance
    expressions = ICT_REDUCED_LAYOUT.expression

    EXPRESSION_CENTRE, EXPRESSION_UNIT = 0.1, 0.05
    GAZE_UNIT = 8.0  # degrees

    def descriptor(self, rows: Tensor) -> Tensor:
        """Expression 25, yaw, pitch, roll, gaze 3, camera 3."""
        parts = ICT_REDUCED_LAYOUT.split(rows.float())
        expression = (parts["expression"] - self.EXPRESSION_CENTRE) / self.EXPRESSION_UNIT
        gaze = parts["pose"][..., 6:] / self.GAZE_UNIT
        return torch.cat([expression, _angles(self._rotation(parts["pose"])), gaze, _camera(parts["camera"])], -1)

    def motion(self, rows: Tensor) -> RigidMotion:
        """With the two joints of the neck."""
        parts = ICT_REDUCED_LAYOUT.split(rows.float())
        return head_motion(parts["pose"], parts["camera"])

    def relative(self, source: Tensor, driving: Tensor, reference: Tensor) -> Tensor:
        """The neck's share of the turn is the one that all heads of this project have."""
        s, d, r = (ICT_REDUCED_LAYOUT.split(rows.float()) for rows in (source, driving, reference))
        moved = {name: s[name] + d[name] - r[name] for name in ("expression", "pose", "camera")}
        turn = _turned(*(self._rotation(part["pose"]) for part in (s, d, r)))
        pose = pose_from_rotation(euler_from_matrix(turn), moved["pose"][..., 6:])
        return _joined(ICT_REDUCED_LAYOUT, s, {**moved, "pose": pose})

    @staticmethod
    def _rotation(pose: Tensor) -> Tensor:
        """Neck after head, (…, 3, 3)."""
        return matrix_from_euler(pose[..., 3:6]) @ matrix_from_euler(pose[..., :3])


class FlameReader(Reader):
    """See the module; the head turns about its middle, because FLAME's own joints depend on its files."""

    name = "flame"
    layout: ClassVar = CoefficientLayout(shape=100, texture=50, expression=50, pose=6, camera=3, light=27)
    total = layout.total
    camera_distance = None
    expressions = layout.expression

    JAW_UNIT = 0.1  # radians

    def descriptor(self, rows: Tensor) -> Tensor:
        """Expression 50, yaw, pitch, roll, jaw 3, camera 3."""
        parts = self.layout.split(rows.float())
        turn = matrix_from_axis_angle(parts["pose"][..., :3])
        jaw = parts["pose"][..., 3:] / self.JAW_UNIT
        return torch.cat([parts["expression"], _angles(turn), jaw, _camera(parts["camera"])], -1)

    def motion(self, rows: Tensor) -> RigidMotion:
        """Weak perspective."""
        parts = self.layout.split(rows.float())
        axes = rows.new_tensor(AXES, dtype=torch.float32)
        rotation = axes[:, None] * matrix_from_axis_angle(parts["pose"][:, :3]) * axes
        camera = parts["camera"]
        still = torch.zeros_like(camera)
        return RigidMotion(rotation, still, camera[:, 0].exp(), camera[:, 1:] * axes[:2])

    def relative(self, source: Tensor, driving: Tensor, reference: Tensor) -> Tensor:
        """See ``Reader``."""
        s, d, r = (self.layout.split(rows.float()) for rows in (source, driving, reference))
        moved = {name: s[name] + d[name] - r[name] for name in ("expression", "pose", "camera")}
        turn = _turned(*(matrix_from_axis_angle(part["pose"][..., :3]) for part in (s, d, r)))
        pose = torch.cat([axis_angle_from_matrix(turn), moved["pose"][..., 3:]], -1)
        return _joined(self.layout, s, {**moved, "pose": pose})


class Deep3DReader(Reader):
    """See the module. Written from the authors' description; no released weights were at hand to try it on."""

    name = "deep3d"
    total = 73
    camera_distance = DEEP3D_FOCAL
    expressions = 64

    ANGLE_UNIT, TRANSLATION_UNIT = 0.3, 0.1

    def descriptor(self, rows: Tensor) -> Tensor:
        """Expression 64, angles 3, translation 3, crop 3."""
        expression, angles, translation, crop = rows.float().split([64, 3, 3, 3], -1)
        return torch.cat([expression, angles / self.ANGLE_UNIT, translation / self.TRANSLATION_UNIT, _camera(crop)], -1)

    def motion(self, rows: Tensor) -> RigidMotion:
        """See ``deep3d_motion``."""
        _, angles, translation, crop = rows.float().split([64, 3, 3, 3], -1)
        return deep3d_motion(angles, translation, crop)

    def relative(self, source: Tensor, driving: Tensor, reference: Tensor) -> Tensor:
        """Angles by sum, as PIRenderer's line of work has it: their order has no counterpart in ``ops.rotation``."""
        return source.float() + driving.float() - reference.float()


READERS: dict[str, type[Reader]] = {reader.name: reader for reader in (IctReducedReader, FlameReader, Deep3DReader)}


def windowed(numbers: Tensor, length: int) -> Tensor:
    """Descriptors (B, T, N) → (B, N, length): the middle frames; short windows repeat their first and last one.

    A length of 1 gives (B, N), the middle frame.
    """
    middle = numbers.shape[1] // 2
    if length == 1:
        return numbers[:, middle]
    places = torch.arange(length, device=numbers.device) - length // 2 + middle
    return numbers[:, places.clamp(0, numbers.shape[1] - 1)].mT


def _angles(rotation: Tensor) -> Tensor:
    return euler_from_matrix(rotation) / rotation.new_tensor(ROTATION_DEG)


def _camera(camera: Tensor) -> Tensor:
    return (camera - camera.new_tensor(CAMERA_CENTRE)) / camera.new_tensor(CAMERA_UNIT)


def _turned(source: Tensor, driving: Tensor, reference: Tensor) -> Tensor:
    return driving @ reference.mT @ source


def _joined(layout: CoefficientLayout, source: dict[str, Tensor], moved: dict[str, Tensor]) -> Tensor:
    """The source's shape, texture and light beside what has moved; broadcasts over frames."""
    parts = {**source, **moved}
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts.values()))
    return layout.join(**{name: part.expand(*shape, part.shape[-1]) for name, part in parts.items()})
