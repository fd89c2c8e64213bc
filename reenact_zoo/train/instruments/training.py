"""Trains one network against the clock: a cosine over the time given, and a checkpoint every half minute."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reenact_zoo.train.instruments.task import Task
from reenact_zoo.train.precision import autocast, fast_bfloat16

SAVE_EVERY_S = 30.0
LOG_EVERY = 12
SAY_EVERY = 240  # updates
WARM_UP = 100  # updates
CLIP = 5.0  # norm of the gradient


@dataclass
class Progress:
    """How far training is; part of the checkpoint."""

    updates: int = 0
    seconds: float = 0.0
    images: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """Mean losses of every ``LOG_EVERY`` updates."""


def train(
    task: Task, seconds: float, checkpoint: Path, key: str, say: Callable[[str], None], max_updates: int | None = None
) -> Progress:
    """Train until ``seconds`` of training are spent (or ``max_updates`` made), going on from ``checkpoint``.

    A checkpoint with another ``key`` (other data, other settings) is not taken up.

    Raises:
        FloatingPointError: the loss is no number; nothing is saved then.
    """
    network = task.network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(task.parameters(), lr=task.learning_rate, betas=(0.9, 0.99))
    progress = _resume(task, optimiser, checkpoint, key)
    precision = "bf16-mixed" if fast_bfloat16("cpu") else "32-true"
    warm_up = WARM_UP if max_updates is None else min(WARM_UP, max_updates // 8)
    last, saved = time.monotonic(), time.monotonic()
    network.train()
    sums: dict[str, float] = {}
    while progress.seconds < seconds and (max_updates is None or progress.updates < max_updates):
        share = progress.seconds / seconds if max_updates is None else progress.updates / max_updates
        for group in optimiser.param_groups:
            group["lr"] = task.learning_rate * _schedule(share, progress.updates, warm_up)
        with autocast("cpu", precision):  # type: ignore[arg-type]
            losses = task.losses()
        _step(task, optimiser, losses)
        progress.updates += 1
        progress.images += task.batch_size
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        now = time.monotonic()
        progress.seconds, last = progress.seconds + now - last, now
        if progress.updates % LOG_EVERY == 0:
            _log(task, progress, sums, say)
            sums = {}
        if now - saved > SAVE_EVERY_S:
            _save(task, optimiser, progress, checkpoint, key)
            saved = now
    _save(task, optimiser, progress, checkpoint, key)
    network.eval()
    return progress


def _schedule(share: float, updates: int, warm_up: int) -> float:
    """Factor of the learning rate: a short rise, then half a cosine to a hundredth."""
    return min(1.0, (updates + 1) / max(1, warm_up)) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def _step(task: Task, optimiser: torch.optim.Optimizer, losses: dict[str, Tensor]) -> None:
    total = torch.stack([value for name, value in losses.items() if not name.startswith("_")]).sum()
    if not bool(total.isfinite()):
        values = {name: float(value.detach()) for name, value in losses.items()}
        raise FloatingPointError(f"{task.name}: the loss is no number any more: {values}")
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, CLIP)
    optimiser.step()


def _log(task: Task, progress: Progress, sums: dict[str, float], say: Callable[[str], None]) -> None:
    means = {name: value / LOG_EVERY for name, value in sums.items()}
    progress.history.append(means)
    if progress.updates % SAY_EVERY == 0:
        text = " ".join(f"{name} {value:.4g}" for name, value in means.items())
        say(f"{task.name}: {progress.updates} updates, {progress.seconds:.0f} s: {text}")


# --- checkpoints ----------------------------------------------------------------------------------------------------


def _state(task: Task, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "network": task.network.state_dict(),
        "extra": task.extra.state_dict(),
        "optimiser": optimiser.state_dict(),
    }


def _save(task: Task, optimiser: torch.optim.Optimizer, progress: Progress, path: Path, key: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"key": key, "progress": vars(progress), **_state(task, optimiser)}, file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _resume(task: Task, optimiser: torch.optim.Optimizer, path: Path, key: str) -> Progress:
    """State of the checkpoint where there is one of this key; else the beginning."""
    if not path.is_file():
        return Progress()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if stored["key"] != key:
        return Progress()
    task.network.load_state_dict(stored["network"])
    task.extra.load_state_dict(stored["extra"])
    optimiser.load_state_dict(stored["optimiser"])
    progress = Progress(**stored["progress"])
    task.continue_from(progress.updates)
    return progress
