"""Values of whole sets: distances of distributions against torchmetrics, jitter against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from reenact_zoo.metrics._picture_set import PictureFeatures
from reenact_zoo.metrics.base import SetMetric, SetResult
from reenact_zoo.metrics.fid import FID, frechet_distance
from reenact_zoo.metrics.jitter import Jitter, middle_frames
from reenact_zoo.metrics.kid import KID
from reenact_zoo.types import PairBatch, ReenactmentOutput

FEATURES = 6


class Toy(nn.Module):
    """Six fixed features of a picture, not a network of any paper; counts the pictures it sees."""

    num_features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(3 * 4 * 4, FEATURES, generator=torch.Generator().manual_seed(5))
        self.register_buffer("weights", weights)
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.to(self.weights).flatten(1) @ self.weights


class SmallFID(FID):
    """As FID, for the few pictures of a test."""

    least = 10


def pictures(n: int = 40, level: float = 0.2) -> tuple[PairBatch, Tensor]:
    generator = torch.Generator().manual_seed(7)
    source, driving, reenacted = torch.rand(3, n, 3, 4, 4, generator=generator)
    same = torch.ones(n, dtype=torch.bool)
    return {"source": source, "driving": driving, "same_identity": same}, (reenacted + level).clamp(0, 1)


def fed(metric: SetMetric, batch: PairBatch, reenacted: Tensor, split: list[int] | None = None) -> SetMetric:
    first = 0
    for count in split or [len(reenacted)]:
        rows = slice(first, first + count)
        part = {key: value[rows] for key, value in batch.items()}  # type: ignore[index]
        metric.update(part, ReenactmentOutput(reenacted[rows]))  # type: ignore[arg-type]
        first += count
    return metric


def toy(kind: type[FID] | type[KID]) -> FID | KID:
    return kind(features=PictureFeatures(Toy()))


def test_fid_agrees_with_torchmetrics() -> None:
    batch, reenacted = pictures()
    reference = FrechetInceptionDistance(feature=Toy(), normalize=False, input_img_size=(3, 4, 4)).set_dtype(
        torch.float64
    )
    reference.update(batch["driving"], real=True)
    reference.update(reenacted, real=False)
    found = fed(toy(SmallFID), batch, reenacted).compute()
    assert found.item() == pytest.approx(reference.compute().item(), rel=1e-4)  # theirs adds up in float32 features


def test_fid_of_gaussians_has_its_closed_form() -> None:
    a = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = a + torch.tensor([1.0, -2.0, 0.5])
    assert frechet_distance(a, moved) == pytest.approx(1 + 4 + 0.25, rel=1e-9)
    scaled = 3 * (a - a.mean(0)) + a.mean(0)  # covariance times 9: trace(C) (1 + 9 - 2 · 3)
    assert frechet_distance(a, scaled) == pytest.approx(4 * torch.cov(a.mT).trace().item(), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_kid_agrees_with_torchmetrics_on_the_whole_set() -> None:
    batch, reenacted = pictures()
    reference = KernelInceptionDistance(feature=Toy(), subsets=1, subset_size=40, normalize=False)
    reference.update(batch["driving"], real=True)
    reference.update(reenacted, real=False)
    found = fed(toy(KID), batch, reenacted).compute()
    assert found.item() == pytest.approx(reference.compute()[0].item(), rel=1e-3)  # theirs is in float32


def test_real_pictures_are_driving_on_self_pairs_and_source_on_cross_pairs_and_count_once() -> None:
    batch, reenacted = pictures()
    batch["same_identity"] = torch.arange(40) < 15
    batch["source"][20:] = batch["source"][20]
    metric = fed(toy(KID), batch, reenacted)
    result = metric.result()
    assert result.about == {"reenacted": 40, "real": 15 + 5 + 1}
    expected = torch.cat([batch["driving"][:15], batch["source"][15:21]])
    rows = {"reenacted": Toy()(reenacted), "real": Toy()(expected), "real_key": torch.arange(21)}
    assert result.value == pytest.approx(toy(KID).set_value(rows).value, rel=1e-9)


def test_pictures_the_method_could_not_make_are_left_out() -> None:
    batch, reenacted = pictures()
    without = fed(toy(KID), {k: v[1:] for k, v in batch.items()}, reenacted[1:])  # type: ignore[index, arg-type, misc]
    reenacted[0, 1, 2, 2] = float("nan")
    result = fed(toy(KID), batch, reenacted).result()
    assert result.n == 39
    assert result.value != pytest.approx(without.result().value)  # the real picture of that pair still counts


def test_fid_is_refused_for_small_sets_and_says_how_many_there_are() -> None:
    result = fed(toy(FID), *pictures()).result()
    assert math.isnan(result.value)
    assert "2,000" in result.not_applicable
    assert "40 reenacted and 40 different real" in result.not_applicable


def test_two_metrics_run_the_network_once_per_picture() -> None:
    network = Toy()
    features = PictureFeatures(network)
    batch, reenacted = pictures()
    for metric in (KID(features=features), SmallFID(features=features)):
        fed(metric, batch, reenacted, [25, 15])
    assert network.seen == 80


@pytest.mark.parametrize("split", [[1] * 40, [13, 27]])
@pytest.mark.parametrize("kind", [SmallFID, KID])
def test_sets_do_not_depend_on_batches_or_order(kind: type[FID] | type[KID], split: list[int]) -> None:
    batch, reenacted = pictures()
    whole = fed(toy(kind), batch, reenacted).compute()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    mixed = {key: value[order] for key, value in batch.items()}  # type: ignore[index]
    parts = fed(toy(kind), mixed, reenacted[order], split).compute()  # type: ignore[arg-type]
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-9)


def test_a_set_metric_without_pairs_has_no_value() -> None:
    assert toy(KID).compute().isnan()
    assert toy(KID).result().not_applicable == "there is no pair"


# --- jitter ---


class Points:
    """Landmarks written into the first rows of the picture; a picture without any is all 2."""

    def missing(self, quantity: str) -> None:
        return None

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        points = images[:, :2, :8, :8].flatten(2)[..., :4].mT.clone()  # (B, 4, 2)
        points[(images[:, 0, 0, 0] > 1.5)] = float("nan")
        return points


def clip(frames: int = 5, noise: float = 0.2) -> tuple[PairBatch, Tensor]:
    generator = torch.Generator().manual_seed(11)
    driving, reenacted = torch.rand(2, frames, 3, 8, 8, generator=generator)
    reenacted = driving + noise * (reenacted - 0.5)
    batch = {"source": driving, "driving": driving, "same_identity": torch.ones(frames, dtype=torch.bool)}
    batch |= {"sequence": torch.full((frames,), 9), "sequence_frame": torch.arange(frames) + 30}
    return batch, reenacted  # type: ignore[return-value]


def by_numpy(found: np.ndarray, wanted: np.ndarray) -> list[float]:
    """Per middle frame, points (T, N, 2) in pixels."""
    values = []
    for t in range(1, len(found) - 1):
        shake = 0.0
        for k in range(found.shape[1]):
            own = found[t - 1, k] - 2 * found[t, k] + found[t + 1, k]
            due = wanted[t - 1, k] - 2 * wanted[t, k] + wanted[t + 1, k]
            shake += math.hypot(*(own - due)) / found.shape[1]
        width, height = np.ptp(wanted[t], axis=0)
        values.append(100 * shake / math.sqrt(width * height))
    return values


def jittered(batch: PairBatch, reenacted: Tensor, split: list[int] | None = None) -> SetResult:
    metric = Jitter(Points())  # type: ignore[arg-type]
    return fed(metric, batch, reenacted, split).result()


def pixels(images: Tensor) -> np.ndarray:
    points = images[:, :2, :8, :8].flatten(2)[..., :4].mT
    return ((points + 1) * 8 - 1).double().numpy() / 2


def test_jitter_is_the_second_difference_of_the_landmark_error() -> None:
    batch, reenacted = clip()
    result = jittered(batch, reenacted)
    expected = by_numpy(pixels(reenacted), pixels(batch["driving"]))
    assert result.pair_values is not None
    assert result.pair_values[[0, 4]].isnan().all()
    assert result.pair_values[1:4].tolist() == pytest.approx(expected, rel=1e-5)
    assert result.value == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert result.n == 3


def test_the_true_motion_and_a_constant_offset_do_not_jitter() -> None:
    batch, _ = clip()
    assert jittered(batch, batch["driving"]).value == 0
    assert jittered(batch, batch["driving"] + 0.1).value == pytest.approx(0, abs=1e-4)


def test_frames_may_come_in_any_order_and_batches() -> None:
    batch, reenacted = clip(6)
    whole = jittered(batch, reenacted)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    mixed = {key: value[order] for key, value in batch.items()}  # type: ignore[index]
    parts = jittered(mixed, reenacted[order], [2, 1, 3])  # type: ignore[arg-type]
    assert whole.pair_values is not None
    assert parts.pair_values is not None
    torch.testing.assert_close(parts.pair_values, whole.pair_values[order], equal_nan=True)


def test_a_gap_or_another_sequence_between_frames_breaks_the_chain() -> None:
    frames = torch.tensor([3, 4, 5, 7, 8, 1, 2, 6])
    sequence = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    assert middle_frames(sequence, frames).tolist() == [[0], [1], [2]]
    assert middle_frames(torch.zeros(2, dtype=torch.int64), torch.arange(2)).shape == (3, 0)


def test_a_lost_face_costs_the_three_frames_it_belongs_to() -> None:
    batch, reenacted = clip(7)
    reenacted[3] = 2
    result = jittered(batch, reenacted)
    assert result.pair_values is not None
    assert result.pair_values.isfinite().tolist() == [False, True, False, False, False, True, False]
    assert result.n == 2


def test_pairs_that_are_no_sequence_are_not_applicable() -> None:
    batch, reenacted = clip()
    del batch["sequence"]
    result = jittered(batch, reenacted)
    assert math.isnan(result.value)
    assert "three consecutive frames" in result.not_applicable
