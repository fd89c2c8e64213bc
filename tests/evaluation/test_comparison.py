"""Methods against each other, from records of the fake world with known differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_world import FakeMeasurer, protocol_writer

from reenact_zoo.evaluation.comparison import compare, title_of
from reenact_zoo.evaluation.records import Record
from reenact_zoo.evaluation.runner import run
from reenact_zoo.types import InputError


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("compared")
    protocol = protocol_writer(folder)(metrics=["fake_world:ToTarget", "fake_world:Level", "fake_world:FaceLevel"])
    names = ("Halfway", "Source", "Brightened", "NaNOnBright")
    options: dict[str, Any] = {"out": folder, "progress": False, "measurer": FakeMeasurer()}
    return [run(protocol, f"fake_world:{name}", **options) for name in names]


def test_differences_are_those_of_the_pairs(records: list[Record]) -> None:
    found = compare(records)["fake_world:ToTarget"]
    assert found.ranks["fake_world:Halfway"] == 1
    assert found.ranks["fake_world:Brightened"] > 1
    duel = next(d for d in found.duels if (d.first, d.second) == ("fake_world:Halfway", "fake_world:Source"))
    halfway, source = (np.array(r.pair_values().column("metric:fake_world:ToTarget")) for r in records[:2])
    assert duel.difference.mean == pytest.approx(float((halfway - source).mean()))
    assert duel.difference.win_rate == 1.0  # the smaller error on every pair
    assert len(found.duels) == 6
    assert all(d.p_holm is None or d.p_holm >= d.difference.p for d in found.duels)  # type: ignore[operator]


def test_pairs_that_one_method_lost_count_for_none(records: list[Record]) -> None:
    found = compare(records)["fake_world:FaceLevel"]
    columns = [np.array(r.pair_values().column("faces:fake_world:FaceLevel").to_pylist()) == "found" for r in records]
    common = np.logical_and.reduce(columns)
    assert 0 < found.n_common == common.sum() < max(column.sum() for column in columns)
    for record in records:
        values = np.array(record.pair_values().column("metric:fake_world:FaceLevel").to_pylist(), dtype=float)
        assert found.common_means[title_of(record)] == pytest.approx(values[common].mean())


def test_a_metric_without_direction_or_faces_ranks_nothing(records: list[Record]) -> None:
    found = compare(records)["fake_world:Level"]
    assert (found.ranks, found.n_common, found.common_means) == ({}, 0, {})
    assert found.duels[0].difference.win_rate is None


def test_bounds_do_not_compete(records: list[Record]) -> None:
    found = compare(records, bounds=["fake_world:Halfway"])["fake_world:ToTarget"]
    assert "fake_world:Halfway" not in found.ranks
    assert len(found.duels) == 3


def test_other_pairs_cannot_be_compared(records: list[Record], write_protocol: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path / "other", "progress": False, "measurer": FakeMeasurer()}
    other = run(write_protocol(), "fake_world:Source", limit=4, **options)
    with pytest.raises(InputError, match="cannot be compared pair by pair"):
        compare([records[0], other])
    assert compare([]) == {}
