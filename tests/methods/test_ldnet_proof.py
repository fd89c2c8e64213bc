"""The study of LD-Net: its landmarks are those of rendered frames, and its measures tell what they should."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig

pytestmark = pytest.mark.slow
CONFIG = SyntheticConfig(head="procedural", image_size=32, split="test", test_identities=3, clips=2, frames=4)


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, imported from beside the package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("ldnet_proof")


def test_landmarks_without_pictures_are_those_of_the_pictures(proof: ModuleType) -> None:
    world, dataset = proof.LandmarkWorld(CONFIG, step=2), Synthetic(CONFIG)
    refs = [FrameRef(clip.name, index) for clip in dataset.clips for index in (0, 2)]
    for row, ref in enumerate(refs):
        rendered = torch.from_numpy(dataset.annotations(ref)["landmarks"])
        torch.testing.assert_close(world.table.landmarks[row], rendered, atol=1e-5, rtol=0)
    pairs = world.cross_pairs(3)
    for source, driving, truth in zip(pairs.source, pairs.driving, pairs.truth):
        assert world.table.identity[source] != world.table.identity[driving]
        target = dataset.cross_target(refs[int(source)], refs[int(driving)])["target_landmarks"]
        torch.testing.assert_close(truth, torch.from_numpy(target), atol=1e-5, rtol=0)
    rows, truth = world.cross_clip(0, 4, 2)
    target = dataset.cross_target(refs[0], refs[int(rows[1])])["target_landmarks"]
    torch.testing.assert_close(truth[1], torch.from_numpy(target), atol=1e-5, rtol=0)


def test_the_probe_finds_what_is_there_and_nothing_else(proof: ModuleType) -> None:
    random = torch.Generator().manual_seed(0)
    identity = torch.arange(8).repeat_interleave(60)
    noise = torch.randn(len(identity), 8, generator=random)
    held_out = torch.arange(len(identity)) % 3 == 0
    telling = torch.nn.functional.one_hot(identity).float() * 5 + noise
    assert proof.probe_accuracy(telling, identity, held_out, 100) > 0.95
    assert proof.probe_accuracy(noise, identity, held_out, 100) < 0.3


def test_a_tiny_study_fills_its_tables(
    proof: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proof, "probe_accuracy", lambda codes, identity, held_out: 0.5)
    options = {"out": tmp_path, "folder": tmp_path / "runs", "rows": "ldnet", "head": "procedural", "people": 3}
    options |= {"held-out": 3, "pairs": 20, "stage1": 2, "stage2": 2}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr("sys.argv", ["ldnet_proof.py", *given])
    monkeypatch.setattr(proof, "JITTER_CLIPS", 2)
    proof.main()
    table = (tmp_path / "ldnet_proof.md").read_text(encoding="utf-8")
    for name in ("PCA transformer", "LD-Net", "smoothing"):
        assert name in table
    assert "nan" not in table
