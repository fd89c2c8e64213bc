"""Per-pair values of one record as arrays, and their means by the turn of the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.evaluation.records import Record

YAW_EDGES_DEG = (0.0, 15.0, 30.0, np.inf)
YAW_LABELS = ("0–15°", "15–30°", "> 30°")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Values:
    """Per-pair values of one record.

    Attributes:
        pair_ids: in the order of the run.
        delta_yaw_deg: (n,) turn of the head between source and driving frame; NaN where unknown.
        metrics: name → (n,) values; NaN where a pair has none, all NaN where a metric has one value for all pairs.
        reasons: why a pair has no picture; "" where it has.
    """

    pair_ids: list[str]
    delta_yaw_deg: Floats
    metrics: dict[str, Floats]
    reasons: list[str]

    @classmethod
    def of(cls, record: Record) -> Values:
        """Read the record's Parquet file."""
        table = record.pair_values().to_pydict()
        blank = [None] * record.num_pairs
        metrics = {name: _floats(table.get(f"metric:{name}", blank)) for name in record.metrics}
        return cls(table["pair_id"], _floats(table["delta_yaw_deg"]), metrics, list(table["reason"]))

    def by_yaw(self, name: str) -> list[float]:
        """Mean of a metric in each bin of |delta yaw|; NaN in an empty one."""
        return [_mean(self.metrics[name][members]) for members in self._members()]

    def counts(self) -> list[int]:
        """Pairs in each bin of |delta yaw|."""
        return [int(members.sum()) for members in self._members()]

    def _members(self) -> list[NDArray[np.bool_]]:
        yaw = self.delta_yaw_deg
        return [(yaw >= low) & (yaw < high) for low, high in pairwise(YAW_EDGES_DEG)]

    @cached_property
    def places(self) -> dict[str, int]:
        """Pair → its place in the run."""
        return {pair_id: i for i, pair_id in enumerate(self.pair_ids)}

    def bin_of(self, pair_id: str) -> int | None:
        """Index into ``YAW_LABELS``; None where the turn is unknown."""
        yaw = self.delta_yaw_deg[self.places[pair_id]]
        return None if np.isnan(yaw) else int(np.searchsorted(YAW_EDGES_DEG, yaw, side="right")) - 1


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _mean(values: Floats) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")
