"""Differences of coefficients of a face model, the same for every model."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from reenact_zoo.metrics._faces import measured_pair
from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput


def mean_squared_difference(a: Tensor, b: Tensor) -> Tensor:
    """Coefficients (B, K) → (B,)."""
    return (a - b).square().mean(-1)


def mean_absolute_difference(a: Tensor, b: Tensor) -> Tensor:
    """Coefficients (B, K) → (B,)."""
    return (a - b).abs().mean(-1)


class _ToDriving(PairMetric):
    """Compares a row of numbers measured in reenacted with the same row measured in driving."""

    @abstractmethod
    def difference(self, found: Tensor, wanted: Tensor) -> Tensor:
        """(B, K) each → (B,)."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        return self.difference(
            *measured_pair(self.measurer, self.card.quantities[0], output.reenacted, batch["driving"])
        )


class _MeanSquare(_ToDriving):
    def difference(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean over the row."""
        return mean_squared_difference(found, wanted)


class _MeanAbsolute(_ToDriving):
    def difference(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean over the row."""
        return mean_absolute_difference(found, wanted)
