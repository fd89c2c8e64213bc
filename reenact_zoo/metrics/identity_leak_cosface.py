"""How much more the reenacted face resembles the driver than the source, by CosFace."""

from reenact_zoo.metrics._embedding import SPHERE20, _Leak, leak_card
from reenact_zoo.metrics._faces import COSFACE_CROP


class IdentityLeakCosFace(_Leak):
    """Cosine with driving minus cosine with source."""

    card = leak_card(
        "identity_leak_cosface", "identity leak (CosFace)", "identity_cosface", SPHERE20, alignment=COSFACE_CROP
    )
