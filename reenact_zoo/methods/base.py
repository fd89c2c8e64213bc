"""What every method is: a LightningModule that reenacts a batch and lists the optimiser steps of one update.

Everything around that is written once, here: optimisers, the training step, averages of weights, checkpoints, and the
errors a user meets when a batch lacks what the method needs.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from reenact_zoo.methods import _weights
from reenact_zoo.methods._batches import guarded, of_source
from reenact_zoo.methods._phase import Phase, build_optimiser, check_ownership, constant, linear_decay
from reenact_zoo.registry import METHODS
from reenact_zoo.types import LABEL_KEYS, TARGET_KEYS, InputError, PairBatch, ReenactmentOutput

__all__ = ["NoConfig", "Phase", "ReenactmentModule", "constant", "linear_decay"]

ConfigT = TypeVar("ConfigT")

FINAL = ("configure_optimizers", "training_step", "validation_step", "test_step", "predict_step", "forward")


@dataclass
class NoConfig:
    """Configuration of a method that has nothing to set."""

    @classmethod
    def tiny(cls) -> NoConfig:
        """The same: there is nothing to make small."""
        return cls()


class ReenactmentModule(LightningModule, Generic[ConfigT], ABC):
    """Base class of all methods.

    A subclass sets ``Config`` and ``requires``, and writes ``phases`` and either ``reenact`` or the pair
    ``encode_source`` and ``drive``; whichever it writes, all three can be called. In ``eval()`` mode the networks named
    in ``averaged`` hold their averaged weights, in ``train()`` mode those being trained.

    Args:
        config: an instance of ``Config``; its defaults where omitted.

    Attributes:
        Config: dataclass, the method's OmegaConf schema, with a classmethod ``tiny()`` for tests. A field
            ``image_size`` is filled by training; a field ``ema_decay`` (else 0.999) sets the averages; a field
            ``sources`` says that the method uses ``extra_sources`` where a batch has them.
        requires: PairBatch keys beside source and driving without which the method cannot run.
        training_requires: further keys that its losses need; never asked for in use.
        trainable: False for baselines; their ``phases`` is [].
        averaged: dotted names of networks of which an exponential moving average is kept and used.
        frozen: dotted names of pretrained networks that stay in eval mode, are never trained, and of which a
            checkpoint holds only the hash.
        instruments: weight entries that its training looks at, kept in checkpoints; none of them may judge the method.
        num_updates: training batches done so far.
        max_updates: the training's budget, None outside training; ``phases`` may read it.
        weights_file: what ``load`` read, None for weights of this run.
        seed: where set, random numbers of update u depend on (seed, u, rank) alone, so that resuming is exact.
    """

    Config: ClassVar[type[Any]] = NoConfig
    requires: ClassVar[frozenset[str]] = frozenset()
    training_requires: ClassVar[frozenset[str]] = frozenset()
    trainable: ClassVar[bool] = True
    averaged: ClassVar[tuple[str, ...]] = ()
    frozen: ClassVar[tuple[str, ...]] = ()
    instruments: tuple[str, ...] = ()  # a class states it, or __init__ where the configuration decides

    def __init__(self, config: ConfigT | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config: ConfigT = self.Config() if config is None else config
        self.num_updates = 0
        self.max_updates: int | None = None
        self.weights_file: Path | None = None
        self.seed: int | None = None
        self.memory_format: torch.memory_format = torch.contiguous_format
        self._phases: list[Phase] | None = None
        self._averages: _weights.Averages | None = None
        self._pending: dict[str, Tensor] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        overridden = [name for name in FINAL if name in cls.__dict__]
        if overridden:
            raise TypeError(f"{cls.__name__} may not override {overridden}; write reenact and phases instead")
        unknown = (cls.requires | cls.training_requires) - (PairBatch.__annotations__.keys() - TARGET_KEYS)
        if unknown:
            raise TypeError(f"{cls.__name__}.requires names {sorted(unknown)}, which no PairBatch may offer a method")
        for name in ("reenact", "encode_source", "drive"):
            if name in cls.__dict__:
                setattr(cls, name, guarded(name, cls.__dict__[name]))

    # --- what a method writes -------------------------------------------------------------------------------------

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        """The same path in training, test and prediction; here: ``drive`` after ``encode_source``.

        Raises:
            InputError: the batch lacks a key the method requires.
        """
        self._must_write_something()
        return self.drive(self.encode_source(batch), batch)

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """Everything that depends on the source alone, done once for a whole clip; here: the source's entries."""
        return {key: value for key, value in batch.items() if of_source(key)}

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Reenact from what ``encode_source`` returned for as many sources as the batch has driving frames."""
        self._must_write_something()
        whole: dict[str, Any] = {**batch, **state}
        whole.setdefault("same_identity", torch.zeros(len(batch["driving"]), dtype=torch.bool))
        return self.reenact(cast(PairBatch, whole))

    @abstractmethod
    def phases(self) -> list[Phase]:
        """The optimiser steps of one update, in order; [] for baselines."""

    def _must_write_something(self) -> None:
        writes_reenact = type(self).reenact is not ReenactmentModule.reenact
        if not writes_reenact and type(self).drive is ReenactmentModule.drive:
            raise TypeError(f"{type(self).__name__} must write reenact, or encode_source and drive")

    # --- training: written once -----------------------------------------------------------------------------------

    @final  # type: ignore[misc]  # torch declares forward as an attribute
    def forward(self, batch: PairBatch) -> ReenactmentOutput:
        """``reenact``, so that a method can be called like any module."""
        return self.reenact(batch)

    @final
    def configure_optimizers(self) -> list[Optimizer]:
        """One optimiser per phase, after a check that every trainable parameter has exactly one owner."""
        self._phases = self.phases()
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False).eval()
        check_ownership(self, self._phases, self.frozen)
        self._start_averages()
        return [build_optimiser(self, phase) for phase in self._phases]

    @final
    def training_step(self, batch: PairBatch, batch_idx: int) -> None:
        """One update: each active phase makes its losses, its gradients and, when due, its step."""
        present = sorted(TARGET_KEYS & batch.keys())
        if present:
            raise InputError(f"a training batch must not contain {present}: those are for evaluation only")
        if self._averages is not None and self._averages.swapped:
            self._averages.swap()  # Lightning ends a validation without calling train()
        if self.seed is not None:
            # Distinct odd multipliers keep (seed, update, rank) apart; torch takes 64 bits.
            torch.manual_seed((self.seed * 1_000_003 + self.num_updates) * 4_099 + self.global_rank)
        while self._pending:
            name, gradient = self._pending.popitem()
            self.get_parameter(name).grad = gradient.to(self.device)
        batch = self._arranged(batch)
        shared: dict[str, Any] = {}
        parts: dict[str, Tensor] = {}
        optimisers = self.optimizers()
        for phase, optimiser in zip(
            self._phases or [], optimisers if isinstance(optimisers, list) else [optimisers], strict=True
        ):
            if phase.active(self.num_updates):
                losses = self._run_phase(phase, optimiser, batch, shared)
                parts |= {f"train/{phase.name}/{name}": value for name, value in losses.items()}
        self.num_updates += 1
        if self._averages is not None:
            self._averages.update(self.num_updates)
        # Lightning takes a logged "step" as the x axis; its own counts optimiser steps.
        self.log_dict({**parts, "step": torch.tensor(float(self.num_updates))}, batch_size=len(batch["source"]))
        if self.max_updates is not None and self.num_updates >= self.max_updates:
            self.trainer.should_stop = True

    def _run_phase(
        self, phase: Phase, optimiser: Any, batch: PairBatch, shared: dict[str, Any]
    ) -> Mapping[str, Tensor]:
        self.toggle_optimizer(optimiser)
        losses = phase.losses(batch, shared)
        total = torch.stack([value.float() for value in losses.values()]).sum()
        self.manual_backward(total / phase.accumulate)
        if phase.steps_at(self.num_updates):
            factor = phase.lr_scale(phase.progress(self.num_updates, self.max_updates))
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * factor
            if phase.clip_norm is not None:
                owned = [p for group in optimiser.param_groups for p in group["params"]]
                torch.nn.utils.clip_grad_norm_(owned, phase.clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.untoggle_optimizer(optimiser)
        return {name: value.detach().float() for name, value in losses.items()} | {"total": total.detach()}

    @final
    def validation_step(self, batch: PairBatch, batch_idx: int) -> ReenactmentOutput:  # type: ignore[override]
        """Reenact; what is measured is the business of callbacks."""
        return self._reenact_blind(batch)

    @final
    def test_step(self, batch: PairBatch, batch_idx: int) -> ReenactmentOutput:  # type: ignore[override]
        """Reenact; what is measured is the business of callbacks."""
        return self._reenact_blind(batch)

    @final
    def predict_step(self, batch: PairBatch, batch_idx: int) -> ReenactmentOutput:
        """Reenact."""
        return self._reenact_blind(batch)

    def _reenact_blind(self, batch: PairBatch) -> ReenactmentOutput:
        seen = {key: value for key, value in batch.items() if key not in TARGET_KEYS | LABEL_KEYS}
        return self.reenact(self._arranged(cast(PairBatch, seen)))

    def _arranged(self, batch: PairBatch) -> PairBatch:
        if self.memory_format == torch.contiguous_format:
            return batch
        images = {k: v for k, v in batch.items() if isinstance(v, Tensor) and v.ndim == 4 and v.is_floating_point()}
        moved = {key: value.contiguous(memory_format=self.memory_format) for key, value in images.items()}
        return cast(PairBatch, {**batch, **moved})

    def use_channels_last(self) -> Self:
        """Lay out weights and images channels-last, which convolutions on CPUs and GPUs prefer in bfloat16."""
        self.memory_format = torch.channels_last
        return self.to(memory_format=torch.channels_last)

    @property
    def progress(self) -> float:
        """Share of the training budget that is used, in [0, 1]; 0 without a budget."""
        return min(1.0, self.num_updates / self.max_updates) if self.max_updates else 0.0

    def on_validation_model_zero_grad(self) -> None:
        """Keep gradients: a phase may be half-way through its accumulation when validation comes."""

    # --- averages and modes ---------------------------------------------------------------------------------------

    def _start_averages(self) -> None:
        if self.averaged and self._averages is None:
            decay = float(getattr(self.config, "ema_decay", 0.999))
            self._averages = _weights.Averages(self, self.averaged, decay)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; averaged weights are in place in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        averages = self.__dict__.get("_averages")
        if averages is not None and averages.swapped == mode:
            averages.swap()
        return self

    # --- checkpoints ----------------------------------------------------------------------------------------------

    @classmethod
    def registered_name(cls) -> str:
        """Name in the registry, or "module:Class" for a class that lies elsewhere."""
        package, _, rest = cls.__module__.partition("reenact_zoo.methods.")
        return rest.removesuffix(".module") if not package and rest else f"{cls.__module__}:{cls.__qualname__}"

    def _about(self) -> dict[str, Any]:
        return {
            "format": 1,
            "method": self.registered_name(),
            "config": _weights.plain_config(self.config),
            "num_updates": self.num_updates,
            "instruments": sorted(self.instruments),
            "frozen": {name: _weights.fingerprint(self.get_submodule(name)) for name in self.frozen},
        }

    def _is_frozen(self, name: str) -> bool:
        return any(name.startswith(f"{network}.") for network in self.frozen)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what training needs to go on exactly; leave frozen networks out."""
        state = {k: v for k, v in checkpoint["state_dict"].items() if not self._is_frozen(k)}
        about = self._about()
        if self._averages is not None:
            averages = dict(self._averages.values)
            if self._averages.swapped:  # saved during validation
                averages, state = {k: state[k] for k in averages}, {**state, **averages}
            about["averages"] = averages
        # Gradients of an unfinished accumulation; empty right after a step.
        about["gradients"] = {n: p.grad for n, p in self.named_parameters() if p.grad is not None}
        checkpoint["state_dict"], checkpoint[_weights.KEY] = state, about

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up where ``on_save_checkpoint`` left.

        Raises:
            InputError: the checkpoint is of another method, configuration, or frozen network.
        """
        about = checkpoint.get(_weights.KEY)
        if about is None:
            raise InputError("the checkpoint was not written by reenact-zoo")
        self._check_about(about, "the checkpoint")
        differing = _weights.differences(about["config"], _weights.plain_config(self.config))
        if differing:
            raise InputError(f"the checkpoint was trained with another configuration: {differing}")
        frozen = {k: v for k, v in self.state_dict().items() if self._is_frozen(k)}
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **frozen}
        self.num_updates = int(about["num_updates"])
        self._start_averages()
        if self._averages is not None:
            self._averages.load(about["averages"])
        self._pending = dict(about["gradients"])  # Lightning drops gradients before the first step

    @classmethod
    def ready(
        cls, checkpoint: Path | None, image_size: int | None = None, changes: Mapping[str, Any] | None = None
    ) -> Self:
        """Method in eval mode for use: from ``checkpoint``, else from the weights that ship with the package.

        Args:
            checkpoint: weights; None: those bundled for ``image_size``, the largest where that is None too.
            image_size: side of the pictures it will see.
            changes: fields of the configuration to alter, such as a blend that works without training.

        Raises:
            InputError: it has to be trained and there are no weights of that size, or an unknown field in ``changes``.
        """
        if checkpoint is None and cls.trainable:
            checkpoint = _weights.bundled(cls.registered_name(), image_size)
        if checkpoint is not None:
            return cls.load(checkpoint, image_size=image_size, changes=changes)
        return cls(_weights.changed(cls.Config, {}, changes, cls.registered_name())).eval()

    def _check_about(self, about: Mapping[str, Any], where: str) -> None:
        if about["method"] != self.registered_name():
            raise InputError(f"{where} is of method '{about['method']}', not of '{self.registered_name()}'")
        own = self._about()["frozen"]
        changed = [name for name, value in about["frozen"].items() if own.get(name) != value]
        if changed:
            raise InputError(f"{where} was trained with other pretrained weights of {changed}; supply the same files")

    def save_weights(self, path: Path | str, half: bool = False) -> Path:
        """Write the (averaged) weights and the configuration as one safetensors file, ``half``: in float16."""
        training = self.training
        self.eval()
        state = {name: tensor for name, tensor in self.state_dict().items() if not self._is_frozen(name)}
        state = {name: t.half() if half and t.is_floating_point() else t for name, t in state.items()}
        _weights.write_safetensors(Path(path), self._about(), state)
        self.train(training)
        return Path(path)

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        image_size: int | None = None,
        map_location: str | torch.device = "cpu",
        changes: Mapping[str, Any] | None = None,
    ) -> Self:
        """Method with its weights for use, in eval mode, from a training checkpoint or a ``save_weights`` file.
        Called on ReenactmentModule itself, the registered class that the file names is used.

        Args:
            path: .ckpt or .safetensors; nothing in it can run code.
            image_size: where given, refuse a file whose configuration has another ``image_size``.
            map_location: device of the weights.
            changes: fields of the configuration to alter.

        Raises:
            InputError: missing, damaged, or of another method or size (both are named).
        """
        where = f"'{path}'"
        about, state = _weights.read(Path(path), map_location)
        if inspect.isabstract(cls):
            if about["method"] not in METHODS.names():
                raise InputError(f"{where} is of method '{about['method']}', which is not registered")
            cls = METHODS.get(about["method"])
        if about["method"] != cls.registered_name():
            raise InputError(f"{where} is of method '{about['method']}', not of '{cls.registered_name()}'")
        stored_size = about["config"].get("image_size")
        if image_size is not None and stored_size not in (None, image_size):
            raise InputError(f"{where} was trained at image_size {stored_size}, but {image_size} is wanted")
        method = cls(_weights.changed(cls.Config, about["config"], changes, where))
        method._check_about(about, where)
        frozen = {k: v for k, v in method.state_dict().items() if method._is_frozen(k)}
        _weights.load_state(method, {**frozen, **state}, where)
        method.num_updates, method.weights_file = int(about["num_updates"]), Path(path)
        method.instruments = tuple(sorted({*method.instruments, *about.get("instruments", ())}))
        return method.to(map_location).eval()
