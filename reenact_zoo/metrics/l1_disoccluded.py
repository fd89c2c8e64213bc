"""Mean absolute error where the source shows nothing of what the target shows."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._regions import _RegionL1, disoccluded, region_card
from reenact_zoo.types import PairBatch


class L1Disoccluded(_RegionL1):
    """Mean absolute error over pixels that no source pixel explains: they have to be invented."""

    card = region_card(
        "l1_disoccluded",
        "L1 disoccluded",
        "the pixels of head and background that the source does not show",
        "area: where the true flow has no origin in the source (target_flow_valid = 0)",
    )

    def area(self, batch: PairBatch) -> Tensor | None:
        """1 where the true flow is not valid."""
        return disoccluded(batch)
