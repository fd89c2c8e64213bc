"""Means and differences with bootstrap intervals that resample persons, because frames of one are not independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Groups = Sequence[str] | NDArray[np.object_]
RESAMPLES = 2000
_AT_ONCE = 4_000_000  # weights of resamples held together: 32 MB


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


@dataclass(frozen=True)
class Difference:
    """First method minus second, on the pairs of which both have a value.

    Attributes:
        n: pairs.
        mean: of the differences.
        low: lower end of the 95 % interval of the mean; None with fewer than two persons.
        high: upper end.
        win_rate: share of pairs on which the first is better, a tie counted half; None where neither end is better.
        win_low: lower end of its 95 % interval.
        win_high: upper end.
        p: two-sided: how far out 0 lies among the resampled means; None where there is no interval.
    """

    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    win_rate: float | None = None
    win_low: float | None = None
    win_high: float | None = None
    p: float | None = None


def summarise(values: Floats, *groups: Groups) -> Summary:
    """Summary of per-pair ``values`` (n,), NaN left out; each of ``groups`` names a person for every pair."""
    values = np.asarray(values, dtype=np.float64)
    kept = ~np.isnan(values)
    if not kept.any():
        return Summary(0)
    present = values[kept]
    interval = bootstrap_interval(present, *_chosen(groups, kept))
    std = float(present.std(ddof=1)) if len(present) > 1 else None
    low, high = interval or (None, None)
    return Summary(len(present), float(present.mean()), std, low, high)


def bootstrap_interval(
    values: Floats, *groups: Groups, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the mean of ``values`` (n,) under resampling of persons with replacement.

    Returns:
        (low, high), or None where some group has fewer than two persons: nothing can be said then.
    """
    means = bootstrap_means(np.asarray(values, dtype=np.float64)[:, None], *groups, resamples=resamples, seed=seed)
    return None if means is None else _ends(means[:, 0], level)


def bootstrap_means(
    columns: Floats, *groups: Groups, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64] | None:
    """Means (resamples, k) of the columns (n, k), all under the same draws.

    With one group (self pairs: the person) it is the cluster bootstrap. With two (cross pairs: source and driving) the
    persons of each are drawn independently and a pair counts as often as the product of both draws (the pigeonhole
    bootstrap, Owen 2007, Annals of Applied Statistics 1(2)), which allows for pairs that share either person.

    Returns:
        None where some group has fewer than two persons. A resample in which a sparse list lost all its pairs says
        nothing and is left out.
    """
    members = [np.unique(np.asarray(group, dtype=str), return_inverse=True) for group in groups]
    if not members or any(len(persons) < 2 for persons, _ in members):
        return None
    generator = np.random.default_rng(seed)
    draws = [_draws(generator, len(persons), resamples)[:, index] for persons, index in members]
    parts = []
    for rows in _slices(resamples, len(columns)):
        weights = np.ones((rows.stop - rows.start, len(columns)))
        for drawn in draws:
            weights *= drawn[rows]
        total = weights.sum(axis=1)
        kept = total > 0
        parts.append((weights[kept] @ columns) / total[kept, None])
    means: NDArray[np.float64] = np.concatenate(parts)
    return means if len(means) else None


def _draws(generator: np.random.Generator, persons: int, resamples: int) -> NDArray[np.int16]:
    """How often each person is drawn (resamples, persons)."""
    return generator.multinomial(persons, np.full(persons, 1 / persons), size=resamples).astype(np.int16)


def _slices(resamples: int, pairs: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(pairs, 1))
    return (slice(first, min(first + step, resamples)) for first in range(0, resamples, step))


def _ends(means: Floats, level: float = 0.95) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _chosen(groups: Sequence[Groups], kept: NDArray[np.bool_]) -> list[NDArray[np.object_]]:
    return [np.asarray(group, dtype=object)[kept] for group in groups]


def difference(first: Floats, second: Floats, *groups: Groups, higher_is_better: bool | None) -> Difference:
    """Paired comparison of per-pair values (n,) of two methods; pairs that either lacks are left out.

    The p-value inverts the percentile interval: twice the smaller share of resampled means on either side of 0, with 1
    added to counts so that it is never 0 (Davison and Hinkley 1997, section 4.2.2); under 0.05 exactly where the 95 %
    interval leaves 0 out, up to that 1.
    """
    deltas = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    kept = ~np.isnan(deltas)
    if not kept.any():
        return Difference(0)
    deltas = deltas[kept]
    sign = {True: 1.0, False: -1.0, None: np.nan}[higher_is_better]
    wins = (np.sign(deltas) * sign + 1) / 2
    win_rate = None if higher_is_better is None else float(wins.mean())
    means = bootstrap_means(np.stack([deltas, wins], axis=1), *_chosen(groups, kept))
    if means is None:
        return Difference(len(deltas), float(deltas.mean()), win_rate=win_rate)
    low, high = _ends(means[:, 0])
    win_low, win_high = (None, None) if win_rate is None else _ends(means[:, 1])
    p = _two_sided(means[:, 0])
    return Difference(len(deltas), float(deltas.mean()), low, high, win_rate, win_low, win_high, p)


def _two_sided(means: Floats) -> float:
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(means) + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values of a family of comparisons, corrected so that the chance of any false finding stays below the level.

    Step-down (Holm 1979): the k-th smallest of m is multiplied by m - k + 1 and is never below the one before it. None
    (no test) stays None and does not count.
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for place, (p, i) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - place)))
        corrected[i] = highest
    return corrected


Interval = tuple[float, float | None, float | None]


def ranks(cells: Sequence[Interval], higher_is_better: bool) -> list[int]:
    """Places from 1 on: one more than the number of others that are strictly better.

    Args:
        cells: (mean, low, high) of each; low and high are None where there is no interval.
        higher_is_better: direction. A cell is strictly better where the intervals do not overlap and its mean is
            better; where either has no interval, the means alone decide.
    """
    return [1 + sum(_beats(other, own, higher_is_better) for other in cells) for own in cells]


def _beats(a: Interval, b: Interval, higher_is_better: bool) -> bool:
    better, worse = (a, b) if higher_is_better else (b, a)  # on the axis itself: above and below
    if better[0] <= worse[0]:
        return False
    if better[1] is None or worse[2] is None:
        return True
    return better[1] > worse[2]
