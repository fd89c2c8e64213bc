"""Identity preservation rate by the judge trained on synthetic people."""

from reenact_zoo.metrics._synthetic import IDENTITY, JUDGE
from reenact_zoo.metrics._verification import _PreservationRate, preservation_card


class IdentityPreservationRateSynthetic(_PreservationRate):
    """Share of reenacted faces that the judge takes for the source person, in %."""

    card = preservation_card(
        "identity_preservation_rate_synthetic",
        "identity preserved (synthetic judge)",
        IDENTITY,
        f"embedding by a {JUDGE}",
        alignment="each face by five of its own 68 landmarks, 64x64 px",
        colours="RGB in [0, 1]",
    )
