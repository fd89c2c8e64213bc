"""The mean over pairs does not depend on how the pairs were dealt out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

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


def _worker(rank: int, rendezvous: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    a, b = pairs()
    metric = SSIM()
    mine = slice(0, 4) if rank == 0 else slice(4, 7)
    add(metric, a[mine], b[mine])
    torch.save(metric.compute(), f"{out}.{rank}")
    torch.distributed.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, args=(str(tmp_path / "meet"), str(tmp_path / "value")), nprocs=2)
    a, b = pairs()
    metric = SSIM()
    add(metric, a, b)
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"value.{rank}"), metric.compute())
