"""Summaries against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reenact_zoo.evaluation.statistics import (
    _slices,
    bootstrap_interval,
    bootstrap_means,
    difference,
    holm,
    ranks,
    summarise,
)


def test_mean_and_sample_deviation_leave_nan_out() -> None:
    summary = summarise(np.array([1.0, np.nan, 3.0, 5.0]), ["a", "b", "a", "c"])
    assert (summary.n, summary.mean) == (3, 3.0)
    assert summary.std == pytest.approx(2.0)  # sqrt((4 + 0 + 4) / 2)


def test_nothing_is_said_about_nothing() -> None:
    assert summarise(np.array([np.nan]), ["a"]).mean is None
    one = summarise(np.array([2.0]), ["a"])
    assert (one.mean, one.std, one.low) == (2.0, None, None)


def test_one_person_gives_no_interval_however_many_frames() -> None:
    assert bootstrap_interval(np.arange(100.0), ["a"] * 100) is None


def test_interval_matches_the_normal_one_for_independent_values() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=400)
    interval = bootstrap_interval(values, [str(i) for i in range(400)])
    half = 1.96 * values.std() / np.sqrt(400)  # the bootstrap's own variance is that of the empirical distribution
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_repeating_frames_of_a_person_does_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=30)
    persons = [str(i) for i in range(30)]
    once = bootstrap_interval(values, persons)
    often = bootstrap_interval(np.repeat(values, 50), np.repeat(persons, 50).tolist())
    assert once == pytest.approx(often)


def test_two_way_interval_has_the_variance_of_both_factors() -> None:
    # y = a_i + b_j on a full grid: Var(mean) = Var(a)/I + Var(b)/J when rows and columns are drawn independently.
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=40), generator.normal(size=25)
    values = (a[:, None] + b[None, :]).ravel()
    sources, drivings = np.repeat(np.arange(40), 25).astype(str), np.tile(np.arange(25), 40).astype(str)
    interval = bootstrap_interval(values, sources.tolist(), drivings.tolist())
    assert interval is not None
    expected = 2 * 1.96 * np.sqrt(a.var() / 40 + b.var() / 25)
    assert interval[1] - interval[0] == pytest.approx(expected, rel=0.08)
    one_way = bootstrap_interval(values, sources.tolist())
    assert one_way is not None
    assert one_way[1] - one_way[0] < 0.8 * expected


def test_intervals_are_the_same_every_time() -> None:
    values = np.random.default_rng(4).normal(size=20)
    assert bootstrap_interval(values, list("abcde" * 4)) == bootstrap_interval(values, list("abcde" * 4))


def test_resamples_are_drawn_in_parts_that_fit_into_memory() -> None:
    parts = list(_slices(2000, 100_000))
    assert max(part.stop - part.start for part in parts) * 100_000 <= 4_000_000
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(2000))


def test_columns_are_resampled_together() -> None:
    values = np.random.default_rng(5).normal(size=12)
    means = bootstrap_means(np.stack([values, 2 * values + 1], axis=1), list("abcdef" * 2))
    assert means is not None
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0] + 1, atol=1e-12)


# --- one method against another ---------------------------------------------------------------------------------------


def _independent(shift: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(6)
    first, noise = generator.normal(size=150), generator.normal(size=150)
    noise = (noise - noise.mean()) / noise.std()
    return first, first - shift - noise, [str(i) for i in range(150)]


@pytest.mark.parametrize("z", [0.5, 1.5, 2.2])
def test_a_paired_difference_matches_the_normal_test(z: float) -> None:
    """Differences of mean z / sqrt(n) and variance 1: the p-value of a z-test is known."""
    first, second, persons = _independent(z / np.sqrt(150))
    found = difference(first, second, persons, higher_is_better=True)
    assert found.n == 150
    assert found.mean == pytest.approx(z / np.sqrt(150))
    assert found.p == pytest.approx(2 * stats.norm.sf(z), abs=0.04)  # 2,000 resamples, a t-like tail
    half = 1.96 / np.sqrt(150)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.15 * half)


def test_who_is_better_on_how_many_pairs() -> None:
    first, second = np.array([1.0, 2.0, 3.0, np.nan, 5.0]), np.array([2.0, 2.0, 1.0, 0.0, 4.0])
    persons = list("abcde")
    higher = difference(first, second, persons, higher_is_better=True)
    lower = difference(first, second, persons, higher_is_better=False)
    assert (higher.n, higher.mean) == (4, 0.5)
    assert (higher.win_rate, lower.win_rate) == (0.625, 0.375)  # won 2, lost 1, one tie
    assert higher.win_low is not None
    assert higher.win_high is not None
    assert 0 <= higher.win_low < 0.625 < higher.win_high <= 1
    neither = difference(first, second, persons, higher_is_better=None)
    assert (neither.win_rate, neither.mean) == (None, 0.5)


def test_equal_methods_do_not_differ() -> None:
    values = np.random.default_rng(7).normal(size=20)
    found = difference(values, values, list("abcde" * 4), higher_is_better=True)
    assert (found.mean, found.low, found.high, found.win_rate, found.p) == (0.0, 0.0, 0.0, 0.5, 1.0)


def test_frames_of_one_person_prove_nothing() -> None:
    assert difference(np.ones(50), np.zeros(50), ["a"] * 50, higher_is_better=True).p is None
    assert difference(np.array([np.nan]), np.array([1.0]), ["a"], higher_is_better=True).n == 0


def test_holm_matches_the_worked_example() -> None:
    """Holm 1979: sorted .005 .01 .03 .04 become 4 x .005, 3 x .01, 2 x .03, and .06 again instead of .04."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_rows_whose_intervals_overlap_share_a_place() -> None:
    cells = [(0.9, 0.8, 1.0), (0.85, 0.75, 0.95), (0.5, 0.4, 0.6), (0.2, None, None)]
    assert ranks(cells, higher_is_better=True) == [1, 1, 3, 4]
    assert ranks(cells, higher_is_better=False) == [3, 3, 2, 1]
    assert ranks([(0.3, None, None), (0.3, None, None)], higher_is_better=True) == [1, 1]
    touching = [(2.0, 1.0, 3.0), (0.5, 0.0, 1.0)]
    assert ranks(touching, higher_is_better=True) == [1, 1]
