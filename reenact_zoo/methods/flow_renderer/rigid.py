"""The explicit 3-D part of the flow: where a rigid head that moves takes every voxel from.

A volume is a box around the picture: its first two axes are the picture's, x to the right and y down, in half frames
from the centre, and z points into the picture, 0 at the resting head's middle. Head models have x right, y up and z
towards the camera, so their rotations and places are flipped first: R' = S R S and p' = S p with S = diag(1, -1, -1).

Legend, for source (s) and driving (d): R rotation, o offset that the joints of the neck cause, s scale, t shift of the
camera. A point X of the resting head is seen at s (R X + o) + t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.renderer import Camera
from reenact_zoo.ops.rotation import matrix_from_euler
from reenact_zoo.types import InputError

AXES = (1.0, -1.0, -1.0)
"""S: from the axes of head models to the picture's."""

NEAREST = 0.1
"""A point is treated as no nearer to the camera than this part of the resting head's distance."""

DEEP3D_FOCAL = 1015 / 112  # half frames of its 224-pixel crop
DEEP3D_DISTANCE = 10.0  # of the camera, in its units of length


@dataclass(frozen=True)
class HeadGeometry:
    """Where a head turns, in half frames from the resting head's middle; x right, y up, z towards the camera.

    Attributes:
        neck, head: root of the neck and top of the neck, the two joints of the pose.
        camera_distance: of the camera from the middle, in half frames.
    """

    neck: tuple[float, float, float]
    head: tuple[float, float, float]
    camera_distance: float

    @classmethod
    def of(cls, model: DenseHead) -> HeadGeometry:
        """Of a head that can be drawn."""
        camera = Camera(model, "perspective")
        joints = camera.centred(torch.from_numpy(model.arrays.pivots).float()) / camera.half_frame_cm
        neck, head = ((float(x), float(y), float(z)) for x, y, z in joints)
        return cls(neck, head, camera.distance_cm / camera.half_frame_cm)


ICT_REDUCED = HeadGeometry(neck=(0.0005, -0.6822, -0.3854), head=(0.0005, -0.1856, -0.2286), camera_distance=6.2105)
"""Of head "ict_reduced", whose coefficients E_3D of the synthetic people estimates; a test measures it."""


@dataclass(frozen=True)
class RigidMotion:
    """Where and how heads are seen, in the picture's axes.

    Attributes:
        rotation: (B, 3, 3), R'.
        offset: (B, 3) in half frames, before the scale.
        scale: (B,).
        shift: (B, 2) in half frames, y down.
    """

    rotation: Tensor
    offset: Tensor
    scale: Tensor
    shift: Tensor

    def rows(self, part: slice | Tensor) -> RigidMotion:
        """Some of the batch."""
        return RigidMotion(self.rotation[part], self.offset[part], self.scale[part], self.shift[part])


def head_motion(pose: Tensor, camera: Tensor, geometry: HeadGeometry = ICT_REDUCED) -> RigidMotion:
    """From this project's coefficients; float32.

    Args:
        pose: (B, 9) degrees: head yaw, pitch, roll, neck yaw, pitch, roll; the gaze (three more) is no rigid motion.
        camera: (B, 3) log scale, then x right and y up in half frames.
        geometry: of the head that the pose belongs to.
    """
    if pose.shape[-1] != 9 or camera.shape[-1] != 3:
        raise InputError(
            "flow_renderer: the rigid prior needs 9 pose and 3 camera coefficients, got "
            f"{pose.shape[-1]} and {camera.shape[-1]}; use rigid_prior=false for other head models"
        )
    pose, camera = pose.float(), camera.float()
    head, neck = (_in_picture(matrix_from_euler(pose[:, k : k + 3])) for k in (0, 3))
    axes = pose.new_tensor(AXES)
    at_head, at_neck = axes * pose.new_tensor(geometry.head), axes * pose.new_tensor(geometry.neck)
    rotation = _product(neck, head)
    # X → N (H (X - head) + head - neck) + neck, as linear blend skinning moves the skull
    offset = (neck * (at_head - at_neck)).sum(-1) - (rotation * at_head).sum(-1) + at_neck
    return RigidMotion(rotation, offset, camera[:, 0].exp(), camera[:, 1:] * axes[:2])


def deep3d_motion(angles_rad: Tensor, translation: Tensor, crop: Tensor) -> RigidMotion:
    """From Deep3DFaceRecon's coefficients; float32. For ``rigid_grid`` with ``camera_distance=DEEP3D_FOCAL``.

    Its faces are row vectors: v Rᵀ + T with R = Rz Ry Rx, seen by a camera ten units away whose half frame there is
    10 / 9.06 units.

    Args:
        angles_rad: (B, 3) about x, y and z.
        translation: (B, 3) in its units of length.
        crop: (B, 3) log scale, x right and y up in half frames: from its 224-pixel crop to the picture.
    """
    rx, ry, rz = (_axis_rotation(angles_rad[:, k].float(), k) for k in range(3))
    axes = translation.new_tensor(AXES).float()
    offset = translation.float() * axes * (DEEP3D_FOCAL / DEEP3D_DISTANCE)
    crop = crop.float()
    return RigidMotion(_in_picture(_product(_product(rz, ry), rx)), offset, crop[:, 0].exp(), crop[:, 1:] * axes[:2])


def relative_motion(source: RigidMotion, driving: RigidMotion, reference: RigidMotion) -> RigidMotion:
    """The source's, changed as ``reference`` changed to ``driving``: R_d R_rᵀ R_s, scales by ratio, the rest by sum."""
    return RigidMotion(
        _product(_product(driving.rotation, reference.rotation.mT), source.rotation),
        source.offset + driving.offset - reference.offset,
        source.scale * driving.scale / reference.scale,
        source.shift + driving.shift - reference.shift,
    )


def identity_volume_grid(
    shape: tuple[int, int, int], device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normalised coordinates of all voxel centres, (D, H, W, 3), x before y before z: the flow that changes nothing."""
    depth, height, width = shape
    z, y, x = ((2 * torch.arange(n, device=device, dtype=dtype) + 1) / n - 1 for n in (depth, height, width))
    return torch.stack(
        (
            x.expand(shape),
            y[:, None].expand(shape),
            z[:, None, None].expand(shape),
        ),
        dim=-1,
    )


def rigid_grid(
    source: RigidMotion,
    driving: RigidMotion,
    shape: tuple[int, int, int],
    depth_span: float = 1.0,
    camera_distance: float | None = None,
) -> Tensor:
    """Where in the source's volume every voxel of the driving's comes from, were the head rigid.

    Args:
        source: motion of the picture that is sampled.
        driving: motion of the picture that is made.
        shape: (D, H, W) of the volume; square pictures, H = W.
        depth_span: depth of the volume as a part of its width. With D slices over W columns a voxel is ``depth_span``
            W / D times as deep as wide; rotations happen in half frames, where all axes are alike.
        camera_distance: see ``traced``.

    Returns:
        (B, D, H, W, 3) float32, normalised, x before y before z.
    """
    voxels = identity_volume_grid(shape, source.rotation.device).reshape(1, -1, 3)
    span = voxels.new_tensor([1.0, 1.0, depth_span])
    return (traced(voxels * span, source, driving, camera_distance) / span).unflatten(1, shape)


def traced(places: Tensor, source: RigidMotion, driving: RigidMotion, camera_distance: float | None = None) -> Tensor:
    """Where the points seen at ``places`` under the driving's motion are under the source's; float32.

    X_src = s_s (R_s R_dᵀ ((X - t_d) / s_d - o_d) + o_s) + t_s; with a camera at a finite distance x and y are divided
    by the depth where a point is seen and multiplied by it where a place is traced back.

    Args:
        places: (B or 1, M, 3) in half frames, in the picture's axes.
        source: motion of the picture that is sampled.
        driving: motion of the picture that is made; swapped, they give the inverse.
        camera_distance: in half frames; None for a parallel projection.

    Returns:
        (B, M, 3) in half frames.
    """
    turn = _product(source.rotation, driving.rotation.transpose(1, 2))
    shift = source.offset - _product(turn, driving.offset[..., None])[..., 0]
    posed = _traced_back(places.float(), driving, camera_distance)
    turned = sum((posed[..., k : k + 1] * turn[:, None, :, k] for k in range(3)), shift[:, None])
    return _seen(turned, source, camera_distance)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrices (B, 3, N) and (B, N, M); float32 under autocast as well: bfloat16 cannot say where a voxel lies."""
    return (a[..., None] * b[:, None]).sum(-2)


def _seen(points: Tensor, motion: RigidMotion, distance: float | None) -> Tensor:
    """Posed points (B, M, 3) → where they are in the volume, in half frames."""
    scale = motion.scale[:, None, None]
    across = points[..., :2] * scale / _depth(points[..., 2:], distance)
    return torch.cat((across + motion.shift[:, None], points[..., 2:] * scale), dim=-1)


def _traced_back(places: Tensor, motion: RigidMotion, distance: float | None) -> Tensor:
    """Inverse of ``_seen``."""
    scale = motion.scale[:, None, None]
    into = places[..., 2:] / scale
    across = (places[..., :2] - motion.shift[:, None]) / scale * _depth(into, distance)
    return torch.cat((across, into.expand_as(across[..., :1])), dim=-1)


def _depth(into: Tensor, distance: float | None) -> Tensor:
    """Distance from the camera relative to the resting head's, (B, M, 1)."""
    return torch.ones_like(into) if distance is None else (1 + into / distance).clamp(min=NEAREST)


def _in_picture(rotation: Tensor) -> Tensor:
    """S R S."""
    axes = rotation.new_tensor(AXES)
    return axes[:, None] * rotation * axes


def _axis_rotation(angle_rad: Tensor, axis: int) -> Tensor:
    """(B,) → (B, 3, 3) rotation about axis 0, 1 or 2, right-handed."""
    cos, sin = angle_rad.cos(), angle_rad.sin()
    after, last = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.eye(3, device=angle_rad.device).repeat(len(angle_rad), 1, 1)
    matrix[:, after, after], matrix[:, last, last] = cos, cos
    matrix[:, after, last], matrix[:, last, after] = -sin, sin
    return matrix
