"""Run by test_evaluation_ddp.py in its own processes: one run whose pairs two processes share."""

import sys
from pathlib import Path

from fake_world import FakeMeasurer
from lightning_fabric import Fabric

from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.evaluation.runner import run

if __name__ == "__main__":
    protocol, out = sys.argv[1], Path(sys.argv[2])
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    assert fabric.world_size == 2
    options = {"batch_size": 5, "progress": False, "measurer": FakeMeasurer()}
    record = run(load_protocol(protocol), "fake_world:Slow", out=out, **options)
    assert record.num_pairs == 24
    # one write: the lines of two processes must not run into each other
    sys.stdout.write(f"process {fabric.global_rank}: {record.metrics['fake_world:Level'].mean!r}\n")
