"""ExpMSE1 of DCG-GAN's tables, read as 3DDFA_V2's larger network with whitened coefficients."""

from reenact_zoo.metrics._coefficients import _MeanSquare
from reenact_zoo.metrics._faces import TDDFA_COLOURS, TDDFA_CROP, left_out
from reenact_zoo.metrics.base import MetricCard


class ExpMSE13DDFAV2(_MeanSquare):
    """Mean squared difference of ten expression coefficients."""

    card = MetricCard(
        name="exp_mse1_3ddfa_v2",
        version=1,
        title="ExpMSE1 (3DDFA V2 mb1)",
        unit="",
        higher_is_better=False,
        compares="ten whitened expression coefficients of reenacted with those of driving, mean square",
        quantities=("expression_3ddfa_v2_mb1",),
        face_missing=left_out("driving"),
        reference="3DDFA_V2 mb1 (Guo et al., ECCV 2020), its authors' default; the smaller mb05 is "
        "expression_3ddfa_v2; that DCG-GAN whitens is inferred from its figures",
        alignment=TDDFA_CROP,
        colour_range=TDDFA_COLOURS,
    )
