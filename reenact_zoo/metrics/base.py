"""A metric is a card that says exactly how a number is made, and a value: per pair, or of all pairs together."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from reenact_zoo.types import PairBatch, ReenactmentOutput
from reenact_zoo.weights.store import WeightStore

WHOLE_FRAMES = "none: whole frames as they are"
BY_INSTRUMENT = "each picture by the face found in itself, as its instrument's network demands"


class Measurer(Protocol):
    """What metrics ask of ``faces.measure.FaceMeasurer``: each instrument runs once per image."""

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        """Quantity of every image (B, 3, H, W): (B, …) float32, NaN rows where no face was found."""

    def missing(self, quantity: str) -> str | None:
        """None where the quantity can be measured, else what is needed, in words."""

    def weights(self, quantity: str) -> dict[str, str]:
        """Weight entry → SHA-256 of every file the quantity is made with."""

    def judges(self, quantity: str) -> tuple[str, ...]:
        """Weight entries of the quantity's own instrument."""


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
        entries: weight entries of networks that the metric runs itself, on whole pictures.
        alignment: how pictures or faces are placed before they are compared; "" takes what is true of all instruments.
        colour_range: what the first computation is given.
        reduction: how the values become one number.
        reads_aux: keys of ``ReenactmentOutput.aux`` that are read; a method without them has no value.
        penalty: what a pair counts as in the penalised mean where a face should be and is not found, for cards whose
            value is NaN then; None where there is no such number, or the value is the penalty already.
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
    entries: tuple[str, ...] = ()
    alignment: str = ""
    colour_range: str = "RGB in [0, 1]"
    reduction: str = "mean over the pairs that have a value"
    reads_aux: tuple[str, ...] = ()
    penalty: float | None = None

    def __post_init__(self) -> None:
        """Say what a card without a word about alignment means."""
        if not self.alignment:
            object.__setattr__(self, "alignment", BY_INSTRUMENT if self.quantities else WHOLE_FRAMES)

    @property
    def id(self) -> str:
        """Name and version: "cosim.v1"."""
        return f"{self.name}.v{self.version}"


class ReenactmentMetric(Metric):
    """What every metric has: a card, and the instruments and weight files behind it.

    Args:
        measurer: instruments for ``card.quantities``.
        store: weight files for ``card.entries``; by default the usual folders.
        kwargs: of ``torchmetrics.Metric``.
    """

    card: ClassVar[MetricCard]
    full_state_update = False

    def __init__(self, measurer: Measurer | None = None, store: WeightStore | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measurer = measurer
        self._store = store

    @property
    def store(self) -> WeightStore:
        """Where ``card.entries`` are looked up."""
        if self._store is None:
            self._store = WeightStore()
        return self._store

    def missing(self) -> str | None:
        """None where the metric can be computed, else what is needed, in words."""
        needs: dict[str, None] = {}
        for quantity in self.card.quantities:
            if self.measurer is None:
                return "an instrument: give the metric faces.measure.FaceMeasurer()"
            if (lacking := self.measurer.missing(quantity)) is not None:
                needs[lacking] = None
        needs |= dict.fromkeys(self.store.describe(e) for e in self.card.entries if not self.store.available(e))
        return "; ".join(needs) or None

    def weights(self) -> dict[str, str]:
        """Weight entry → SHA-256 of every file that decides the value, for records; {} while something is missing."""
        if self.missing() is not None:
            return {}
        quantities = self.card.quantities if self.measurer is not None else ()
        found = {e: sha for quantity in quantities for e, sha in self.measurer.weights(quantity).items()}  # type: ignore[union-attr]
        return found | {entry: self.store.sha256(entry) for entry in self.card.entries}

    def judges(self) -> tuple[str, ...]:
        """Weight entries whose network decides the value: a method trained with one of them is not judged by it."""
        if self.measurer is None:
            return self.card.entries
        own = [entry for quantity in self.card.quantities for entry in self.measurer.judges(quantity)]
        return tuple(dict.fromkeys([*own, *self.card.entries]))


class PairMetric(ReenactmentMetric):
    """Mean over pairs of a per-pair value; pairs whose value is NaN (no face, no truth) are left out and counted.

    A subclass sets ``card`` and writes ``pair_values``. The accumulation is a sum and a count, so the result depends
    neither on how the pairs were split into batches nor on the number of processes.
    """

    total: Tensor
    count: Tensor

    def __init__(self, measurer: Measurer | None = None, store: WeightStore | None = None, **kwargs: Any) -> None:
        super().__init__(measurer, store, **kwargs)
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


@dataclass(frozen=True)
class SetResult:
    """What all pairs together say.

    Attributes:
        value: the number; NaN where there is none.
        n: pairs that counted.
        not_applicable: why there is no value, in words; "" where there is one.
        pair_values: (N,) in the order of the rows, where the value is the mean of one number per pair once all pairs
            are known (NaN: the pair has none); intervals and columns come from it as from a ``PairMetric``. None where
            the value belongs to the set alone (FID).
        about: sizes and thresholds that a reader needs beside the value ("real", "impostor_pairs", "threshold" …).
    """

    value: float
    n: int
    not_applicable: str = ""
    pair_values: Tensor | None = None
    about: Mapping[str, float] | None = None

    @classmethod
    def none(cls, why: str) -> SetResult:
        """No value, and why."""
        return cls(math.nan, 0, not_applicable=why)


class SetMetric(ReenactmentMetric):
    """A value that needs all pairs at once: distributions, thresholds set by the data, order in time.

    A subclass sets ``card`` and ``row_names`` and writes ``pair_rows`` and ``set_value``. What is kept of a pair is a
    few numbers (features, embeddings, labels), never a picture, so a runner may store the rows of finished pairs and
    come back. ``set_value`` must not depend on the order of the rows.
    """

    row_names: ClassVar[tuple[str, ...]]

    def __init__(self, measurer: Measurer | None = None, store: WeightStore | None = None, **kwargs: Any) -> None:
        super().__init__(measurer, store, **kwargs)
        for name in self.row_names:
            self.add_state(f"rows_{name}", [], dist_reduce_fx="cat")

    @abstractmethod
    def pair_rows(self, batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
        """What is kept of each pair: every name of ``row_names`` → (B, …); NaN where a pair has none."""

    @abstractmethod
    def set_value(self, rows: Mapping[str, Tensor]) -> SetResult:
        """The value of all pairs from their rows, name → (N, …) with N >= 1."""

    def update(self, batch: PairBatch, output: ReenactmentOutput) -> None:
        """Add one batch."""
        for name, rows in self.pair_rows(batch, output).items():
            getattr(self, f"rows_{name}").append(rows)

    def result(self) -> SetResult:
        """The value of the pairs seen by this process, with its number of pairs."""
        kept = {name: getattr(self, f"rows_{name}") for name in self.row_names}
        if any(isinstance(rows, list) and not rows for rows in kept.values()):
            return SetResult.none("there is no pair")
        return self.set_value({name: dim_zero_cat(rows) for name, rows in kept.items()})

    def compute(self) -> Tensor:
        """The value, over all processes; NaN where there is none."""
        return torch.tensor(self.result().value, dtype=torch.float64)
