"""The examples in the documentation run as they stand, and its links lead somewhere."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")])


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the examples of docs/adding_a_method.md define, each example run as a module of its own."""
    names: dict[str, Any] = {}
    for number, code in enumerate(examples(ROOT / "docs" / "adding_a_method.md")):
        module = types.ModuleType(f"documented_{number}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code, module.__name__, "exec"), module.__dict__)
        names |= vars(module)
    return names


def batch() -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    source, driving = torch.rand(2, 2, 3, 16, 16, generator=generator)
    return {"source": source, "driving": driving, "same_identity": torch.ones(2, dtype=torch.bool)}


def test_documented_method_learns(written: dict[str, Any]) -> None:
    method: ReenactmentModule[Any] = written["TintedSource"]()
    (phase,) = method.phases()
    optimiser = phase.optimiser([{"params": list(method.parameters())}])
    bright = batch() | {"driving": torch.ones(2, 3, 16, 16)}
    losses = []
    for _ in range(50):
        loss = phase.losses(bright, {})["pixel"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert method.reenact(batch()).reenacted.shape == (2, 3, 16, 16)


def test_documented_metric_counts_pairs(written: dict[str, Any]) -> None:
    metric: PairMetric = written["Brightness"]()
    metric.update(batch(), ReenactmentOutput(torch.full((2, 3, 16, 16), 0.25)))
    assert float(metric.compute()) == pytest.approx(0.25)


def test_readme_example_reenacts(weights_folder: Path) -> None:
    (code,) = examples(ROOT / "README.md")
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    names: dict[str, Any] = {"source": picture, "driving": picture}
    exec(compile(code, "README.md", "exec"), names)
    assert names["reenacted"].shape == (1, 3, 64, 64)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_scripts_named_in_the_benchmark_readme_exist() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:speed/)?\w+\.py)`", text)
    assert named
    assert not [name for name in named if not (ROOT / "benchmarks" / name).is_file()]
