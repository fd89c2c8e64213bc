"""ExpMSE2 of DCG-GAN's tables, read as the FaceWarehouse-derived expression of Deep3DFaceRecon."""

from reenact_zoo.metrics._coefficients import _MeanSquare
from reenact_zoo.metrics._faces import DEEP3D_CROP, left_out
from reenact_zoo.metrics.base import MetricCard


class ExpMSE2(_MeanSquare):
    """Mean squared difference of 64 expression coefficients."""

    card = MetricCard(
        name="exp_mse2",
        version=1,
        title="ExpMSE2 (Deep3DFaceRecon)",
        unit="",
        higher_is_better=False,
        compares="64 expression coefficients of reenacted with those of driving, mean square",
        quantities=("expression_deep3d",),
        face_missing=left_out("driving"),
        reference="Deep3DFaceRecon's expression basis derived from FaceWarehouse; the scale of DCG-GAN's Table 1 "
        "cannot be matched uniquely: not comparable with it",
        alignment=DEEP3D_CROP,
    )
