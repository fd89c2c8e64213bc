"""The mean over pairs does not depend on how the pairs were dealt out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

from reenact_zoo.metrics._picture_set import PictureFeatures
from reenact_zoo.metrics.base import ReenactmentMetric
from reenact_zoo.metrics.epe import EPE
from reenact_zoo.metrics.gradient_magnitude_similarity import GradientMagnitudeSimilarity
from reenact_zoo.metrics.jitter import Jitter
from reenact_zoo.metrics.kid import KID
from reenact_zoo.metrics.l1_hair import L1Hair
from reenact_zoo.metrics.psnr import PSNR
from reenact_zoo.metrics.ssim import SSIM
from reenact_zoo.types import PairBatch, ReenactmentOutput


def pairs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(7, 3, 16, 16, generator=generator)
    b = (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    b[2] = float("nan")
    return a, b


def add(metric: SSIM | PSNR, a: Tensor, b: Tensor) -> None:
    batch: PairBatch = {"source": a, "driving": a, "same_identity": torch.ones(len(a), dtype=torch.bool)}
    metric.update(batch, ReenactmentOutput(b))


@pytest.mark.parametrize("split", [[7], [1] * 7, [3, 4], [2, 5]])
@pytest.mark.parametrize("kind", [SSIM, PSNR])
def test_mean_does_not_depend_on_the_split_into_batches(kind: type[SSIM | PSNR], split: list[int]) -> None:
    a, b = pairs()
    metric = kind()
    for part_a, part_b in zip(a.split(split), b.split(split)):
        add(metric, part_a, part_b)
    batch: PairBatch = {"source": a, "driving": a, "same_identity": torch.ones(7, dtype=torch.bool)}
    each = kind().pair_values(batch, ReenactmentOutput(b))
    assert metric.count == 6
    torch.testing.assert_close(metric.compute(), each[each.isfinite()].double().mean(), rtol=1e-6, atol=0)


def test_mean_over_no_pair_is_nan() -> None:
    metric = PSNR()
    a, _ = pairs()
    add(metric, a[:1], torch.full_like(a[:1], float("nan")))
    assert metric.compute().isnan()


class Corners:
    """Landmarks in the place of an instrument: colours of four pixels."""

    def missing(self, quantity: str) -> None:
        return None

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        return images[:, :2, :2, :2].flatten(2).mT


def everything() -> list[ReenactmentMetric]:
    features = PictureFeatures(torch.nn.Flatten())
    jitter = Jitter(Corners())  # type: ignore[arg-type]
    return [SSIM(), GradientMagnitudeSimilarity(), L1Hair(), EPE(), jitter, KID(features=features)]


def full_batch() -> tuple[PairBatch, ReenactmentOutput]:
    a, b = pairs()
    random = torch.Generator().manual_seed(4)
    flow, true = torch.rand(2, 7, 16, 16, 2, generator=random)
    batch: PairBatch = {
        "source": a,
        "driving": a,
        "same_identity": torch.ones(7, dtype=torch.bool),
        "target_parsing": torch.rand(7, 19, 16, 16, generator=random),
        "target_flow": true,
        "target_flow_valid": torch.ones(7, 1, 16, 16),
        "sequence": torch.zeros(7, dtype=torch.int64),
        "sequence_frame": torch.arange(7).flip(0),
    }
    return batch, ReenactmentOutput(b, {"flow": flow})


def part(rows: slice) -> tuple[PairBatch, ReenactmentOutput]:
    batch, output = full_batch()
    some = {key: value[rows] for key, value in batch.items()}  # type: ignore[index]
    return some, ReenactmentOutput(output.reenacted[rows], {"flow": output.aux["flow"][rows]})  # type: ignore[return-value]


def _worker(rank: int, rendezvous: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    metrics = everything()
    for metric in metrics:
        metric.update(*part(slice(0, 4) if rank == 0 else slice(4, 7)))
    torch.save([metric.compute() for metric in metrics], f"{out}.{rank}")
    torch.distributed.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, args=(str(tmp_path / "meet"), str(tmp_path / "value")), nprocs=2)
    metrics = everything()
    for metric in metrics:
        metric.update(*part(slice(0, 7)))
    expected = [metric.compute() for metric in metrics]
    assert torch.stack(expected).isfinite().all()
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"value.{rank}"), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("split", [[1] * 7, [3, 4]])
def test_no_metric_depends_on_the_split_into_batches(split: list[int]) -> None:
    whole, parts = everything(), everything()
    for one, other in zip(whole, parts):
        one.update(*part(slice(0, 7)))
        first = 0
        for count in split:
            other.update(*part(slice(first, first + count)))
            first += count
        torch.testing.assert_close(other.compute(), one.compute(), rtol=1e-6, atol=1e-12)
