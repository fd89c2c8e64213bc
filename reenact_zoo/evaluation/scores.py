"""Per-pair values of a run: which metrics apply, their values batch by batch, and their summaries."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets.base import ClipDataset
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import MetricResult, plain
from reenact_zoo.evaluation.statistics import summarise
from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.registry import METRICS
from reenact_zoo.types import PairBatch, ReenactmentOutput
from reenact_zoo.weights.manifest import licences

_POSES = ("pose_3ddfa_v2", "pose_pnp")  # instruments for |delta yaw| where the pair file does not state it


class Scores:
    """Collects values; rows of pairs without a picture stay NaN.

    Args:
        protocol: names the metrics.
        pairs: of the run, in order.
        dataset: says whose clips they are; intervals resample persons.
        measurer: instruments of the metrics.
    """

    def __init__(self, protocol: Protocol, pairs: list[Pair], dataset: ClipDataset, measurer: Any) -> None:
        self._protocol, self._pairs, self._measurer = protocol, pairs, measurer
        self._persons = {
            "source_identity": [dataset.clip(pair.source.clip).identity for pair in pairs],
            "driving_identity": [dataset.clip(pair.driving.clip).identity for pair in pairs],
        }
        self._metrics: dict[str, PairMetric] = {n: METRICS.get(n)(measurer) for n in protocol.metrics}
        self._unavailable = {name: self._lacking(metric.card.quantities) for name, metric in self._metrics.items()}
        self._values = {name: np.full(len(pairs), np.nan) for name in self._metrics}
        self._detected = np.full(len(pairs), np.nan)
        self._delta_yaw = np.array([abs(pair.bins.get("delta_yaw_deg", np.nan)) for pair in pairs], dtype=np.float64)
        self._truth_seen = protocol.setting == "self"
        self._pose = next((q for q in _POSES if measurer.missing(q) is None), None)
        self._detects = measurer.missing("detected") is None

    def _lacking(self, quantities: tuple[str, ...]) -> str:
        reasons = dict.fromkeys(why for quantity in quantities if (why := self._measurer.missing(quantity)))
        return f"needs {'; '.join(reasons)}" if reasons else ""

    def _applies(self, name: str) -> bool:
        return not self._unavailable[name] and not self._no_meaning(name)

    def _no_meaning(self, name: str) -> str:
        card = self._metrics[name].card
        if self._protocol.setting not in card.settings:
            return f"defined for {' and '.join(sorted(card.settings))} pairs only"
        if card.reads_target and not self._truth_seen:
            return "nobody knows the true picture of these pairs"
        return ""

    @torch.inference_mode()
    def add(self, indices: list[int], batch: PairBatch, reenacted: Tensor) -> None:
        """Values of the pairs with these indices.

        Args:
            indices: places of the pairs in the run.
            batch: their pictures and truth.
            reenacted: (B, 3, H, W); a row of NaN where the method made no picture. What such a row counts as is said by
                the metric's card: nothing (NaN) for most, 0 for a rate.
        """
        self._truth_seen = self._truth_seen or "target" in batch
        output = ReenactmentOutput(reenacted)
        for name, metric in self._metrics.items():
            if self._applies(name):
                self._values[name][indices] = metric.pair_values(batch, output).double().numpy()
        if self._detects:
            self._detected[indices] = self._measurer.measure("detected", reenacted).double().numpy()
        unknown = np.isnan(self._delta_yaw[indices])
        if self._pose and unknown.any():
            self._delta_yaw[indices] = np.where(unknown, self._estimated_delta_yaw(batch), self._delta_yaw[indices])

    def _estimated_delta_yaw(self, batch: PairBatch) -> NDArray[np.float64]:
        yaws = [self._measurer.measure(self._pose, batch[role])[:, 0].double() for role in ("source", "driving")]
        delta: NDArray[np.float64] = (yaws[1] - yaws[0]).abs().numpy()
        return delta

    def detection_rate(self) -> float | None:
        """Share of pairs with a face in the reenacted picture (no picture, no face); None without a detector."""
        seen = self._detected[~np.isnan(self._detected)]
        return float(seen.mean()) if len(seen) else None

    def results(self, failed: set[int]) -> dict[str, MetricResult]:
        """Summaries by metric; ``failed`` are the indices of pairs that gave no picture."""
        groups = [self._persons["source_identity"]]
        if self._protocol.setting == "cross":
            groups.append(self._persons["driving_identity"])
        found = {}
        for name, metric in self._metrics.items():
            weights = self._weights(name)
            card = plain({**asdict(metric.card), "weights": weights, "licences": licences(weights)})
            result = MetricResult(card, unavailable=self._unavailable[name])
            if not result.unavailable:
                result.not_applicable = self._no_meaning(name)
            if self._applies(name):
                blank = set(np.flatnonzero(np.isnan(self._values[name])).tolist())
                result = MetricResult(
                    card, **asdict(summarise(self._values[name], *groups)), missing=len(blank - failed)
                )
            found[name] = result
        return found

    def _weights(self, name: str) -> dict[str, str]:
        if self._unavailable[name]:
            return {}
        quantities = self._metrics[name].card.quantities
        return {file: sha for quantity in quantities for file, sha in self._measurer.weights(quantity).items()}

    def columns(self, reasons: dict[int, str]) -> dict[str, Any]:
        """The per-pair table: who, what, how far, whether it failed and why, one column a metric."""
        everyone = range(len(self._pairs))
        return {
            "pair_id": [pair.pair_id for pair in self._pairs],
            "source": [str(pair.source) for pair in self._pairs],
            "driving": [str(pair.driving) for pair in self._pairs],
            "same_identity": [pair.same_identity for pair in self._pairs],
            **self._persons,
            "delta_yaw_deg": self._delta_yaw,
            "status": ["failed" if i in reasons else "ok" for i in everyone],
            "reason": [reasons.get(i, "") for i in everyone],
            "detected": self._detected,
            **{f"metric:{name}": values for name, values in self._values.items()},
        }
