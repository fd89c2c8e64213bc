"""Errors against coefficients that are known because the picture was rendered from them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.metrics._inputs import measured, no_value
from reenact_zoo.metrics._pose import pose_error_deg
from reenact_zoo.metrics._synthetic import JUDGE, MISSED_DEG, POSE, code_distance, pose_geodesic_deg
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.ops.rotation import euler_from_matrix, matrix_from_euler
from reenact_zoo.types import PairBatch, ReenactmentOutput

JUDGE_CROP = "each face by its own 68 landmarks: upright square of 1.6 times their box's longer side, 64x64 px"
ICT_COEFFICIENTS = 241  # of the whole ict head; other heads' expressions move another face

# The dense heads differ in shape and texture, which come first; from the end every one has 27 numbers of light, 3 of
# the camera, 9 of pose (head, neck, gaze), 53 of expression.
_HEAD, _NECK, _EXPRESSION = slice(-39, -36), slice(-36, -33), slice(-92, -39)


def known_angles_deg(coefficients: Tensor) -> Tensor:
    """Coefficients (B, K) of a dense head → yaw, pitch, roll (B, 3) of the head: neck after head."""
    neck, head = (matrix_from_euler(coefficients[:, part]) for part in (_NECK, _HEAD))
    return euler_from_matrix(neck @ head)


def known_expression_code(coefficients: Tensor) -> Tensor:
    """Coefficients (B, 241) of the whole ict head → expression code (B, 20), in % of face width."""
    return coefficients[:, _EXPRESSION] @ _basis().to(coefficients).T


@cache
def _basis() -> Tensor:
    path = files("reenact_zoo") / "bundled" / "expression_code" / "expression_code.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        return torch.from_numpy(arrays["basis"])


class _KnownAngles(PairMetric):
    """Pose read by the judge against the pose that the true target was rendered with."""

    geodesic: ClassVar[bool] = False

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); see the card for missing faces."""
        if "target_coefficients" not in batch:
            return no_value(output)
        wanted = known_angles_deg(batch["target_coefficients"])
        found = measured(self.measurer, POSE, output.reenacted)
        return self.error(found, wanted.to(found))

    def error(self, found: Tensor, wanted: Tensor) -> Tensor:
        """(B, 3) each → (B,)."""
        value = (pose_geodesic_deg if self.geodesic else pose_error_deg)(found, wanted)
        lost = found.isnan().any(-1) & ~wanted.isnan().any(-1)
        return torch.where(lost, MISSED_DEG, value)


def known_pose_card(name: str, title: str, measure: str) -> MetricCard:
    """Card of a pose error against the known rotation."""
    return MetricCard(
        name=name,
        version=1,
        title=title,
        unit="deg",
        higher_is_better=False,
        compares=f"head pose measured in reenacted with the known rotation of the true target, {measure}",
        reads_target=True,
        quantities=(POSE,),
        face_missing=f"{MISSED_DEG:.0f} degrees where none is found in reenacted, also where the method made no image",
        reference=f"read by a {JUDGE}; its own error is part of the value (5 degrees on 48 true targets of 64 px): the "
        "form that measures both sides has pose_target in its name",
        alignment=JUDGE_CROP,
        digits=2,
    )


class _KnownExpression(PairMetric):
    """Expression read by the judge against the one that the true target was rendered with."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where no face is found in reenacted or the target's head is not ict."""
        known = batch.get("target_coefficients")
        if known is None or known.shape[1] != ICT_COEFFICIENTS:
            return no_value(output)
        found = measured(self.measurer, self.card.quantities[0], output.reenacted)
        return code_distance(found, known_expression_code(known).to(found))
