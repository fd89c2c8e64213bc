"""Milliseconds of the trilinear warp of a feature volume: PyTorch's ``grid_sample``, and the exportable decomposition.

    python benchmarks/speed/warp_3d.py [--batch 4] [--repeats 10] [--device cuda] [--threads 2] [--json warp_3d.json]

Volumes are those of ``flow_renderer`` at 64 and at 256 pixels. The flow is a small random one around the identity, so
that memory is read as in use. Each path runs forward under ``no_grad``, then forward and backward to volume and flow.
The figure is the median of repeated calls; "difference" is the largest absolute difference of the two results on values
from a normal distribution.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reenact_zoo.methods.flow_renderer.appearance import VolumeSizes
from reenact_zoo.methods.flow_renderer.rigid import identity_volume_grid
from reenact_zoo.methods.flow_renderer.warp3d import warp_volume

VOLUMES = {"64 px": (VolumeSizes(), 64), "256 px": (VolumeSizes.paper(), 256)}
PATHS = ("native", "decomposed")


def milliseconds(run: Callable[[], object], repeats: int, device: str) -> float:
    """Median of calls after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(1000 * (time.perf_counter() - start))
    return median(taken[1:])


def inputs(sizes: VolumeSizes, image_size: int, batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Random volume (B, C, D, h, w) and a flow near the identity (B, D, h, w, 3)."""
    random = torch.Generator().manual_seed(0)
    shape = sizes.shape(image_size)
    volume = torch.randn(batch, sizes.channels, *shape, generator=random)
    flow = identity_volume_grid(shape) + 0.1 * torch.randn(batch, *shape, 3, generator=random)
    return volume.to(device), flow.to(device)


def measure(sizes: VolumeSizes, image_size: int, batch: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """One record per path."""
    volume, flow = inputs(sizes, image_size, batch, device)
    native = warp_volume(volume, flow, "native")
    records = []
    for path in PATHS:

        def forward(how: Any = path) -> Tensor:
            with torch.no_grad():
                return warp_volume(volume, flow, how)

        def both(how: Any = path) -> None:
            v, f = volume.detach().requires_grad_(), flow.detach().requires_grad_()
            warp_volume(v, f, how).sum().backward()

        records.append(
            {
                "volume": "x".join(map(str, volume.shape[1:])),
                "path": path,
                "forward_ms": milliseconds(forward, repeats, device),
                "forward_backward_ms": milliseconds(both, repeats, device),
                "difference": float((forward() - native).abs().max()),
            }
        )
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = Table("volume", "path", "forward, ms", "with backward, ms", "difference", title=f"batch {args.batch}")
    records = []
    for sizes, image_size in VOLUMES.values():
        for record in measure(sizes, image_size, args.batch, args.repeats, args.device):
            records.append({**record, "batch": args.batch, "threads": args.threads, "device": args.device})
            times = (f"{record[key]:.1f}" for key in ("forward_ms", "forward_backward_ms"))
            table.add_row(record["volume"], record["path"], *times, f"{record['difference']:.1e}")
    Console().print(table)
    Console().print(f"{platform.processor() or platform.machine()}, PyTorch {torch.__version__}, {args.device}")
    if args.json:
        args.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
