"""Mean absolute error of the background that the moving head lays bare."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.metrics._regions import _RegionL1, region_card, uncovered_background
from reenact_zoo.types import PairBatch


class L1BackgroundUncovered(_RegionL1):
    """Mean absolute error of inpainted background; ``l1_background`` is about background that both pictures show."""

    card = region_card(
        "l1_background_uncovered",
        "L1 uncovered background",
        "background that the source's head hides and the true target shows",
        "area: true source matte > 0.5, outside the true target matte (> 0.5) dilated by 3 px",
    )

    def area(self, batch: PairBatch) -> Tensor | None:
        """1 behind the source's head, away from the target's."""
        return uncovered_background(batch)
