"""A metric is a value per pair, a card that says exactly how it was made, and a mean over pairs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric

from reenact_zoo.types import PairBatch, ReenactmentOutput


class Measurer(Protocol):
    """What metrics ask of ``faces.measure.FaceMeasurer``: each instrument runs once per image."""

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        """Quantity of every image (B, 3, H, W): (B, …) float32, NaN rows where no face was found."""

    def missing(self, quantity: str) -> str | None:
        """None where the quantity can be measured, else what is needed, in words."""


@dataclass(frozen=True)
class MetricCard:
    """Everything that decides a metric's value; two numbers under different cards never share a column.

    Attributes:
        name: registered name of the metric.
        version: raised whenever a value could change.
        title: column head, without arrow.
        unit: "" for a pure number, else "deg", "px", "dB", "%".
        higher_is_better: direction; None where neither end is good by itself.
        compares: what is compared with what, in words ("reenacted with true target, head region").
        settings: "self", "cross" or both.
        reads_target: needs PairBatch ``target`` on cross pairs (synthetic truth).
        quantities: what is asked of the measurer; their weights are the metric's weights.
        face_missing: what a pair without a detected face counts as.
        reference: paper, equation or implementation the definition comes from.
        digits: decimals in tables.
    """

    name: str
    version: int
    title: str
    unit: str
    higher_is_better: bool | None
    compares: str
    settings: frozenset[str] = frozenset({"self", "cross"})
    reads_target: bool = False
    quantities: tuple[str, ...] = ()
    face_missing: str = "not applicable"
    reference: str = ""
    digits: int = 3


class PairMetric(Metric):
    """Mean over pairs of a per-pair value; pairs whose value is NaN (no face, no truth) are left out and counted.

    A subclass sets ``card`` and writes ``pair_values``. The accumulation is a sum and a count, so the result depends
    neither on how the pairs were split into batches nor on the number of processes.
    """

    card: ClassVar[MetricCard]
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, measurer: Measurer | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measurer = measurer
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,) float; NaN where the pair has none."""

    def update(self, batch: PairBatch, output: ReenactmentOutput) -> None:
        """Add one batch."""
        values = self.pair_values(batch, output).double()
        valid = ~values.isnan()
        self.total = self.total + values[valid].sum()
        self.count = self.count + valid.sum()

    def compute(self) -> Tensor:
        """Mean over the pairs that have a value; NaN where none has."""
        mean: Tensor = self.total / self.count
        return mean
