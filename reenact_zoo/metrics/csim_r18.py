"""CSIM by the smaller ArcFace network; another card, because other weights give other cosines."""

from reenact_zoo.metrics._embedding import ARCFACE_R18, _SourceOrTruthCosine, csim_card


class CSIMR18(_SourceOrTruthCosine):
    """Identity kept: cosine of embeddings."""

    card = csim_card("csim_r18", "CSIM (ArcFace r18)", "identity_arcface_r18", ARCFACE_R18)
