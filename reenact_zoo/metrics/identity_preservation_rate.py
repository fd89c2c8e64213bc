"""Identity preservation rate of the One-shot paper, by ArcFace."""

from reenact_zoo.metrics._embedding import ARCFACE_R50
from reenact_zoo.metrics._verification import _PreservationRate, preservation_card


class IdentityPreservationRate(_PreservationRate):
    """Share of reenacted faces that a verifier takes for the source person, in %."""

    card = preservation_card(
        "identity_preservation_rate", "identity preserved (ArcFace r50)", "identity_arcface_r50", ARCFACE_R50
    )
