"""How well a metric ranks outputs by their true error, and whether it prefers a copy of the driving frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from reenact_zoo.data.evaluation import EvaluationPairs, as_tensor, collate
from reenact_zoo.data.pairs import Pair, evenly_spaced
from reenact_zoo.datasets.base import ClipDataset, FrameRef
from reenact_zoo.datasets.synthetic import Synthetic
from reenact_zoo.evaluation.progress import Bar
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.runner import build_dataset, shared_measurer
from reenact_zoo.evaluation.statistics import Difference, Groups, Summary, difference, summarise
from reenact_zoo.evaluation.validity.degradations import PICTURE_LADDERS, RENDERED, AlteredPeople, Case, Ladder, rungs
from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.registry import METRICS
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

Floats = NDArray[np.float64]
AT_ONCE = 8  # pairs whose pictures are held together
LEAST_RUNGS = 3  # with fewer there is no order to speak of
COPIES = ("copy_driving", "copy_source")


@dataclass(frozen=True)
class MetricValidity:
    """What the ladders say about one metric.

    Attributes:
        name: of the metric; ``title`` its column head.
        ladders: name → mean over pairs of the rank correlation between true error and the metric's badness along the
            ladder: 1 the metric finds the order, 0 it is blind to it, -1 it prefers the worse.
        overall: the same, mean over the ladders.
        copies: name of the copy → the copy against the mildly spoilt truths (mean over the first rungs of all ladders).
    """

    name: str
    title: str
    ladders: dict[str, Summary]
    overall: Summary
    copies: dict[str, Difference]

    @property
    def exposed(self) -> bool:
        """Whether it takes a copy of the driving frame for better than the truth with a small fault."""
        rate = self.copies["copy_driving"].win_rate
        return rate is not None and rate > 0.5


@dataclass
class Validity:
    """The study of one protocol.

    Attributes:
        protocol: its name and version; ``protocol_hash`` names the content.
        num_pairs: pairs that were used, of ``total_pairs``.
        ladders: that were climbed.
        metrics: best overall first.
        notes: what is not in the table, and why, a sentence each.
    """

    protocol: str
    protocol_hash: str
    num_pairs: int
    total_pairs: int
    ladders: tuple[Ladder, ...]
    metrics: list[MetricValidity]
    notes: list[str] = field(default_factory=list)


def validate(
    protocol: Protocol,
    *,
    root: Path | None = None,
    limit: int | None = None,
    metrics: Sequence[str] = (),
    measurer: Any = None,
    progress: bool = True,
) -> Validity:
    """Spoil the truths of a protocol's pairs by known amounts and see which metrics notice.

    Args:
        protocol: with cross pairs, whole frames, and a dataset that knows the truth.
        root: folder of the dataset where it lies with the user.
        limit: that many pairs, evenly spaced.
        metrics: registered names; none: all that can be computed here.
        measurer: ``faces.measure.FaceMeasurer``; None: the shared one.
        progress: show a bar on stderr.

    Raises:
        InputError: an unknown name, or a protocol without a known truth.
    """
    _check(protocol)
    dataset = build_dataset(protocol, root)
    listed = protocol.select_pairs(dataset)
    pairs = [listed[i] for i in evenly_spaced(0, len(listed), limit or len(listed))]
    instruments = measurer if measurer is not None else shared_measurer()
    chosen, notes = _metrics(metrics, instruments, protocol.resolution)
    world, why = _world(dataset)
    ladders = PICTURE_LADDERS if world is None else (*world.ladders(), *PICTURE_LADDERS)
    if why:
        notes.append(f"no ladders of {', '.join(name for name, *_ in RENDERED)}: {why}")
    values = _values(protocol, dataset, pairs, ladders, world, chosen, progress)
    roles = ([pair.source for pair in pairs], [pair.driving for pair in pairs])
    persons = [[dataset.clip(ref.clip).identity for ref in role] for role in roles]
    found = []
    for name, metric in chosen.items():
        if np.isnan(values[name]).all():
            notes.append(f"{name}: no value on these pictures")
        else:
            found.append(judge(name, metric, values[name], ladders, persons))
    found.sort(key=lambda row: -math.inf if row.overall.mean is None else row.overall.mean, reverse=True)
    title = f"{protocol.name} v{protocol.version}"
    return Validity(title, protocol.hash, len(pairs), len(listed), ladders, found, notes)


def judge(
    name: str, metric: PairMetric, values: Floats, ladders: Sequence[Ladder], persons: Sequence[Groups]
) -> MetricValidity:
    """One row from the metric's values (pairs, 1 + rungs of all ladders + 2 copies)."""
    better = metric.card.higher_is_better
    bad = -values if better else values
    parts = _parts(ladders)
    by_ladder = {
        ladder.name: ladder_correlations(bad[:, [0, *range(part.start, part.stop)]], (0.0, *ladder.levels))
        for ladder, part in zip(ladders, parts, strict=True)
    }
    mild = _row_means(values[:, [part.start for part in parts]])
    copies = {
        copy: difference(values[:, place - len(COPIES)], mild, *persons, higher_is_better=better)
        for place, copy in enumerate(COPIES)
    }
    return MetricValidity(
        name,
        metric.card.title,
        {ladder: summarise(of_pairs, *persons) for ladder, of_pairs in by_ladder.items()},
        summarise(_row_means(np.stack(list(by_ladder.values()), axis=1)), *persons),
        copies,
    )


def ladder_correlations(bad: Floats, levels: Sequence[float]) -> Floats:
    """Spearman's rank correlation of every row of ``bad`` (n, r) with ``levels`` (r,) → (n,).

    Rungs without a value (NaN: no face found) are left out; NaN where fewer than ``LEAST_RUNGS`` are left. A row that
    says the same of every rung is blind: 0.
    """
    return np.array([_spearman(row, np.asarray(levels, dtype=np.float64)) for row in bad], dtype=np.float64)


def _spearman(bad: Floats, levels: Floats) -> float:
    kept = ~np.isnan(bad)
    if kept.sum() < LEAST_RUNGS:
        return math.nan
    a, b = rankdata(bad[kept]), rankdata(levels[kept])
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else 0.0


def _row_means(values: Floats) -> Floats:
    """(n, k) → (n,) means of what is there; NaN where nothing is."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0).sum(axis=1)
    means: Floats = np.divide(total, there.sum(axis=1), out=np.full(len(values), np.nan), where=there.any(axis=1))
    return means


def _parts(ladders: Sequence[Ladder]) -> list[range]:
    """Columns of each ladder's rungs, behind the truth's."""
    ends = np.cumsum([1, *(len(ladder.levels) for ladder in ladders)]).tolist()
    return [range(start, stop) for start, stop in pairwise(ends)]


# --- what goes in -----------------------------------------------------------------------------------------------------


def _check(protocol: Protocol) -> None:
    if protocol.setting != "cross" or protocol.crop.policy != "none" or protocol.motion != "absolute":
        raise InputError(
            f"protocol '{protocol.name}' cannot tell whether metrics are right: that takes cross pairs, whole frames "
            "and absolute motion, as in synthetic_cross_64"
        )


def _metrics(names: Sequence[str], measurer: Any, resolution: int) -> tuple[dict[str, PairMetric], list[str]]:
    """Those that can be judged, and why the others cannot."""
    chosen: dict[str, PairMetric] = {}
    left: dict[str, list[str]] = {}
    for name in dict.fromkeys(names or METRICS.names()):
        metric = METRICS.get(name)(measurer)
        if why := _unfit(metric, resolution):
            left.setdefault(why, []).append(name)
        else:
            chosen[name] = metric
    notes = [f"{', '.join(names)}: {why}" for why, names in left.items()]
    if not chosen:
        raise InputError(f"no metric is left to judge: {'; '.join(notes)}")
    return chosen, notes


def _unfit(metric: Any, resolution: int) -> str:
    if not isinstance(metric, PairMetric):
        return "a number of all pairs together, which has no value for one output"
    if metric.card.higher_is_better is None:
        return "neither end is better"
    if "cross" not in metric.card.settings:
        return "defined for self pairs only"
    if metric.card.reads_aux:
        return f"reads {' and '.join(metric.card.reads_aux)} of a method, not its picture"
    if getattr(metric, "size", resolution) != resolution:
        return f"defined at {metric.size} pixels, not at {resolution}"
    lacking = metric.missing()
    return f"unavailable: needs {lacking}" if lacking else ""


def _world(dataset: ClipDataset) -> tuple[AlteredPeople | None, str]:
    """What draws people from other coefficients, or why nothing can."""
    if not isinstance(dataset, Synthetic):
        return None, "the data set renders no people"
    world = AlteredPeople(dataset.config)
    why = world.lacking()
    return (None, why) if why else (world, "")


def _values(
    protocol: Protocol,
    dataset: ClipDataset,
    pairs: Sequence[Pair],
    ladders: Sequence[Ladder],
    world: AlteredPeople | None,
    metrics: Mapping[str, PairMetric],
    progress: bool,
) -> dict[str, Floats]:
    """Metric → (pairs, 1 + rungs of all ladders + 2 copies)."""

    def image(ref: FrameRef) -> torch.Tensor:
        return as_tensor("source", dataset.frame(ref))

    data = EvaluationPairs(dataset, pairs, image, protocol.resolution)
    rows: dict[str, list[Floats]] = {name: [] for name in metrics}
    with Bar(f"{protocol.name} · metric validity", len(pairs), shown=progress) as bar:
        for chunk in _chunks(len(pairs)):
            batch = collate([data[i] for i in chunk])
            if "target" not in batch:
                raise InputError(f"nobody knows the true pictures of protocol '{protocol.name}'; name a synthetic one")
            cases = [_case(i, pairs[i], batch, k, world) for k, i in enumerate(chunk)]
            made = torch.stack([rungs(ladders, case) for case in cases])
            outputs = torch.cat([made, batch["driving"][:, None], batch["source"][:, None]], dim=1)
            for name, metric in metrics.items():
                rows[name].append(_measured(metric, batch, outputs))
            bar.advance(len(chunk), 0)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def _chunks(count: int) -> Iterator[range]:
    return (range(first, min(first + AT_ONCE, count)) for first in range(0, count, AT_ONCE))


def _case(number: int, pair: Pair, batch: PairBatch, row: int, world: AlteredPeople | None) -> Case:
    known = world and {
        "coefficients": world.target_coefficients(pair.source, pair.driving),
        "driving_coefficients": world.coefficients(pair.driving.clip)[pair.driving.index],
    }
    return Case(number, pair.source.clip, batch["target"][row], batch["driving"][row], **(known or {}))


@torch.inference_mode()
def _measured(metric: PairMetric, batch: PairBatch, outputs: torch.Tensor) -> Floats:
    """(B, outputs, 3, H, W) → (B, outputs)."""
    columns = [metric.pair_values(batch, ReenactmentOutput(outputs[:, i])) for i in range(outputs.shape[1])]
    return torch.stack(columns, dim=1).double().numpy()
