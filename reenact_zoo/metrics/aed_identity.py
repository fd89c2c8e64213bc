"""AED in its first meaning: Euclidean distance of identity embeddings (the FOMM paper's words)."""

from reenact_zoo.metrics._embedding import _EmbeddingDistance, distance_card


class AEDIdentity(_EmbeddingDistance):
    """Euclidean distance, in [0, 2]."""

    card = distance_card("aed_identity", "AED (identity)", "Euclidean distance")
