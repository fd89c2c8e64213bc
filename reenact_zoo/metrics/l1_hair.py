"""Mean absolute error over the hair."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._regions import _RegionL1, parsed_area, parsed_card
from reenact_zoo.types import PairBatch

PARTS = ("hair",)


class L1Hair(_RegionL1):
    """Mean absolute error over the hair."""

    card = parsed_card("l1_hair", "L1 hair", "the true target's hair", PARTS)

    def area(self, batch: PairBatch) -> Tensor | None:
        """Their share of each pixel of the true target."""
        return parsed_area(batch, PARTS)
