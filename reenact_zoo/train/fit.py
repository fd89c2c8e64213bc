"""Trains a method from a configuration: one run folder with checkpoints, TensorBoard files and the configuration.

<out>/config.yaml  <out>/last.ckpt  <out>/weights.safetensors  <out>/events.out.tfevents.*
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from reenact_zoo.config import Settings, TrainConfig
from reenact_zoo.data.evaluation import collate
from reenact_zoo.data.training import Filler, PairRules, TrainingData, TrainingPairs
from reenact_zoo.datasets.base import Clip, ClipDataset
from reenact_zoo.methods import _weights
from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.registry import DATASETS, METHODS, METRICS
from reenact_zoo.train.callbacks import LAST, Checkpoints, FiniteLosses, ProgressLine, StopOnSignal, Validation
from reenact_zoo.train.precision import choose_precision
from reenact_zoo.types import InputError

WEIGHTS = "weights.safetensors"


def fit(config: TrainConfig, *, out: Path | None = None, resume: Path | None = None, quiet: bool = False) -> Path:
    """Train until ``max_updates`` and return the path of the last checkpoint; beside it lie weights for use.

    Args:
        config: what to train on what.
        out: run folder; default: that of ``resume``, else runs/<configuration>/<time>.
        resume: checkpoint, or a run folder, to go on from exactly where it stopped.
        quiet: neither progress nor notes.

    Raises:
        InputError: nothing to train, data or weights that lack, a folder not writable, a checkpoint that does not fit.
        KeyboardInterrupt: stopped by Ctrl-C; the update in progress was finished and saved.
    """
    settings = config.settings
    checkpoint = _checkpoint_to_resume(resume)
    folder = _run_folder(config, out, checkpoint)
    method = _build_method(config, checkpoint)
    method_class = type(method)
    data, title = build_data(config, method_class.requires | method_class.training_requires)
    device_type = _device_type(settings.accelerator)
    sample = collate([data.train[0], data.train[1]])
    precision, reason = choose_precision(method, sample, settings.precision, device_type)
    if precision == "bf16-mixed" or device_type == "cpu":  # on CPUs float32 gains too (one_shot's generator: 17 %)
        method.use_channels_last()
    stop = StopOnSignal()
    callbacks = [*_callbacks(settings, folder, title, stop), *([] if quiet else [ProgressLine(settings.max_updates)])]
    with _lightning_hushed():
        trainer = _trainer(settings, folder, device_type, precision, callbacks)
        if trainer.is_global_zero:
            (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
            _say(quiet, f"training {config.method} in {folder}, precision {precision} ({reason})")
        _run(trainer, method, data, checkpoint, stop)
    if trainer.is_global_zero:
        method.save_weights(folder / WEIGHTS)
    if stop.interrupted:
        _say(quiet, f"stopped at update {method.num_updates}; go on with --resume {folder}")
        raise KeyboardInterrupt
    return folder / LAST


def build_data(config: TrainConfig, requires: frozenset[str]) -> tuple[TrainingData, str]:
    """Loaders for a configuration, and "val" where validation clips are held out, else "train".

    Raises:
        InputError: no clip in the split, or a data set that cannot be opened.
    """
    from reenact_zoo.data.crops import CroppedClips, CropSpec

    settings = config.settings
    dataset: ClipDataset = DATASETS.get(config.dataset)(config.dataset_config)
    crop = settings.crop
    spec = CropSpec(policy=crop.policy, scale=crop.scale, shift_y=crop.shift_y, size=settings.image_size)
    images = CroppedClips(dataset, spec).image
    annotator = functools.partial(make_annotator, settings.cache)

    def pairs(clips: list[Clip], seed: int, same_identity: float) -> TrainingPairs:
        whole = crop.policy == "none"
        rules = PairRules(seed, same_identity, requires, settings.extra_sources, whole)
        return TrainingPairs(dataset, clips, images, rules, annotator)

    training = _of_split(dataset, settings.split)
    held_out = [clip for clip in dataset.clips if clip.split == settings.validation_split != settings.split]
    validation = None
    if settings.validation_pairs:
        validation = pairs(held_out or training, settings.seed + 1, 1.0)
    data = TrainingData(
        pairs(training, settings.seed, settings.same_identity),
        settings.batch_size,
        validation,
        settings.validation_pairs,
        settings.workers,
    )
    return data, "val" if held_out else "train"


def make_annotator(cache: Path | None) -> Filler:
    """Estimates annotations from pixels; made in each loading process, since sessions cannot travel."""
    from reenact_zoo.faces.annotate import Annotator
    from reenact_zoo.faces.measure import FaceMeasurer

    return Annotator(FaceMeasurer(cache=cache))


def _of_split(dataset: ClipDataset, split: str) -> list[Clip]:
    splits = sorted({clip.split for clip in dataset.clips})
    if splits and splits != [""] and split not in splits:
        raise InputError(
            f"the data set has no split '{split}'; it has {', '.join(name or '(none)' for name in splits)}"
        )
    return [clip for clip in dataset.clips if clip.split in (split, "")]


def _build_method(config: TrainConfig, checkpoint: Path | None) -> ReenactmentModule[Any]:
    settings = config.settings
    method_class = METHODS.get(config.method)
    if not method_class.trainable:
        raise InputError(f"method '{config.method}' has nothing to train; use it with evaluate, benchmark or animate")
    if checkpoint is not None:
        about, _ = _weights.read(checkpoint)
        if about["num_updates"] >= settings.max_updates:
            done = about["num_updates"]
            raise InputError(f"'{checkpoint}' has {done} updates already; set max_updates above that to go on")
    torch.manual_seed(settings.seed)
    method: ReenactmentModule[Any] = method_class(config.method_config)
    method.seed, method.max_updates = settings.seed, settings.max_updates
    return method


def _checkpoint_to_resume(resume: Path | None) -> Path | None:
    if resume is None:
        return None
    checkpoint = resume / LAST if resume.is_dir() else resume
    if not checkpoint.is_file():
        raise InputError(f"nothing to resume: no file '{checkpoint}'")
    return checkpoint


def _run_folder(config: TrainConfig, out: Path | None, checkpoint: Path | None) -> Path:
    if out is None and checkpoint is None and config.settings.devices > 1:
        raise InputError("give a run folder with --out when training on several devices")
    stamp = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder = out or (checkpoint.parent if checkpoint else Path("runs") / config.name / stamp)
    if checkpoint is None and (folder / LAST).exists():
        raise InputError(f"'{folder}' holds a training already; go on with --resume {folder}, or choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink(missing_ok=True)  # other processes of a DDP run probe it too
    except OSError as error:
        raise InputError(f"cannot write to the run folder '{folder}': {error.strerror}") from error
    return folder


def _device_type(accelerator: str) -> str:
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError(f"accelerator={accelerator} is asked for, but no GPU is usable here; use accelerator=cpu")
    if accelerator in ("auto", "gpu", "cuda"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def _callbacks(settings: Settings, folder: Path, title: str, stop: StopOnSignal) -> list[Callback]:
    saving = Checkpoints(folder, settings.checkpoint_minutes, settings.checkpoint_updates, settings.keep_every)
    # The order matters: decide to stop, look whether the losses are sound, then save.
    return [stop, FiniteLosses(settings.log_every), saving, Validation(_metrics(settings.validation_metrics), title)]


def _metrics(names: list[str]) -> dict[str, PairMetric]:
    classes = {name: METRICS.get(name) for name in names}
    measurer = None
    if any(cls.card.quantities for cls in classes.values()):
        from reenact_zoo.faces.measure import FaceMeasurer

        measurer = FaceMeasurer()
    for name, cls in classes.items():
        if (lacking := cls(measurer).missing()) is not None:
            raise InputError(f"validation metric '{name}' is unavailable: needs {lacking}")
    # Every process validates the same pairs; there is nothing to gather.
    return {name: cls(measurer, sync_on_compute=False) for name, cls in classes.items()}


class _Scalars(TensorBoardLogger):
    """TensorBoard without Lightning's hparams.yaml: config.yaml says it all."""

    def save(self) -> None:
        """Write out what is buffered."""
        self.experiment.flush()


def _trainer(settings: Settings, folder: Path, device_type: str, precision: Any, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator=device_type,
        devices=settings.devices,
        # toggle_optimizer leaves the other phases' parameters unused, which plain ddp refuses
        strategy="auto" if settings.devices == 1 else "ddp_find_unused_parameters_true",
        precision=precision,
        max_epochs=-1,  # the budget is the method's max_updates: max_steps counts optimiser steps
        logger=_Scalars(folder, name="", version=""),
        log_every_n_steps=settings.log_every,
        val_check_interval=settings.validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if settings.validation_pairs else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the batch sampler gives each process its share
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _run(
    trainer: Trainer, method: ReenactmentModule[Any], data: TrainingData, checkpoint: Path | None, stop: StopOnSignal
) -> None:
    try:
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except InputError as error:
        _reraise_in_one_line(error)
    except OSError as error:
        raise InputError(f"training stopped: {error.strerror or error}") from error
    except SystemExit:  # Lightning's answer to a KeyboardInterrupt
        raise KeyboardInterrupt from None
    finally:
        stop.restore()


def _reraise_in_one_line(error: InputError) -> NoReturn:
    """A worker process sends its whole traceback as the message; the last line is what the user must read."""
    found = re.findall(r"InputError: (.*)", str(error))
    raise InputError(found[-1] if found else str(error)) from error


@contextmanager
def _lightning_hushed() -> Iterator[None]:
    """Lightning's notes about devices and its advice on worker counts are not for our users."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning.*")
            yield
    finally:
        logger.setLevel(level)


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, flush=True)
