"""Mean absolute error inside the open mouth."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._regions import _RegionL1, parsed_area, parsed_card
from reenact_zoo.types import PairBatch

PARTS = ("mouth",)


class L1MouthInterior(_RegionL1):
    """Mean absolute error inside the open mouth."""

    card = parsed_card("l1_mouth_interior", "L1 mouth interior", "the inside of the true target's open mouth", PARTS)

    def area(self, batch: PairBatch) -> Tensor | None:
        """Their share of each pixel of the true target."""
        return parsed_area(batch, PARTS)
