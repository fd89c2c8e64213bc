"""Identity preservation rate by MobileFaceNet, whose file anyone may use."""

from reenact_zoo.metrics._embedding import MOBILEFACENET
from reenact_zoo.metrics._faces import IMAGENET
from reenact_zoo.metrics._verification import _PreservationRate, preservation_card


class IdentityPreservationRateMobileFaceNet(_PreservationRate):
    """Share of reenacted faces that a verifier takes for the source person, in %."""

    card = preservation_card(
        "identity_preservation_rate_mobilefacenet",
        "identity preserved (MobileFaceNet)",
        "identity_mobilefacenet",
        MOBILEFACENET,
        colours=IMAGENET,
    )
