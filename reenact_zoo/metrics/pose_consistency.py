"""Pose consistency of the One-shot paper: mean absolute difference of Hopenet's angles."""

from reenact_zoo.metrics._coefficients import _MeanAbsolute
from reenact_zoo.metrics._faces import HOPENET_CROP, IMAGENET, left_out
from reenact_zoo.metrics.base import MetricCard


class PoseConsistency(_MeanAbsolute):
    """Mean of the absolute differences of yaw, pitch and roll; no angle exceeds 99 degrees, so nothing wraps."""

    card = MetricCard(
        name="pose_consistency",
        version=1,
        title="pose consistency (Hopenet)",
        unit="deg",
        higher_is_better=False,
        compares="head pose of reenacted with that of driving, mean of the absolute yaw, pitch and roll differences",
        quantities=("pose_hopenet",),
        face_missing=left_out("driving"),
        reference="Hopenet, 300W-LP alpha 1 robust (Ruiz et al., CVPRW 2018); Zhang et al., BMVC 2019, who name "
        "neither network nor unit",
        alignment=HOPENET_CROP,
        colour_range=IMAGENET,
        digits=2,
    )
