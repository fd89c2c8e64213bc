"""What one optimiser step inside an update is, and which parameters it owns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from reenact_zoo.types import PairBatch

Losses = Callable[[PairBatch, dict[str, Any]], Mapping[str, Tensor]]


def constant(progress: float) -> float:
    """Learning-rate factor 1 throughout."""
    return 1.0


def linear_decay(begin: float) -> Callable[[float], float]:
    """Learning-rate factor 1 until ``begin`` (a share of the phase in [0, 1)), then straight down to 0."""
    return lambda progress: 1.0 if progress < begin else max(0.0, (1.0 - progress) / (1.0 - begin))


@dataclass(frozen=True)
class Phase:
    """One optimiser step inside an update; an update is one training batch through all phases that are active.

    Attributes:
        name: unique in the method; its losses are logged as train/<name>/<part>.
        networks: dotted names of the submodules this phase trains; each becomes one parameter group. All other
            networks that some phase trains are frozen meanwhile: gradients pass through them, none are kept.
        losses: (batch, shared) → weighted parts, {"pixel": …, "adversarial": …}; the sum is the base class's business.
            ``shared`` is an empty dict at the start of every update: an earlier phase leaves what a later one may use
            (detached images, say).
        optimiser: parameter groups → optimiser, for example ``partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))``.
        lr_scale: progress of the phase in [0, 1] → factor on the optimiser's own rates. Progress runs from ``start``
            to ``stop`` (or to the training's ``max_updates``).
        start, stop: first update and first update after the last one, so that stages of training are ranges.
        every: the phase runs at updates start, start + every, …
        clip_norm: largest norm of the gradient of all networks of the phase together.
        accumulate: gradients of so many batches are averaged before one step; an incomplete rest at ``stop`` is
            stepped as it is.

    Raises:
        ValueError: a number that makes no sense.
    """

    name: str
    networks: Sequence[str]
    losses: Losses
    optimiser: Callable[[list[dict[str, Any]]], Optimizer]
    lr_scale: Callable[[float], float] = constant
    start: int = 0
    stop: int | None = None
    every: int = 1
    clip_norm: float | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        if not self.networks:
            raise ValueError(f"phase '{self.name}' trains no network")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ValueError(f"phase '{self.name}' has the empty range {self.start} … {self.stop}")
        if self.every < 1 or self.accumulate < 1 or (self.clip_norm is not None and self.clip_norm <= 0):
            raise ValueError(f"phase '{self.name}': every, accumulate and clip_norm must be positive")

    def active(self, update: int) -> bool:
        """Whether the phase runs at this update."""
        inside = update >= self.start and (self.stop is None or update < self.stop)
        return inside and (update - self.start) % self.every == 0

    def steps_at(self, update: int) -> bool:
        """Whether the accumulated gradients are applied at this (active) update."""
        count = (update - self.start) // self.every + 1
        last = self.stop is not None and update + self.every >= self.stop
        return last or count % self.accumulate == 0

    def progress(self, update: int, max_updates: int | None) -> float:
        """Share of the phase that is over, in [0, 1]; 0 where its end is unknown."""
        end = self.stop if self.stop is not None else max_updates
        return 0.0 if end is None or end <= self.start else min(1.0, (update - self.start) / (end - self.start))

    def meets(self, other: Phase) -> bool:
        """Whether some update runs both phases, or one of them between the other's accumulation and step."""
        first = max(self.start, other.start)
        stop = min(p.stop if p.stop is not None else math.inf for p in (self, other))
        if first >= stop:
            return False
        if self.accumulate > 1 or other.accumulate > 1:
            return True
        # Both ranges repeat with the least common multiple of their strides, so that many updates decide.
        window = range(first, int(min(stop, first + math.lcm(self.every, other.every))))
        return any(self.active(u) and other.active(u) for u in window)


def build_optimiser(module: nn.Module, phase: Phase) -> Optimizer:
    """The phase's optimiser with one parameter group per network; groups remember their base rate."""
    groups = []
    for name in phase.networks:
        parameters = [p for p in module.get_submodule(name).parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(f"network '{name}' of phase '{phase.name}' has no trainable parameter")
        groups.append({"params": parameters, "name": name})
    optimiser = phase.optimiser(groups)
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return optimiser


def check_ownership(module: nn.Module, phases: Sequence[Phase], fixed: Iterable[str] = ()) -> None:
    """Refuse parameters that no phase owns, or that two phases own at the same update.

    Args:
        module: the whole method.
        phases: all phases.
        fixed: names of networks that are never trained.

    Raises:
        ValueError: names the first parameter in question, and the phases.
    """
    names = [phase.name for phase in phases]
    if len(set(names)) != len(names):
        raise ValueError(f"phase names must differ: {names}")
    owners: dict[int, list[Phase]] = {}
    for phase in phases:
        owned = {id(p) for name in phase.networks for p in module.get_submodule(name).parameters()}
        for key in owned:
            owners.setdefault(key, []).append(phase)
    skipped = {id(p) for name in fixed for p in module.get_submodule(name).parameters()}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad or id(parameter) in skipped:
            continue
        mine = owners.get(id(parameter), [])
        if not mine:
            raise ValueError(f"parameter '{name}' is trainable, but no phase of {type(module).__name__} trains it")
        for i, one in enumerate(mine):
            for other in mine[i + 1 :]:
                if one.meets(other):
                    raise ValueError(f"parameter '{name}' is trained by phases '{one.name}' and '{other.name}' at once")
