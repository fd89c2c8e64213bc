"""Mean absolute error over facial skin, nose and brows."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._regions import _RegionL1, parsed_area, parsed_card
from reenact_zoo.types import PairBatch

PARTS = ("skin", "nose", "brow_left", "brow_right")


class L1SkinBrows(_RegionL1):
    """Mean absolute error over facial skin, nose and brows."""

    card = parsed_card("l1_skin_brows", "L1 skin and brows", "the true target's facial skin, nose and brows", PARTS)

    def area(self, batch: PairBatch) -> Tensor | None:
        """Their share of each pixel of the true target."""
        return parsed_area(batch, PARTS)
