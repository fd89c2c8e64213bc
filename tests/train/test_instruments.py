"""The pipeline that trains the bundled instruments, at its smallest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from reenact_zoo.faces.networks.synthetic_motion import SyntheticMotionTrain
from reenact_zoo.train.instruments.__main__ import main
from reenact_zoo.train.instruments.identity import verification
from reenact_zoo.train.instruments.landmarks import landmark_errors, narrow
from reenact_zoo.train.instruments.parsing import balanced_entropy, class_weights, overlap
from reenact_zoo.train.instruments.plan import TASK_OF, TASKS, Settings, render
from reenact_zoo.train.instruments.renders import World, WorldCache
from reenact_zoo.train.instruments.task import Task
from reenact_zoo.train.instruments.training import train

# one of each kind; the others differ by their name and their trunk
TRAINED = ("synthetic_identity_judge", "synthetic_motion_train", "synthetic_landmarks", "synthetic_parsing")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with what ``--tiny`` writes."""
    patch = pytest.MonkeyPatch()
    patch.setenv("REENACT_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
    out = tmp_path_factory.mktemp("weights")
    threads = torch.get_num_threads()
    assert main(["--tiny", "--workers", "1", "--out", str(out), "--only", *TRAINED]) == 0
    torch.set_num_threads(threads)
    yield out
    patch.undo()


def total(losses: dict[str, float]) -> float:
    """Without the figures that are only shown."""
    return sum(value for name, value in losses.items() if not name.startswith("_"))


@pytest.mark.slow
def test_every_network_comes_out_whole_with_its_card(tiny: Path) -> None:
    names = sorted(TRAINED)
    assert sorted(path.stem for path in tiny.glob("*.safetensors")) == names
    assert sorted(path.name for path in tiny.iterdir()) == sorted(
        f"{n}.{e}" for n in names for e in ("json", "safetensors")
    )
    for name in names:
        path = tiny / f"{name}.safetensors"
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert card["sha256"] == sha256(path.read_bytes()).hexdigest()
        assert card["bytes"] == path.stat().st_size
        assert card["command"].startswith(f"python -m reenact_zoo.train.instruments --tiny --workers 1 --out {tiny}")
        assert set(card["held_out"]) > {"people", "frames"}
        assert card["updates"] == 24
        first, last = (total(card["losses"][when]) for when in ("first", "last"))
        assert last < first, f"{name}: means of 12 updates"


@pytest.mark.slow
def test_files_are_float16_and_load_into_the_architecture(tiny: Path) -> None:
    state = load_file(tiny / "synthetic_motion_train.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float16, torch.int64}  # counters of the batch norms
    SyntheticMotionTrain().load_state_dict(state)


def test_train_and_judge_are_other_networks_that_saw_other_people() -> None:
    for what in ("identity", "motion"):
        sides = [TASK_OF[f"synthetic_{what}_{role}"] for role in ("train", "judge")]
        worlds = {Settings().world(task.world).seed for task in sides}
        assert len(worlds | {0}) == 3, "nor is either the world of the methods and the benchmark"
        assert sides[0].architecture != sides[1].architecture
        assert sides[0].kind is not sides[1].kind  # type: ignore[attr-defined]
    assert all(task.world == "train" for task in TASKS if not task.name.endswith("_judge"))


def test_rendering_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path))
    cache = WorldCache(World(101, 11, 1, "procedural", reduced=False))
    assert cache.missing() == [0, 1]
    cache.render(1, 2, time.monotonic() + 60)
    assert cache.missing() == [0], "one process makes its own part only"
    before = cache.path(1).stat().st_mtime_ns
    render(Settings("procedural", 11, 1, reduced=False, scenes=1), "train", 0, 1, 0.0)
    assert cache.missing() == [0], "nothing is begun after the time is up"
    cache.render(0, 1, time.monotonic() + 60)
    assert cache.missing() == []
    assert cache.path(1).stat().st_mtime_ns == before
    records = cache.load()
    assert records["person"].tolist() == list(range(11))
    assert records["premultiplied"].max() > 0
    assert (records["premultiplied"][records["matte"] == 0] == 0).all()


class Line(Task):
    """Fits a line; quick."""

    name, architecture, preprocessing, meaning = "line", "", "", ""
    batch_size = 4
    learning_rate = 0.05

    def __init__(self, *_: Any) -> None:
        torch.manual_seed(0)
        self.network, self.extra = nn.Linear(1, 1), nn.Module()
        self.batches = SimpleNamespace(generator=torch.Generator().manual_seed(1), seed=1)  # type: ignore[assignment]

    def losses(self) -> dict[str, torch.Tensor]:
        x = torch.rand(8, 1, generator=self.batches.generator)
        return {"square": (self.network(x) - 3 * x + 1).square().mean(), "_shown": torch.ones(())}

    def held_out(self, data: Any) -> dict[str, Any]:
        return {}


def test_losses_fall_and_training_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "line.pt"
    half = train(Line(), 60, path, "key", print, max_updates=120)
    task = Line()
    whole = train(task, 60, path, "key", print, max_updates=240)
    assert (half.updates, whole.updates, whole.images) == (120, 240, 960)
    assert whole.history[: len(half.history)] == half.history
    assert whole.history[-1]["square"] < 0.1 * whole.history[0]["square"]
    assert train(Line(), 60, path, "other settings", print, max_updates=1).updates == 1
    assert [p.name for p in tmp_path.iterdir()] == ["line.pt"]


def test_a_loss_that_is_no_number_stops_training_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "line.pt"
    train(Line(), 60, path, "key", print, max_updates=2)
    task, before = Line(), path.read_bytes()
    task.losses = lambda: {"square": torch.tensor(float("nan"), requires_grad=True)}  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match="line: the loss is no number"):
        train(task, 60, path, "key", print, max_updates=4)
    assert path.read_bytes() == before


# --- figures of the cards -------------------------------------------------------------------------------------------


def test_verification_of_perfect_and_of_useless_embeddings() -> None:
    data: Any = SimpleNamespace(person=torch.arange(8).repeat_interleave(4), clip=torch.arange(16).repeat_interleave(2))
    perfect = verification(torch.eye(8).repeat_interleave(4, 0), data)
    assert perfect["verification_accuracy_balanced"] == 1
    assert perfect["equal_error_rate"] == 0
    assert (perfect["cosine_within"], perfect["cosine_between"]) == (1, 0)
    assert perfect["pairs_within"] == 8 * 4, "pairs within a clip are left out"
    random = torch.nn.functional.normalize(torch.randn(32, 64, generator=torch.Generator().manual_seed(0)))
    useless = verification(random, data)
    assert useless["verification_accuracy_balanced"] < 0.7
    assert 0.35 < useless["equal_error_rate"] < 0.65


def test_landmark_errors_are_in_percent() -> None:
    true = torch.rand(5, 68, 2, generator=torch.Generator().manual_seed(0)) * 30
    true[:, 36], true[:, 45] = torch.tensor([0.0, 0.0]), torch.tensor([20.0, 0.0])
    errors = landmark_errors(true + torch.tensor([0.6, 0.8]), true)
    assert errors["median_percent_interocular"] == pytest.approx(5.0)


def test_narrow_maps_sum_to_one_around_the_point() -> None:
    points = torch.tensor([[[0.3, -0.4]]]).expand(1, 68, 2)
    maps = narrow(points, cells=32)
    torch.testing.assert_close(maps.sum(-1), torch.ones(1, 68))
    row, column = divmod(int(maps[0, 0].argmax()), 32)
    assert (row, column) == (9, 20)


def test_overlap_of_known_labels() -> None:
    true = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]])
    found = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])
    figures = overlap(found, true)
    assert figures["iou"] == {"background": 0.75, "skin": 0.8}
    assert figures["pixel_accuracy"] == 0.875


def test_balanced_entropy_asks_for_probabilities_not_for_thick_small_parts() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.int64)
    labels[0, :2] = 1  # a fifth
    labels[0, 2, :5] = 3  # a twentieth; class 2 never occurs
    weights = class_weights(labels)
    answer = torch.zeros(19, requires_grad=True)
    optimiser = torch.optim.LBFGS([answer], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = balanced_entropy(answer[None, :, None, None].expand(1, -1, 10, 10), labels, weights)
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    shares = answer.detach().softmax(0)
    assert shares[[0, 1, 3]].tolist() == pytest.approx([0.75, 0.2, 0.05], abs=2e-3)
    assert shares[2] < 2e-3
