"""How much more the reenacted face resembles the driver than the source, by MobileFaceNet."""

from reenact_zoo.metrics._embedding import MOBILEFACENET, _Leak, leak_card
from reenact_zoo.metrics._faces import IMAGENET


class IdentityLeakMobileFaceNet(_Leak):
    """Cosine with driving minus cosine with source."""

    card = leak_card(
        "identity_leak_mobilefacenet",
        "identity leak (MobileFaceNet)",
        "identity_mobilefacenet",
        MOBILEFACENET,
        colours=IMAGENET,
    )
