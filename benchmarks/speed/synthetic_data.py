"""Training pairs per second from the synthetic dataset: from the clip cache, and rendered on the fly.

    python benchmarks/speed/synthetic_data.py --head ict

A pair is two frames of one clip with their 68 landmarks, as float tensors in batches of 16, through a DataLoader. The
cached figure is measured after the cache is full; the median of three rounds is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig


class RandomPairs(Dataset):
    """Pair number n: two frames of a clip, drawn by n alone."""

    def __init__(self, dataset: Synthetic, count: int, truth: bool) -> None:
        self.dataset, self.count, self.truth = dataset, count, truth

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng(index)
        clip = self.dataset.clips[int(rng.integers(len(self.dataset.clips)))]
        item = {}
        for role, frame in zip(("source", "driving"), rng.integers(clip.num_frames, size=2)):
            ref = FrameRef(clip.name, int(frame))
            item[role] = torch.from_numpy(self.dataset.frame(ref)).permute(2, 0, 1).float() / 255
            known = self.dataset.annotations(ref)
            names = known if self.truth else ("landmarks",)
            item |= {f"{role}_{name}": torch.from_numpy(known[name]) for name in names}
        return item


def rate(dataset: Synthetic, count: int, workers: int, truth: bool = False) -> float:
    """Pairs per second, without the time workers take to start and to load the head model."""
    loader = DataLoader(RandomPairs(dataset, count, truth), batch_size=16, num_workers=workers)
    batches = iter(loader)
    for _ in range(2 * max(workers, 1)):
        next(batches)
    begin, pairs = time.perf_counter(), 0
    for batch in batches:
        pairs += len(batch["source"])
    return pairs / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", default="ict", choices=["ict", "procedural"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    fields = {"head": given.head, "image_size": given.size, "split": "train", "train_identities": given.people}
    print(f"{given.head} head, {given.size} × {given.size}, {given.workers} workers, {os.cpu_count()} processors")
    plain = Synthetic(SyntheticConfig(**fields))
    plain.frame(FrameRef(plain.clips[0].name, 0))  # compiles the kernels
    fly = statistics.median(rate(plain, 128, given.workers) for _ in range(3))
    print(f"rendered on the fly   {fly:8.1f} pairs/s")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REENACT_ZOO_CACHE"] = folder
        cached = Synthetic(SyntheticConfig(**fields, cache=True))
        begin = time.perf_counter()
        for clip in cached.clips:
            cached.frame(FrameRef(clip.name, 0))
        seconds, frames = time.perf_counter() - begin, sum(c.num_frames for c in cached.clips)
        disk = sum(e.stat().st_size for e in os.scandir(next(os.scandir(f"{folder}/synthetic")).path)) / frames
        print(f"filling the cache     {frames / seconds:8.1f} frames/s in one process, {disk / 1000:.1f} kB per frame")
        for truth, label in ((False, "from the cache"), (True, "  with all the truth")):
            got = statistics.median(rate(cached, 1200, given.workers, truth) for _ in range(3))
            print(f"{label:20}  {got:8.1f} pairs/s   {got / fly:5.1f} times on the fly")


if __name__ == "__main__":
    main()
