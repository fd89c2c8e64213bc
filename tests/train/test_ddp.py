from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from reenact_zoo.config import TrainConfig
from reenact_zoo.train.fit import fit

SCRIPT = Path(__file__).with_name("ddp_script.py")


def test_two_processes_train_as_one_and_resume_exactly(configured: Callable[..., TrainConfig], tmp_path: Path) -> None:
    settings = {"max_updates": 4, "accelerator": "cpu", "validate_every": 3}
    (tmp_path / "two.yaml").write_text(configured("TwoPhaseToy", **settings, devices=2).to_yaml())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "two.yaml"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

    alone = torch.load(fit(configured("TwoPhaseToy", **settings), out=tmp_path / "alone", quiet=True))
    both = torch.load(tmp_path / "straight" / "last.ckpt")
    assert both["reenact_zoo"]["num_updates"] == 4
    # Two halves of a mean are summed in another order; Adam enlarges what float32 loses there.
    torch.testing.assert_close(both["state_dict"], alone["state_dict"], atol=1e-4, rtol=0)
    torch.testing.assert_close(both["reenact_zoo"]["averages"], alone["reenact_zoo"]["averages"], atol=1e-4, rtol=0)

    resumed = torch.load(tmp_path / "halves" / "last.ckpt")
    torch.testing.assert_close(resumed["state_dict"], both["state_dict"], atol=0, rtol=0)
    for one, other in zip(resumed["optimizer_states"], both["optimizer_states"], strict=True):
        torch.testing.assert_close(one["state"], other["state"], atol=0, rtol=0)
