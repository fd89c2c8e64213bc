"""AED in its second meaning (PIRenderer's line): difference of 3DMM expression coefficients."""

from reenact_zoo.metrics._coefficients import _MeanAbsolute
from reenact_zoo.metrics._faces import DEEP3D_CROP, left_out
from reenact_zoo.metrics.base import MetricCard


class AEDExpression(_MeanAbsolute):
    """Mean absolute difference of 64 expression coefficients."""

    card = MetricCard(
        name="aed_expression",
        version=1,
        title="AED (expression)",
        unit="",
        higher_is_better=False,
        compares="64 expression coefficients of reenacted with those of driving, mean absolute difference",
        quantities=("expression_deep3d",),
        face_missing=left_out("driving"),
        reference="average expression distance of Ren et al. (PIRenderer), ICCV 2021, by Deep3DFaceRecon; its order of "
        "coefficients is unverified here",
        alignment=DEEP3D_CROP,
    )
