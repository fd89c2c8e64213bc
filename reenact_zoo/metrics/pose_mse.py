"""PoseMSE of DCG-GAN's tables: mean squared difference of Hopenet's angles."""

from reenact_zoo.metrics._coefficients import _MeanSquare
from reenact_zoo.metrics._faces import HOPENET_CROP, IMAGENET, left_out
from reenact_zoo.metrics.base import MetricCard


class PoseMSE(_MeanSquare):
    """Mean of the squared differences of yaw, pitch and roll; no angle exceeds 99 degrees, so nothing wraps."""

    card = MetricCard(
        name="pose_mse",
        version=1,
        title="PoseMSE (Hopenet)",
        unit="deg^2",
        higher_is_better=False,
        compares="head pose of reenacted with that of driving, mean of the squared yaw, pitch and roll differences",
        quantities=("pose_hopenet",),
        face_missing=left_out("driving"),
        reference="Hopenet, 300W-LP alpha 1 robust (Ruiz et al., CVPRW 2018); PoseMSE of DCG-GAN's Table 1, whose unit "
        "is inferred from its figures",
        alignment=HOPENET_CROP,
        colour_range=IMAGENET,
        digits=2,
    )
