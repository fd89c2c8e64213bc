"""Mean, spread and a bootstrap interval that resamples persons, because frames of one person are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Summary:
    """Of the values that exist.

    Attributes:
        n: how many there are; the other fields are None where it is 0 (std: 1, interval: fewer than two persons).
        mean: arithmetic mean.
        std: sample standard deviation (divisor n - 1) over pairs: what papers print after ±.
        low: lower end of the 95 % interval of the mean.
        high: upper end.
    """

    n: int
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None


def summarise(values: NDArray[np.floating], *groups: Sequence[str]) -> Summary:
    """Summary of per-pair ``values`` (n,), NaN left out; each of ``groups`` names a person for every pair."""
    values = np.asarray(values, dtype=np.float64)
    kept = ~np.isnan(values)
    if not kept.any():
        return Summary(0)
    present = values[kept]
    interval = bootstrap_interval(present, *[np.asarray(group, dtype=object)[kept] for group in groups])
    std = float(present.std(ddof=1)) if len(present) > 1 else None
    low, high = interval or (None, None)
    return Summary(len(present), float(present.mean()), std, low, high)


def bootstrap_interval(
    values: NDArray[np.floating],
    *groups: Sequence[str] | NDArray[np.object_],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile interval of the mean of ``values`` (n,) under resampling of persons with replacement.

    With one group (self pairs: the person) it is the cluster bootstrap. With two (cross pairs: source and driving) the
    persons of each are drawn independently and a pair counts as often as the product of both draws (the pigeonhole
    bootstrap, Owen 2007, Annals of Applied Statistics 1(2)), which allows for pairs that share either person.

    Returns:
        (low, high), or None where some group has fewer than two persons: nothing can be said then.
    """
    generator = np.random.default_rng(seed)
    weights = np.ones((resamples, len(values)))
    for group in groups:
        persons, index = np.unique(np.asarray(group, dtype=str), return_inverse=True)
        if len(persons) < 2:
            return None
        draws = generator.multinomial(len(persons), np.full(len(persons), 1 / len(persons)), size=resamples)
        weights *= draws[:, index]
    total = weights.sum(axis=1)
    drawn = total > 0  # a sparse pair list can lose all its pairs in one resample, which then says nothing
    if not groups or not drawn.any():
        return None
    means = (weights[drawn] @ np.asarray(values, dtype=np.float64)) / total[drawn]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
