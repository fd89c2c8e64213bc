"""What watches a training: checkpoints, validation pictures and metrics, the progress line, and Ctrl-C."""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column
from torch import Tensor
from torchvision.utils import make_grid

from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

LAST = "last.ckpt"
PATIENCE_S = 0.5  # a second Ctrl-C within this time is the same key press


def save_atomically(trainer: Trainer, path: Path) -> None:
    """Write a checkpoint that has its final name only when it is whole; call on every process.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        trainer.strategy.barrier()  # nobody may look for the file before it is there
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"cannot write the checkpoint '{path}': {error.strerror or error}") from error


class Checkpoints(Callback):
    """Rewrites last.ckpt every so many minutes or updates and at the end; keeps numbered copies where asked.

    Args:
        folder: existing folder.
        minutes, updates: whichever comes first; None switches one off.
        keep_every: updates between copies ``update_<n>.ckpt`` that stay.
    """

    def __init__(self, folder: Path, minutes: float | None, updates: int | None, keep_every: int | None) -> None:
        self.last = folder / LAST
        self._seconds = math.inf if minutes is None else 60 * minutes
        self._updates, self._keep_every = updates, keep_every
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Save when due; the place is after the update and before a validation, where nothing is half done."""
        update: int = module.num_updates  # type: ignore[assignment]
        keep = self._keep_every is not None and update % self._keep_every == 0
        due = trainer.should_stop or keep or (self._updates is not None and update % self._updates == 0)
        late = time.monotonic() - self._saved_at >= self._seconds
        # Clocks differ between processes, and saving is collective: the first process decides for all.
        if due or trainer.strategy.broadcast(late):
            check_finite(trainer, module)
            save_atomically(trainer, self.last)
            self._saved_at = time.monotonic()
            if keep and trainer.is_global_zero:
                copy = self.last.with_name(f"update_{update:07d}.ckpt")
                shutil.copyfile(self.last, part := copy.with_name(f".{copy.name}.part"))
                part.replace(copy)


class StopOnSignal(Callback):
    """First Ctrl-C or SIGTERM: finish the update, save, stop. A second Ctrl-C: stop at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Listen; only a main thread may. Not earlier: Lightning sets its own handler for SIGTERM before this."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            # `timeout` and batch systems send SIGTERM twice, to the process and to its group: that is no impatience.
            if number == signal.SIGINT and time.monotonic() - self._since > PATIENCE_S:
                raise KeyboardInterrupt
            return
        self.interrupted, self._since = True, time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Ask the trainer to stop, on all processes at the same update."""
        if trainer.world_size > 1:
            self.interrupted = trainer.strategy.reduce_boolean_decision(self.interrupted, all=False)
        trainer.should_stop = trainer.should_stop or self.interrupted

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


def check_finite(trainer: Trainer, module: LightningModule) -> None:
    """Refuse to go on with losses that are no longer numbers.

    Raises:
        InputError: names the losses.
    """
    broken = sorted(name for name, value in trainer.callback_metrics.items() if not torch.isfinite(value).all())
    if broken:
        raise InputError(
            f"update {module.num_updates}: {', '.join(broken)} not finite; lower the learning rate or set "
            "precision=32-true (last.ckpt is from before)"
        )


class FiniteLosses(Callback):
    """``check_finite`` now and then: reading a loss waits for the device."""

    def __init__(self, every: int) -> None:
        self._every = every

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Look when due."""
        if module.num_updates % self._every == 0:  # type: ignore[operator]
            check_finite(trainer, module)


class Validation(Callback):
    """Metrics and a picture grid (source, driving, reenacted) of the fixed validation pairs, in TensorBoard.

    Args:
        metrics: registered name → metric.
        title: prefix in TensorBoard: "val", or "train" where no held-out clip exists.
        rows: pairs shown.
    """

    def __init__(self, metrics: dict[str, PairMetric], title: str = "val", rows: int = 8) -> None:
        self.metrics, self._title, self._rows = metrics, title, rows
        self.values: dict[str, float] = {}
        self._shown: list[Tensor] = []

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget the previous validation."""
        self._shown = []
        for metric in self.metrics.values():
            metric.reset()

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, *args: Any
    ) -> None:
        """Measure and remember pictures; on the CPU, so that instruments need not know devices."""
        on_cpu: Any = {key: value.cpu() if isinstance(value, Tensor) else value for key, value in batch.items()}
        output = ReenactmentOutput(outputs.reenacted.detach().cpu())
        for metric in self.metrics.values():
            metric.update(on_cpu, output)
        room = self._rows - len(self._shown)
        triples = torch.stack([on_cpu["source"], on_cpu["driving"], output.reenacted], dim=1)
        self._shown += list(triples[:room])

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write both at the number of updates."""
        self.values = {f"{self._title}/{name}": metric.compute().item() for name, metric in self.metrics.items()}
        if isinstance(trainer.logger, TensorBoardLogger):
            step: int = module.num_updates  # type: ignore[assignment]
            trainer.logger.log_metrics(self.values, step=step)
            if self._shown and trainer.is_global_zero:
                trainer.logger.experiment.add_image(f"{self._title}/pairs", picture_grid(self._shown), step)


def picture_grid(triples: Sequence[Tensor]) -> Tensor:
    """(3, H, W) picture with one row per (3, 3, S, S) triple of source, driving and reenacted."""
    return make_grid(torch.cat(list(triples)).nan_to_num(0).clamp(0, 1), nrow=3, padding=2, pad_value=1)


class ProgressLine(Callback):
    """One line: updates done, rate, time left, total losses; on the first process only."""

    def __init__(self, max_updates: int) -> None:
        self._max_updates = max_updates
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._began, self._first, self._drawn = 0.0, 0, 0.0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Show the line where a person watches it."""
        self._began, self._first = time.monotonic(), module.num_updates  # type: ignore[assignment]
        if not trainer.is_global_zero:
            return
        # Numbers keep their width; what does not fit a narrow terminal is the end of the text.
        count = MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(self._max_updates)) + 1))
        text = TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        self._bar = Progress(TextColumn("training"), BarColumn(bar_width=12), count, text)
        self._bar.start()
        self._task = self._bar.add_task("", total=self._max_updates, completed=self._first, text="")

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Redraw at most twice a second: reading a loss waits for the device."""
        now = time.monotonic()
        if self._bar is None or (now - self._drawn < 0.5 and not trainer.should_stop):
            return
        self._drawn = now
        done: int = module.num_updates  # type: ignore[assignment]
        rate = (done - self._first) / max(now - self._began, 1e-9)
        left = (self._max_updates - done) / rate
        totals = {k.split("/")[1]: v for k, v in trainer.callback_metrics.items() if k.endswith("/total")}
        losses = " ".join(f"{phase} {value.item():.3f}" for phase, value in totals.items())
        text = f"{rate:.1f} updates/s, {int(left // 60)}:{int(left % 60):02d} left, {losses}"
        self._bar.update(self._task, completed=done, text=text)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Leave the line as it is."""
        self._close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Leave the line as it is."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
