"""Head rotation and expression code."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.networks.synthetic_motion import CODE, SyntheticMotionJudge, SyntheticMotionTrain
from reenact_zoo.faces.synthetic_crop import face_crop, face_matrices
from reenact_zoo.ops.rotation import geodesic_deg, matrix_from_euler
from reenact_zoo.train.instruments.appearance import Strength
from reenact_zoo.train.instruments.batches import Batcher, Cut, mirrored_actions, mirrored_expression, turned_rotation
from reenact_zoo.train.instruments.expression_code import expression_basis
from reenact_zoo.train.instruments.held_out import SIZES, HeldOut
from reenact_zoo.train.instruments.task import Task, in_parts

YAW_BINS_DEG = ((0, 15), (15, 30), (30, 60))


class _Motion(Task):
    preprocessing = "64x64 RGB in [0, 1], synthetic_crop.face_crop"
    meaning = "yaw, pitch, roll in degrees; then 20 numbers whose distance is movement of the face in % of its width"
    kind: ClassVar[type[nn.Module]]
    strength: ClassVar[Strength] = Strength()
    expression_weight: ClassVar[float] = 1.0

    def __init__(self, records: dict[str, Tensor], scenes: Tensor, head: DenseHead, seed: int) -> None:
        torch.manual_seed(seed)
        self.network, self.extra = self.kind(), nn.Module()
        self._basis, self._mirrored = expression_basis(head, CODE), mirrored_actions(head.expression_names)
        self._rotation = matrix_from_euler(records["rotation_deg"])
        self._expression = records["expression"]
        cut = Cut(face_matrices, noise=0.02, shift=0.06, scale=0.12, turn_deg=20)
        self.batches = Batcher(records, scenes, cut, self.strength, seed)

    def losses(self) -> dict[str, Tensor]:
        """Frobenius norm of the rotations' difference; movement by which the expression is missed."""
        batch = self.batches.draw(self.batch_size)
        rotation, code = self.network.rotation_and_code(batch.crops)  # type: ignore[operator]
        true_rotation = turned_rotation(self._rotation[batch.rows], batch)
        true_code = mirrored_expression(self._expression[batch.rows], batch, self._mirrored) @ self._basis.T
        angle = (rotation - true_rotation).square().sum((1, 2)).clamp(min=1e-8).sqrt()
        missed = (code - true_code).square().sum(1).clamp(min=1e-8).sqrt()
        return {"rotation": 4 * angle.mean(), "expression": self.expression_weight * missed.mean()}

    def held_out(self, data: HeldOut) -> dict[str, Any]:
        """See ``motion_errors``."""
        return {
            f"frames_{size}_px": motion_errors(
                in_parts(self.network, face_crop(data.picture(size), data.landmarks_px(size))[0]), data, self._basis
            )
            for size in SIZES
        }


def motion_errors(found: Tensor, data: HeldOut, basis: Tensor) -> dict[str, Any]:
    """Mean absolute errors in degrees; expression error in % of face width beside that of the mean expression."""
    off = (found[:, :3] - data.rotation_deg).abs()
    off = torch.minimum(off, 360 - off)
    true = data.expression @ basis.T
    missed = (found[:, 3:] - true).norm(dim=1)
    yaw = data.rotation_deg[:, 0].abs()
    turned = geodesic_deg(matrix_from_euler(found[:, :3]), matrix_from_euler(data.rotation_deg))
    by_yaw = {}
    for low, high in YAW_BINS_DEG:
        rows = (yaw >= low) & (yaw < high + (high == 60))
        by_yaw[f"{low}-{high}"] = {
            "frames": int(rows.sum()),
            "mae_deg": [round(v, 2) for v in off[rows].mean(0).tolist()],
            "expression_error_percent": round(float(missed[rows].mean()), 3),
        }
    return {
        "mae_yaw_pitch_roll_deg": [round(v, 2) for v in off.mean(0).tolist()],
        "geodesic_deg": round(float(turned.mean()), 2),
        "yaw_correlation": round(float(torch.corrcoef(torch.stack([found[:, 0], data.rotation_deg[:, 0]]))[0, 1]), 4),
        "expression_error_percent": round(float(missed.mean()), 3),
        "expression_error_of_the_mean_percent": round(float((true - true.mean(0)).norm(dim=1).mean()), 3),
        "by_absolute_yaw_deg": by_yaw,
    }


class MotionTrain(_Motion):
    """Entry "synthetic_motion_train"."""

    name, world, kind, batch_size = "synthetic_motion_train", "train", SyntheticMotionTrain, 32
    architecture = "residual: 16, 40, 96 channels at 32, 16, 8 pixels -> 6 + 20"


class MotionJudge(_Motion):
    """Entry "synthetic_motion_judge"."""

    name, world, kind = "synthetic_motion_judge", "judge", SyntheticMotionJudge
    # it judges renders first of all, where a blurred mouth is rare; small batches give it more updates in its time
    strength, expression_weight, batch_size, share = Strength(colour=0.8, cover=0.5, camera=0.5), 1.5, 32, 1.9
    architecture = "plain with gated channels, PReLU, max pooling: 20, 48, 96 channels -> 6 + 20"
