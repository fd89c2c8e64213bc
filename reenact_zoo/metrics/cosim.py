"""CosSim of DCG-GAN's tables: cosine of the CosFace embeddings of the reenacted and the source face."""

from reenact_zoo.metrics._embedding import SPHERE20, _SourceCosine
from reenact_zoo.metrics._faces import COSFACE_CROP, HALVES, left_out
from reenact_zoo.metrics.base import MetricCard


class CosSim(_SourceCosine):
    """Identity kept: cosine of embeddings."""

    card = MetricCard(
        name="cosim",
        version=1,
        title="CosSim (CosFace)",
        unit="",
        higher_is_better=True,
        compares="reenacted with source: cosine",
        quantities=("identity_cosface",),
        face_missing=left_out("source"),
        reference=f"{SPHERE20}; CosSim of DCG-GAN's Table 1; without the 1e-5 that CosFace's code adds to the product "
        "of norms (relative effect below 1e-5)",
        alignment=COSFACE_CROP,
        colour_range=HALVES,
        penalty=0.0,  # of two strangers
    )
