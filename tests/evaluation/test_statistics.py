"""Summaries against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from reenact_zoo.evaluation.statistics import bootstrap_interval, summarise


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
