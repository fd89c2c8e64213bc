"""What is known about the pairs of a run: which metrics apply, their values batch by batch, and their summaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets.base import ClipDataset
from reenact_zoo.evaluation import faces_seen
from reenact_zoo.evaluation.cells import Cell, Value
from reenact_zoo.evaluation.keys import metric_key, pair_key, quantity_key
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import MetricResult, plain
from reenact_zoo.evaluation.statistics import summarise
from reenact_zoo.metrics.base import SetMetric, SetResult
from reenact_zoo.registry import METRICS
from reenact_zoo.types import PairBatch, ReenactmentOutput
from reenact_zoo.weights.manifest import licences

_POSES = ("pose_3ddfa_v2", "pose_pnp")  # instruments for |delta yaw| where the pair file does not state it
Floats = NDArray[np.float64]


class Scores:
    """One cell a pair; metrics fill in what it lacks.

    Args:
        protocol: names the metrics.
        pairs: of the run, in order.
        dataset: says whose clips they are; intervals resample persons.
        measurer: instruments of the metrics.

    Attributes:
        cells: by index of the pair; None where nothing is known yet.
    """

    def __init__(self, protocol: Protocol, pairs: list[Pair], dataset: ClipDataset, measurer: Any) -> None:
        self._protocol, self._pairs, self._measurer = protocol, pairs, measurer
        self._persons = {
            "source_identity": [dataset.clip(pair.source.clip).identity for pair in pairs],
            "driving_identity": [dataset.clip(pair.driving.clip).identity for pair in pairs],
        }
        self.cells: list[Cell | None] = [None] * len(pairs)
        self._watching = faces_seen.Watching(measurer)
        self._metrics: dict[str, Any] = {name: METRICS.get(name)(self._watching) for name in protocol.metrics}
        lacking = {name: metric.missing() for name, metric in self._metrics.items()}
        self._unavailable = {name: f"needs {why}" if why else "" for name, why in lacking.items()}
        self._keys = {
            name: metric_key(metric, name, measurer, pairs if isinstance(metric, SetMetric) else None)
            for name, metric in self._metrics.items()
        }
        self._asked: dict[str, list[faces_seen.Asked] | None] = {}
        self._outcomes: dict[str, tuple[Floats | None, SetResult | None]] = {}
        self._stated_yaw = np.array([abs(p.bins.get("delta_yaw_deg", np.nan)) for p in pairs], dtype=np.float64)
        self._pose = next((q for q in _POSES if measurer.missing(q) is None), None)
        self._pose_key = quantity_key("delta_yaw", self._pose, measurer) if self._pose else ""
        detects = measurer.missing("detected") is None
        self._detected_key = quantity_key("detected", "detected", measurer) if detects else ""

    @property
    def reads_aux(self) -> frozenset[str]:
        """What metrics read beside the picture."""
        return frozenset(key for metric in self._metrics.values() for key in metric.card.reads_aux)

    # --- what is known and what is not --------------------------------------------------------------------------------

    def restore(self, known: Mapping[str, Cell], *, final: bool = True) -> None:
        """Take over what earlier runs, or other processes, found out, by pair key.

        ``final``: only what another try cannot change; the values of a pair that failed for the time being go with it.
        """
        self._outcomes.clear()
        for index, pair in enumerate(self._pairs):
            cell = known.get(pair_key(pair))
            self.cells[index] = None if final and cell is not None and cell.reason and not cell.final else cell

    def lacks(self, index: int) -> bool:
        """Whether the pair has to be made (again) for some value."""
        cell = self.cells[index]
        return cell is None or bool(self._wanted(index, cell))

    def _wanted(self, index: int, cell: Cell) -> list[str]:
        """Keys of the values that the pair should have and has not."""
        keys = [self._keys[n] for n in self._metrics if not self._unavailable[n] and not self._no_meaning(n, cell)]
        if self._detected_key:
            keys.append(self._detected_key)
        if self._pose_key and np.isnan(self._stated_yaw[index]):
            keys.append(self._pose_key)
        return [key for key in keys if key not in cell.values]

    def _no_meaning(self, name: str, cell: Cell | None) -> str:
        """Why a metric says nothing about a pair, or about all of them (``cell`` None)."""
        card = self._metrics[name].card
        if self._protocol.setting not in card.settings:
            return f"defined for {' and '.join(sorted(card.settings))} pairs only"
        known = cell.truth if cell is not None else any(c.truth for c in self.cells if c is not None)
        if card.reads_target and self._protocol.setting != "self" and not known:
            return "nobody knows the true picture of these pairs"
        return ""

    # --- a batch ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def add(self, indices: list[int], batch: PairBatch, output: ReenactmentOutput, reasons: Mapping[int, str]) -> None:
        """Find out what the pairs with these indices lack.

        Args:
            indices: places of the pairs in the run.
            batch: their pictures and truth.
            output: (B, 3, H, W) reenacted, a row of NaN where the method made no picture. What such a row counts as is
                said by the metric's card: nothing (NaN) for most, 0 for a rate.
            reasons: why there is no picture, by index.
        """
        self._outcomes.clear()
        truth = _truth_known(batch)
        for row, index in enumerate(indices):
            cell = self.cells[index] = self.cells[index] or Cell()
            cell.truth, cell.reason, cell.final = truth[row], reasons.get(index, ""), True
        wanted = {index: set(self._wanted(index, cast(Cell, self.cells[index]))) for index in indices}
        for name in self._metrics:
            chosen = [row for row, index in enumerate(indices) if self._keys[name] in wanted[index]]
            if chosen:
                self._compute(name, [indices[row] for row in chosen], *_rows(batch, output, chosen))
        self._note(self._detected_key, indices, wanted, lambda: self._measurer.measure("detected", output.reenacted))
        self._note(self._pose_key, indices, wanted, lambda: self._estimated_delta_yaw(batch))

    def _compute(self, name: str, indices: list[int], batch: PairBatch, output: ReenactmentOutput) -> None:
        metric, key = self._metrics[name], self._keys[name]
        of_set = isinstance(metric, SetMetric)
        compute = metric.pair_rows if of_set else metric.pair_values
        if metric.card.quantities and name not in self._asked:
            self._asked[name] = faces_seen.rehearse(compute, self._watching, batch)
        self._watching.answers.clear()
        computed = compute(batch, output)
        seen = faces_seen.faces(self._watching, self._asked.get(name), batch, output.reenacted)
        self._watching.answers.clear()
        numbers = torch.full((len(indices),), torch.nan) if of_set else computed
        for row, (index, number) in enumerate(zip(indices, numbers.double().tolist(), strict=True)):
            cell = cast(Cell, self.cells[index])
            cell.values[key] = Value(number, "" if seen is None else seen[row])
            if of_set:
                cell.rows[key] = {part: rows[row].cpu().numpy() for part, rows in computed.items()}

    def _note(self, key: str, indices: list[int], wanted: Mapping[int, set[str]], measure: Any) -> None:
        """A number that the runner itself takes from an instrument."""
        chosen = [row for row, index in enumerate(indices) if key in wanted[index]]
        numbers = measure().double().tolist() if chosen else []
        for row in chosen:
            cast(Cell, self.cells[indices[row]]).values[key] = Value(numbers[row])

    def _estimated_delta_yaw(self, batch: PairBatch) -> Tensor:
        yaws = [self._measurer.measure(self._pose, batch[role])[:, 0] for role in ("source", "driving")]
        return cast(Tensor, (yaws[1] - yaws[0]).abs())

    def fail(self, index: int, reason: str, *, final: bool) -> None:
        """No picture of the pair; ``final`` where trying again cannot help."""
        cell = self.cells[index] = self.cells[index] or Cell()
        cell.reason, cell.final = reason, final

    # --- summaries ----------------------------------------------------------------------------------------------------

    @property
    def reasons(self) -> dict[int, str]:
        """Why there is no picture, by index, in the order of the pairs."""
        return {i: cell.reason for i, cell in enumerate(self.cells) if cell is not None and cell.reason}

    def _numbers(self, key: str) -> Floats:
        return np.array([_number(cell, key) for cell in self.cells], dtype=np.float64)

    def _faces(self, name: str) -> list[str]:
        key = self._keys[name]
        return [cell.values[key].faces if cell is not None and key in cell.values else "" for cell in self.cells]

    def detection_rate(self) -> float | None:
        """Share of pairs with a face in the reenacted picture (no picture, no face); None without a detector."""
        detected = self._numbers(self._detected_key)
        seen = detected[~np.isnan(detected)]
        return float(seen.mean()) if len(seen) else None

    def results(self) -> dict[str, MetricResult]:
        """Summaries by metric."""
        return {name: self._result(name) for name in self._metrics}

    def _result(self, name: str) -> MetricResult:
        metric = self._metrics[name]
        weights = metric.weights()
        card = plain({**asdict(metric.card), "weights": weights, "licences": licences(weights)})
        if self._unavailable[name]:
            return MetricResult(card, unavailable=self._unavailable[name])
        if why := self._no_meaning(name, None):
            return MetricResult(card, not_applicable=why)
        values, result = self._outcome(name)
        if result is not None:
            card["about"] = plain(dict(result.about or {}))
            if result.not_applicable:
                return MetricResult(card, not_applicable=result.not_applicable)
        if values is None:
            assert result is not None  # what has no number a pair has one for all of them
            value = None if np.isnan(result.value) else float(result.value)
            return MetricResult(card, value, n=result.n, **self._seen(name, None))
        if metric.card.reads_aux and np.isnan(values).all():
            return MetricResult(card, not_applicable=f"the method gives no {' and no '.join(metric.card.reads_aux)}")
        return self._summary(card, values, name)

    def _outcome(self, name: str) -> tuple[Floats | None, SetResult | None]:
        """A number a pair (None where there is none), and what all of them say together (None for a ``PairMetric``)."""
        if name not in self._outcomes:
            of_set = isinstance(self._metrics[name], SetMetric)
            self._outcomes[name] = self._of_set(name) if of_set else (self._numbers(self._keys[name]), None)
        return self._outcomes[name]

    def _of_set(self, name: str) -> tuple[Floats | None, SetResult]:
        metric, key = self._metrics[name], self._keys[name]
        held = {i: cell.rows[key] for i, cell in enumerate(self.cells) if cell is not None and key in cell.rows}
        if not held:
            return None, SetResult.none("there is no pair")
        parts = {part: np.stack([rows[part] for rows in held.values()]) for part in metric.row_names}
        result: SetResult = metric.set_value({part: torch.from_numpy(rows) for part, rows in parts.items()})
        if result.pair_values is None:
            return None, result
        values = np.full(len(self._pairs), np.nan)
        values[list(held)] = result.pair_values.double().numpy()
        return values, result

    def _summary(self, card: dict[str, Any], values: Floats, name: str) -> MetricResult:
        blank = set(np.flatnonzero(np.isnan(values)).tolist())
        missing = len(blank - set(self.reasons))
        seen = self._seen(name, values)
        return MetricResult(card, **asdict(summarise(values, *self.groups)), missing=missing, **seen)

    def _seen(self, name: str, values: Floats | None) -> dict[str, Any]:
        """Fields about faces; {} where the metric looks at none."""
        states = np.array(self._faces(name), dtype=object)
        shown = (states == faces_seen.FOUND) | (states == faces_seen.LOST)  # by the reference
        known = states != ""
        if not known.any():
            return {}
        lost, found = states == faces_seen.LOST, states == faces_seen.FOUND
        fields: dict[str, Any] = {
            "lost": int(lost.sum()),
            "lost_reference": int((known & ~shown).sum()),
            "detection_rate": float(found.sum() / shown.sum()) if shown.any() else None,
        }
        if values is not None:
            of_found = values[found & ~np.isnan(values)]
            fields |= {"n_found": len(of_found), "mean_found": float(of_found.mean()) if len(of_found) else None}
            fields["mean_penalised"] = self._penalised(name, values, shown, lost)
        return fields

    def _penalised(self, name: str, values: Floats, shown: NDArray[Any], lost: NDArray[Any]) -> float | None:
        penalty = getattr(self._metrics[name].card, "penalty", None)
        counted = values.copy()
        if penalty is not None:
            counted[lost & np.isnan(counted)] = penalty
        if np.isnan(counted[lost]).any():
            return None
        counted = counted[shown & ~np.isnan(counted)]
        return float(counted.mean()) if len(counted) else None

    @property
    def groups(self) -> list[list[str]]:
        """Persons that intervals resample: of the source and, on cross pairs, of the driving frame too."""
        names = ("source_identity", "driving_identity") if self._protocol.setting == "cross" else ("source_identity",)
        return [self._persons[name] for name in names]

    def columns(self) -> dict[str, Any]:
        """The per-pair table: who, what, how far, failures and why, a column a metric, whose face was lost."""
        reasons = self.reasons
        stated, estimated = self._stated_yaw, self._numbers(self._pose_key)
        metrics = {f"metric:{name}": values for name in self._metrics if (values := self._outcome(name)[0]) is not None}
        faces = {f"faces:{name}": states for name in self._metrics if any(states := self._faces(name))}
        return {
            "pair_id": [pair.pair_id for pair in self._pairs],
            "source": [str(pair.source) for pair in self._pairs],
            "driving": [str(pair.driving) for pair in self._pairs],
            "same_identity": [pair.same_identity for pair in self._pairs],
            **self._persons,
            "delta_yaw_deg": np.where(np.isnan(stated), estimated, stated),
            "status": ["failed" if i in reasons else "ok" for i in range(len(self._pairs))],
            "reason": [reasons.get(i, "") for i in range(len(self._pairs))],
            "detected": self._numbers(self._detected_key),
            **metrics,
            **faces,
        }


def _number(cell: Cell | None, key: str) -> float:
    return cell.values[key].number if cell is not None and key in cell.values else float("nan")


def _truth_known(batch: PairBatch) -> list[bool]:
    if "target" not in batch:
        return [False] * len(batch["source"])
    return [not bool(row.isnan().any()) for row in batch["target"]]


def _rows(batch: PairBatch, output: ReenactmentOutput, rows: list[int]) -> tuple[PairBatch, ReenactmentOutput]:
    """Some rows of every entry; all of them as they are."""
    if len(rows) == len(output.reenacted):
        return batch, output
    entries = cast("dict[str, Any]", batch).items()
    chosen = {k: v[rows] if isinstance(v, Tensor) else [v[i] for i in rows] for k, v in entries}
    aux = {key: value[rows] for key, value in output.aux.items()}
    return cast(PairBatch, chosen), ReenactmentOutput(output.reenacted[rows], aux)
