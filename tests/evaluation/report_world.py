"""Results over the fake world for the tests of the report: labels, a bound, failures, lost faces, pictures beside."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_world import FakeMeasurer, Source, protocol_writer

from reenact_zoo.evaluation.runner import run
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.types import PairBatch, ReenactmentOutput

LISTED = "listed"
_METRICS = ["ToTarget", "Level", "FaceLevel", "Spread", "Smile"]


class Flowing(Source):
    """The source, with a flow that points right, a mask, and something that is no picture."""

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        source = batch["source"]
        flow = (identity_grid(*source.shape[-2:]) + torch.tensor([0.25, 0.0])).expand(len(source), -1, -1, -1)
        return ReenactmentOutput(source.clone(), {"flow": flow, "mask": source[:, :1], "warped": source.mean((2, 3))})


def make_results(factory: pytest.TempPathFactory) -> Path:
    """Folder of results, made once a process and only read; see ``_results``."""
    return _results(factory.getbasetemp() / "results")


@cache
def _results(folder: Path) -> Path:
    """All of them below ``folder``.

    Two protocols; levels in the listed one: sources 0, 45, 90, 15, 60, truths 22, 67, 52, 37, 72.
    """
    (folder / "pairs").mkdir(parents=True)
    rows = [f"p<{i}>,c{i % 3}@{i},c{(i + 1) % 3}@{1 + i % 4},,false,{10 * i}" for i in range(5)]
    head = "pair_id,source,driving,driving_reference,same_identity,delta_yaw_deg"
    (folder / "pairs" / "some.csv").write_text("\n".join([head, *rows]) + "\n")
    write = protocol_writer(folder)
    metrics = [f"fake_world:{name}" for name in _METRICS]
    listed = write(LISTED, pairs="some.csv", pair_rule=None, title="Some & <few> pairs", metrics=metrics)
    common: dict[str, Any] = {"out": folder, "progress": False, "measurer": FakeMeasurer()}
    for method in ("Source", "Halfway", "NaNOnBright"):
        run(listed, f"fake_world:{method}", **common)
    run(listed, "fake_world:Shifted", label="shifted", changes={"by": 0.4}, **common)
    run(listed, "report_world:Flowing", label="flowing", **common)
    run(listed, "bound:blur_ceiling", **common)
    drawn = write("drawn", setting="self")
    for method in ("Source", "Halfway"):
        run(drawn, f"fake_world:{method}", **common)
    return folder
