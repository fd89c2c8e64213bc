"""ExpMSE1 of DCG-GAN's tables, read as 3DDFA of 2017 with whitened coefficients."""

from reenact_zoo.metrics._coefficients import _MeanSquare
from reenact_zoo.metrics._faces import TDDFA_COLOURS, TDDFA_CROP, left_out
from reenact_zoo.metrics.base import MetricCard


class ExpMSE13DDFAV1(_MeanSquare):
    """Mean squared difference of ten expression coefficients."""

    card = MetricCard(
        name="exp_mse1_3ddfa_v1",
        version=1,
        title="ExpMSE1 (3DDFA v1)",
        unit="",
        higher_is_better=False,
        compares="ten whitened expression coefficients of reenacted with those of driving, mean square",
        quantities=("expression_3ddfa_v1",),
        face_missing=left_out("driving"),
        reference="3DDFA, phase1_wpdc_vdc (Zhu et al., PAMI 2017); V2 whitens by another mean and std and is another "
        "card; that DCG-GAN whitens is inferred from its figures",
        alignment=TDDFA_CROP,
        colour_range=TDDFA_COLOURS,
    )
