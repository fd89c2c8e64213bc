"""The proof of flow_renderer's claims counts what it says it counts."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from reenact_zoo.types import PairBatch, ReenactmentOutput

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def proof() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("flow_proof")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_known_background_is_counted_and_checked_bit_by_bit(proof: Any) -> None:
    target, hidden = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    target[..., :2] = 0  # eight pixels of true background
    hidden[..., 0, :2] = 1  # two of them behind the source's head
    known, matte = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    known[..., 1:, 0] = 1  # three known ones
    matte[..., 3, 0] = 0.5  # over one of which something is drawn
    source = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = cast(PairBatch, {"source": source, "target_matte": target, "target_source_matte": hidden})
    aux = {"known": known, "matte": matte}
    found = proof.background(batch, ReenactmentOutput(source.clone(), aux))
    assert {name: float(value) for name, value in found.items()} == {
        "covered": 2 / 8,
        "covered_if_seen": pytest.approx(2 / 6),
        "touched": 0,
    }
    made = source.clone()
    made[0, 2, 1, 0] = torch.nextafter(made[0, 2, 1, 0], torch.tensor(2.0))
    made[0, :, 3, 0] = 0  # drawn over, so it does not count
    assert float(proof.background(batch, ReenactmentOutput(made, aux))["touched"]) == 1


def test_means_by_change_of_yaw_leave_out_pairs_without_a_value(proof: Any) -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0])
    assert proof.in_bins(values, np.array([0.0, 14.9, 3.0, 15.0]))[:3] == [3.0, 2.0, 5.0]
    assert np.isnan(proof.in_bins(values, np.zeros(4))[3])
    grid = proof.standing_still(cast(PairBatch, {"source": torch.zeros(2, 3, 4, 4)})).aux["flow"]
    assert grid[0, 0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert proof.titled("fomm=a/b=c") == ("fomm", Path("a/b=c"))


def test_the_tables_name_every_row_and_what_is_left_out(proof: Any) -> None:
    numbers = {name: [0.5, 0.25, float("nan"), 1.0] for name in proof.METRICS}
    cell = {"mean": -0.1, "low": -0.2, "high": -0.05}
    result = {
        "protocol": "p",
        "pairs": 2,
        "unavailable": {"fomm": "no weights"},
        "rows": {proof.FULL: {**numbers, "covered": 0.7, "covered_if_seen": 0.8, "touched": 0}, "2-D flow": numbers},
        "ablations": [proof.FULL, "2-D flow"],
        "minus": {"2-D flow": {name: [cell] * 4 for name in proof.HIGHER_IS_BETTER}},
    }
    text = proof.as_markdown(result)
    assert "70.0 %" in text
    assert "| 2-D flow | 0.5000 | 0.2500 | – | 1.0000 |" in text
    assert "-0.1000 [-0.2000, -0.0500]" in text
    assert "Left out: fomm (no weights)." in text
