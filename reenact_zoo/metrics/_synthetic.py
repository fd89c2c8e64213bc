"""Errors under the judges that were trained on renders of synthetic people, shared by their cards."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, measured, no_value, truth
from reenact_zoo.metrics._pose import pose_error_deg
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.ops.rotation import geodesic_deg, matrix_from_euler
from reenact_zoo.types import PairBatch, ReenactmentOutput

POSE, EXPRESSION, IDENTITY = "pose_synthetic_judge", "expression_synthetic_judge", "identity_synthetic_judge"
MISSED_DEG = 90.0
"""What a face counts as that should be there and is not found: as far off as a profile from a frontal view."""
JUDGE = "network trained on renders of synthetic people (model card beside its weights); it knows no real face"


def pose_geodesic_deg(a_deg: Tensor, b_deg: Tensor) -> Tensor:
    """Yaw, pitch, roll (B, 3) each → (B,) angle of the rotation between them, in [0, 180]."""
    return geodesic_deg(matrix_from_euler(a_deg), matrix_from_euler(b_deg))


def code_distance(a: Tensor, b: Tensor) -> Tensor:
    """Expression codes (B, n) → (B,) distance: root mean square over the face's vertices, in % of face width."""
    distance: Tensor = (a - b).norm(dim=-1)
    return distance


EULER, GEODESIC = "mean of |yaw|, |pitch| and |roll| differences", "angle of the rotation between them"


def pose_judge_card(name: str, measure: str, with_truth: bool) -> MetricCard:
    """Card of a pose error; ``measure`` is EULER or GEODESIC: how two rotations are compared."""
    shown = "true target" if with_truth else "driving"
    return MetricCard(
        name=name,
        version=1,
        title=f"pose {'geodesic ' if measure == GEODESIC else ''}{'to target ' if with_truth else ''}(synthetic judge)",
        unit="deg",
        higher_is_better=False,
        compares=f"head pose of reenacted with that of the {TRUTH if with_truth else 'driving frame'}, {measure}",
        reads_target=with_truth,
        quantities=(POSE,),
        face_missing=f"{MISSED_DEG:.0f} degrees where {shown} shows a face and reenacted none, also where the method "
        f"made no image; no value where {shown} shows none",
        reference=f"rotation by a {JUDGE}; not comparable with Hopenet or 3DDFA",
        digits=2,
    )


class _Judged(PairMetric):
    """Compares a measured quantity of reenacted with that of driving, or of the true target."""

    with_truth: ClassVar[bool] = False
    missed: ClassVar[float] = float("nan")

    @abstractmethod
    def error(self, found: Tensor, wanted: Tensor) -> Tensor:
        """(B, n) each → (B,)."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); see the card for missing faces."""
        reference = truth(batch) if self.with_truth else batch["driving"]
        if reference.flatten(1).isnan().any(1).all():
            return no_value(output)
        (quantity,) = self.card.quantities
        wanted, found = (measured(self.measurer, quantity, x) for x in (reference, output.reenacted))
        wanted = wanted.to(found)
        lost = found.isnan().any(-1) & ~wanted.isnan().any(-1)
        return torch.where(lost, self.missed, self.error(found, wanted))


class _JudgedPose(_Judged):
    missed = MISSED_DEG

    def error(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean of three absolute differences."""
        return pose_error_deg(found, wanted)


class _JudgedGeodesic(_Judged):
    missed = MISSED_DEG

    def error(self, found: Tensor, wanted: Tensor) -> Tensor:
        """One angle."""
        return pose_geodesic_deg(found, wanted)


class _JudgedExpression(_Judged):
    def error(self, found: Tensor, wanted: Tensor) -> Tensor:
        """One distance."""
        return code_distance(found, wanted)


def expression_judge_card(name: str, with_truth: bool) -> MetricCard:
    """Card of the expression error."""
    return MetricCard(
        name=name,
        version=1,
        title=f"expression {'to target ' if with_truth else ''}(synthetic judge)",
        unit="% of face width",
        higher_is_better=False,
        compares=f"expression of reenacted with that of the {TRUTH if with_truth else 'driving frame'}: root mean "
        "square displacement of the face's vertices between the two expression codes",
        reads_target=with_truth,
        quantities=(EXPRESSION,),
        face_missing="no value; lost faces are counted by detection_rate and by the pose metrics of the same judge",
        reference=f"expression code by a {JUDGE}; not comparable with 3DDFA or FaceWarehouse coefficients",
        digits=2,
    )
