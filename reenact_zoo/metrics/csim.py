"""CSIM: cosine of ArcFace embeddings, with the source on cross pairs and with the true frame on self pairs."""

from reenact_zoo.metrics._embedding import ARCFACE_R50, _SourceOrTruthCosine, csim_card


class CSIM(_SourceOrTruthCosine):
    """Identity kept: cosine of embeddings."""

    card = csim_card("csim", "CSIM (ArcFace r50)", "identity_arcface_r50", ARCFACE_R50)
