"""Hybrid sampling: with probability p the driving frame is another one of the source's video, else another person's."""

from __future__ import annotations

from reenact_zoo.methods._sampling import with_cross_pairs
from reenact_zoo.types import PairBatch


def hybrid(batch: PairBatch, paired_share: float) -> PairBatch:
    """Batch in which each paired row has kept its driving frame with probability ``paired_share``, p in [0, 1].

    The others get another person's, see ``with_cross_pairs``.
    """
    return with_cross_pairs(batch, 1 - paired_share)
