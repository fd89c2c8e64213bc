"""AED in its first meaning as its published evaluation code computes it: the sum of squared differences."""

from reenact_zoo.metrics._embedding import _EmbeddingDistance, distance_card


class AEDIdentitySquared(_EmbeddingDistance):
    """Squared Euclidean distance, in [0, 4]."""

    card = distance_card("aed_identity_squared", "AED (identity, squared)", "sum of squared differences")
    squared = True
