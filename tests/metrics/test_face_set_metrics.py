"""Metrics that need all pairs at once: identity preservation rate and pooled action-unit agreement."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from test_face_metrics import NAN, KnownMeasurer, flat, pairs
from torch import Tensor
from torchmetrics.functional.classification import binary_cohen_kappa, binary_f1_score

from reenact_zoo.metrics import _verification
from reenact_zoo.metrics._action_units import agreement_percent, confusion, f1, kappa, present
from reenact_zoo.metrics._verification import impostor_threshold
from reenact_zoo.metrics.base import SetMetric, SetResult
from reenact_zoo.registry import METRICS
from reenact_zoo.types import PairBatch, ReenactmentOutput

RATES = {
    "identity_preservation_rate": "identity_arcface_r50",
    "identity_preservation_rate_mobilefacenet": "identity_mobilefacenet",
    "identity_preservation_rate_synthetic": "identity_synthetic_judge",
}
CARDS = {name: METRICS.get(name).card for name in RATES}  # before a test changes the number of impostors they state
UNITS = ("au_consistency", "au_kappa", "au_f1")


def cohen_kappa_score(a: np.ndarray, b: np.ndarray) -> float:
    return float(binary_cohen_kappa(torch.tensor(a), torch.tensor(b)))


def f1_score(true: np.ndarray, found: np.ndarray) -> float:
    return float(binary_f1_score(torch.tensor(found), torch.tensor(true)))


# --- identity -------------------------------------------------------------------------------------------------------


def people(count: int, images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.nn.functional.normalize(torch.randn(count * images, 8, generator=generator))
    return embeddings, torch.arange(count).repeat_interleave(images)


@pytest.mark.parametrize("rows_at_once", [7, 1024])
def test_threshold_is_the_order_statistic_of_all_impostor_cosines(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(_verification, "_ROWS_AT_ONCE", rows_at_once)
    embeddings, persons = people(40, 2)
    cosines = sorted(
        (
            float(embeddings[i] @ embeddings[j])
            for i, j in itertools.combinations(range(80), 2)
            if persons[i] != persons[j]
        ),
        reverse=True,
    )
    threshold, count = impostor_threshold(embeddings, persons)
    assert count == len(cosines) == 80 * 79 // 2 - 40
    assert threshold == pytest.approx(cosines[int(count * 1e-3)], abs=1e-6)
    assert sum(c > threshold + 1e-6 for c in cosines) <= count * 1e-3


def test_nobody_is_his_own_impostor() -> None:
    embeddings, _ = people(1, 5)
    threshold, count = impostor_threshold(embeddings, torch.zeros(5, dtype=torch.int64))
    assert math.isnan(threshold)
    assert count == 0


class Embedder:
    """Each level is an image; its embedding lies on the unit circle at an angle of its own."""

    def __init__(self) -> None:
        self.lost = {0.95}

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        levels = [round(image[0, 0, 0].item(), 3) for image in images]
        rows = [[NAN, NAN] if v in self.lost else [math.cos(6 * v), math.sin(6 * v)] for v in levels]
        return torch.tensor(rows)

    def missing(self, quantity: str) -> str | None:
        return None


def run() -> tuple[PairBatch, Tensor]:
    """Six pairs of persons 0 … 5; person p looks like level 0.1 p."""
    source = flat(0.0, 0.1, 0.2, 0.3, 0.95, 0.1)
    driving = flat(0.3, 0.4, 0.5, 0.0, 0.1, 0.4)
    made = flat(0.0, 0.105, 0.5, 0.95, 0.1, 0.1)
    batch = pairs(source, driving)
    batch["persons"] = torch.tensor([[0, 3], [1, 4], [2, 5], [3, 0], [6, 1], [1, 4]])
    return batch, made


def filled(name: str, sizes: list[int]) -> SetMetric:
    metric = METRICS.get(name)(measurer=Embedder())
    batch, made = run()
    first = 0
    for size in sizes:
        rows = slice(first, first + size)
        part = {key: value[rows] for key, value in batch.items()}  # type: ignore[index]
        metric.update(part, ReenactmentOutput(made[rows]))
        first += size
    assert isinstance(metric, SetMetric)
    return metric


@pytest.mark.parametrize("name", RATES)
def test_rate_counts_lost_faces_as_not_preserved_and_equal_images_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_verification, "FEWEST_IMPOSTORS", 15)
    result = filled(name, [6]).result()
    assert isinstance(result, SetResult)
    assert result.about is not None
    assert result.about["impostor_pairs"] == 15, "six different images of six persons that show a face"
    assert result.about["threshold"] == pytest.approx(math.cos(0.6), abs=1e-5)
    assert result.pair_values is not None
    # kept; 0.005 from its source: kept; the driver's face; lost; no face in source; kept
    assert result.pair_values.tolist() == pytest.approx([100, 100, 0, 0, NAN, 100], nan_ok=True)
    assert result.value == pytest.approx(60)
    assert result.n == 5


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 4], [5, 1]])
def test_rate_does_not_depend_on_the_batches(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_verification, "FEWEST_IMPOSTORS", 15)
    assert float(filled("identity_preservation_rate", sizes).compute()) == pytest.approx(60)


def test_few_impostors_or_unknown_persons_give_no_rate() -> None:
    result = filled("identity_preservation_rate", [6]).result()
    assert math.isnan(result.value)
    assert "needs 10000 impostor pairs; here are 15" in result.not_applicable
    metric = METRICS.get("identity_preservation_rate")(measurer=Embedder())
    batch, made = run()
    del batch["persons"]
    metric.update(batch, ReenactmentOutput(made))
    assert "who is shown" in metric.result().not_applicable


@pytest.mark.parametrize("name", RATES)
def test_rate_cards_say_what_a_lost_face_costs_and_how_many_impostors_are_needed(name: str) -> None:
    card = CARDS[name]
    assert card.quantities == (RATES[name],)
    assert "not preserved where no face is found in reenacted" in card.face_missing
    assert "10,000 impostor pairs" in card.reference


# --- action units ---------------------------------------------------------------------------------------------------


def presence(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    wanted = (generator.random((60, 5)) < [0.1, 0.3, 0.5, 0.7, 0.9]).astype(int)
    return np.where(generator.random(wanted.shape) < 0.2, 1 - wanted, wanted), wanted


def test_kappa_and_f1_are_those_of_torchmetrics() -> None:
    found, wanted = presence()
    counts = confusion(torch.from_numpy(found).float(), torch.from_numpy(wanted).float())
    assert kappa(counts).tolist() == pytest.approx([cohen_kappa_score(a, b) for a, b in zip(found.T, wanted.T)])
    assert f1(counts).tolist() == pytest.approx([f1_score(b, a) for a, b in zip(found.T, wanted.T)])


def test_units_that_never_show_have_neither_kappa_nor_f1() -> None:
    counts = confusion(torch.zeros(4, 1), torch.zeros(4, 1))
    assert kappa(counts).isnan().all()
    assert f1(counts).isnan().all()


def test_agreement_counts_absent_units_and_leaves_unknown_ones_out() -> None:
    found = torch.tensor([[1, 0, 0, NAN], [1, 1, 0, NAN], [NAN] * 4])
    wanted = torch.tensor([[1, 0, 1, NAN], [0, 0, 1, NAN], [1, 0, 0, NAN]])
    assert agreement_percent(found, wanted).tolist() == pytest.approx([200 / 3, 0, NAN], nan_ok=True)


def test_a_unit_is_present_from_the_threshold_on() -> None:
    assert present(torch.tensor([0.29, 0.3, NAN]), 0.3).tolist() == pytest.approx([0, 1, NAN], nan_ok=True)


def detector(quantity: str, size: int) -> tuple[KnownMeasurer, Tensor, Tensor, Tensor, Tensor]:
    """Twelve drivers and twelve outputs whose units are present() or not; the last output is lost."""
    found, wanted = (torch.from_numpy(side[:12]).float() for side in presence(1))
    unknown = torch.full((12, size - 5), NAN)
    found[11], levels = NAN, [round(0.01 * i, 3) for i in range(1, 25)]
    strong = 0.45 if quantity.endswith("geometric") else 0.55  # above one threshold only: 0.3 or 0.5
    answers = torch.cat([torch.cat([side, unknown], 1) for side in (found, wanted)]) * strong
    measurer = KnownMeasurer({quantity: dict(zip(levels, answers.tolist()))})
    return measurer, found, wanted, flat(*levels[:12]), flat(*levels[12:])


@pytest.mark.parametrize(("suffix", "quantity", "size"), [("", "exported", 64), ("_geometric", "geometric", 13)])
def test_action_unit_metrics_agree_with_torchmetrics(suffix: str, quantity: str, size: int) -> None:
    measurer, found, wanted, made, driving = detector(f"action_units_{quantity}", size)
    results = {}
    for measure in UNITS:
        metric = METRICS.get(f"{measure}{suffix}")(measurer=measurer)
        for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
            metric.update(pairs(driving[rows] * 0 + 0.01, driving[rows]), ReenactmentOutput(made[rows]))
        results[measure] = metric
    a, b = found[:11].int().numpy(), wanted[:11].int().numpy()
    assert float(results["au_consistency"].compute()) == pytest.approx(100 * (a == b).mean())
    assert results["au_consistency"].count == 11
    assert float(results["au_f1"].compute()) == pytest.approx(np.mean([f1_score(y, x) for x, y in zip(a.T, b.T)]))
    expected = np.mean([cohen_kappa_score(x, y) for x, y in zip(a.T, b.T) if len({*x, *y}) > 1])
    assert float(results["au_kappa"].compute()) == pytest.approx(expected)
    pooled = results["au_kappa"].result()
    assert pooled.n == 11
    assert pooled.about == {"units": 5, "lost_in_reenacted": 1}
    assert pooled.pair_values is None


# --- two processes --------------------------------------------------------------------------------------------------


def _worker(rank: int, meet: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    _verification.FEWEST_IMPOSTORS = 15  # type: ignore[misc]
    batch, made = run()
    rows = slice(0, 4) if rank == 0 else slice(4, 6)
    rate = METRICS.get("identity_preservation_rate")(measurer=Embedder())
    rate.update({key: value[rows] for key, value in batch.items()}, ReenactmentOutput(made[rows]))  # type: ignore[index]
    measurer, _, _, output, driving = detector("action_units_geometric", 13)
    rows = slice(0, 7) if rank == 0 else slice(7, 12)
    units = METRICS.get("au_kappa_geometric")(measurer=measurer)
    units.update(pairs(driving[rows], driving[rows]), ReenactmentOutput(output[rows]))
    torch.save((float(rate.compute()), float(units.compute())), f"{out}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, args=(str(tmp_path / "meet"), str(tmp_path / "value")), nprocs=2)
    measurer, _, _, made, driving = detector("action_units_geometric", 13)
    units = METRICS.get("au_kappa_geometric")(measurer=measurer)
    units.update(pairs(driving, driving), ReenactmentOutput(made))
    for rank in range(2):
        assert torch.load(tmp_path / f"value.{rank}") == pytest.approx((60, float(units.compute())))
