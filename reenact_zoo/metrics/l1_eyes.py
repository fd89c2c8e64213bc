"""Mean absolute error over the open eyes."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._regions import _RegionL1, parsed_area, parsed_card
from reenact_zoo.types import PairBatch

PARTS = ("eye_left", "eye_right")


class L1Eyes(_RegionL1):
    """Mean absolute error over the open eyes."""

    card = parsed_card("l1_eyes", "L1 eyes", "the true target's open eyes (white, iris, pupil)", PARTS)

    def area(self, batch: PairBatch) -> Tensor | None:
        """Their share of each pixel of the true target."""
        return parsed_area(batch, PARTS)
