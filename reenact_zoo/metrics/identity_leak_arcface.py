"""How much more the reenacted face resembles the driver than the source, by ArcFace."""

from reenact_zoo.metrics._embedding import ARCFACE_R50, _Leak, leak_card


class IdentityLeakArcFace(_Leak):
    """Cosine with driving minus cosine with source."""

    card = leak_card("identity_leak_arcface", "identity leak (ArcFace r50)", "identity_arcface_r50", ARCFACE_R50)
