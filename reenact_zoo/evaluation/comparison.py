"""Methods against each other on the same pairs: differences with intervals, who wins how often, places with ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.evaluation.records import Record
from reenact_zoo.evaluation.statistics import Difference, difference, holm, ranks
from reenact_zoo.types import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Duel:
    """Two rows under one metric.

    Attributes:
        first: title of a row; ``difference`` is its value minus that of the second.
        second: title of the other.
        difference: over the pairs of which both have a value.
        p_holm: p-value corrected over all duels of the metric; None without a test.
    """

    first: str
    second: str
    difference: Difference
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """All rows under one metric.

    Attributes:
        ranks: title → place among the rows that compete, rows whose intervals overlap sharing one; empty where neither
            end is better or fewer than two compete.
        duels: every two rows that compete.
        n_common: pairs that show all faces in every row of which the metric's faces are known.
        common_means: title → mean over these pairs alone; empty where the metric looks at no face.
    """

    ranks: dict[str, int] = field(default_factory=dict)
    duels: list[Duel] = field(default_factory=list)
    n_common: int = 0
    common_means: dict[str, float] = field(default_factory=dict)


def title_of(record: Record) -> str:
    """Name of a row among others: label or method, with the seed where that is not 0."""
    return f"{record.title} (seed {record.seed})" if record.seed else record.title


def compare(records: Sequence[Record], bounds: Sequence[str] = ()) -> dict[str, Comparison]:
    """Metric → comparison, for records of one protocol.

    Args:
        records: whole or partial alike; those with the truth in hand (oracle, "bound:…") do not compete.
        bounds: further methods that do not compete.

    Raises:
        InputError: records of different protocols or pairs, or without per-pair values.
    """
    if not records:
        return {}
    for record in records[1:]:
        if (record.protocol_hash, record.pairs_hash) != (records[0].protocol_hash, records[0].pairs_hash):
            raise InputError(
                f"'{records[0].title}' and '{record.title}' were measured under different protocols or on different "
                "pairs and cannot be compared pair by pair; run one of them again"
            )
    tables = [record.pair_values().to_pydict() for record in records]
    groups = [tables[0]["source_identity"]]
    if str(records[0].protocol_content.get("setting")) == "cross":
        groups.append(tables[0]["driving_identity"])
    names = dict.fromkeys(name for record in records for name in record.metrics)
    return {name: _compare(name, records, tables, groups, bounds) for name in names}


def _compare(
    name: str,
    records: Sequence[Record],
    tables: Sequence[dict[str, list[Any]]],
    groups: list[list[str]],
    bounds: Sequence[str],
) -> Comparison:
    measured = [i for i, record in enumerate(records) if name in record.metrics and record.metrics[name].n]
    values = {i: _floats(tables[i][f"metric:{name}"]) for i in measured if f"metric:{name}" in tables[i]}
    rivals = [i for i in measured if not (records[i].oracle or records[i].bound or records[i].method in bounds)]
    better = records[measured[0]].metrics[name].card["higher_is_better"] if measured else None
    titles = {i: title_of(records[i]) for i in measured}
    duels = [
        Duel(titles[a], titles[b], difference(values[a], values[b], *groups, higher_is_better=better))
        for a, b in combinations([i for i in rivals if i in values], 2)
    ]
    corrected = holm([duel.difference.p for duel in duels])
    places: dict[str, int] = {}
    if better is not None and len(rivals) > 1:
        results = [records[i].metrics[name] for i in rivals]
        places = dict(
            zip([titles[i] for i in rivals], ranks([(r.mean or 0.0, r.low, r.high) for r in results], better))
        )
    return Comparison(
        places,
        [replace(duel, p_holm=p) for duel, p in zip(duels, corrected)],
        *_on_common_faces(name, tables, values, titles),
    )


def _on_common_faces(
    name: str, tables: Sequence[dict[str, list[Any]]], values: dict[int, Floats], titles: dict[int, str]
) -> tuple[int, dict[str, float]]:
    """Pairs whose faces every row shows, and the means on them: nobody gains by losing the hard ones."""
    column = f"faces:{name}"
    shown = [i for i in values if column in tables[i]]
    if not shown:
        return 0, {}
    common = np.all([[state == "found" for state in tables[i][column]] for i in shown], axis=0)
    common &= np.all([~np.isnan(values[i]) for i in shown], axis=0)
    if not common.any():
        return 0, {}
    return int(common.sum()), {titles[i]: float(values[i][common].mean()) for i in shown}


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
