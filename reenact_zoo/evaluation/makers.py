"""What makes the reenacted pictures of a run: a method, a bound that is computed from the truth, or somebody else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor

from reenact_zoo.registry import METHODS
from reenact_zoo.types import PairBatch, ReenactmentOutput
from reenact_zoo.weights.store import file_sha256

BOUND = "bound:"
"""Names of bounds begin with it."""
PREDICTION = "pred:"
"""Names of rows whose pictures were made elsewhere begin with it."""


@dataclass(kw_only=True)
class Maker(ABC):
    """Makes pictures of pairs.

    Attributes:
        name: registered method, "module:Class", "bound:NAME", or "pred:NAME".
        config: everything that can be set, as plain values.
        weights: SHA-256 of its checkpoint; "" without one.
        requires: annotations it wants.
        instruments: weight entries its training looked at; none of them may judge it.
        sees_truth: it is handed the true targets; such rows show an end of the scale and are never ranked.
        identity: further facts that decide the pictures, as plain values.
        timed: how fast it works says something.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    requires: frozenset[str] = frozenset()
    instruments: frozenset[str] = frozenset()
    sees_truth: bool = False
    identity: list[str] = field(default_factory=list)
    timed: bool = True

    @abstractmethod
    def make(self, batch: PairBatch) -> ReenactmentOutput:
        """Pictures of a batch on the device of its tensors."""

    def why(self, pair_id: str) -> str:
        """Why it has no picture of a pair that it was asked for; "" where that must be seen from the picture."""
        return ""


@dataclass(kw_only=True)
class MethodMaker(Maker):
    """A registered method."""

    method: Any

    def make(self, batch: PairBatch) -> ReenactmentOutput:
        """``reenact``."""
        return cast(ReenactmentOutput, self.method.reenact(batch))


@dataclass(kw_only=True)
class BoundMaker(Maker):
    """One of ``evaluation.bounds``."""

    bound: Any

    def make(self, batch: PairBatch) -> ReenactmentOutput:
        """The bound's picture; a row of NaN where the pair has none."""
        made = self.bound(batch)
        return ReenactmentOutput(cast(Tensor, made))


def is_bound(name: str) -> bool:
    """Whether a row of that name shows an end of the scale that is computed from the truth."""
    return name.startswith(BOUND)


def is_prediction(name: str) -> bool:
    """Whether the pictures of a row of that name were made elsewhere."""
    return name.startswith(PREDICTION)


def load_maker(
    name: str,
    *,
    checkpoint: Path | None,
    resolution: int,
    changes: Mapping[str, Any],
    device: torch.device,
    pairs: Sequence[PairBatch],
) -> Maker:
    """The maker called ``name``.

    Args:
        name: registered method, "module:Class", or "bound:NAME".
        checkpoint: the method's weights; None takes those that ship with the package.
        resolution: side of the pictures.
        changes: fields of the method's configuration to alter.
        device: of the method.
        pairs: of the run; a bound may look at them.

    Raises:
        InputError: an unknown name or field, or weights that are absent or do not fit.
    """
    if is_bound(name):
        from reenact_zoo.evaluation.bounds import load_bound

        return BoundMaker(name=name, bound=load_bound(name, pairs), sees_truth=True)
    cls = METHODS.get(name)
    method = cls.ready(checkpoint, resolution, dict(changes)).to(device)
    config = OmegaConf.to_container(OmegaConf.structured(method.config), enum_to_str=True)
    file = method.weights_file or checkpoint
    return MethodMaker(
        name=name,
        config=cast("dict[str, Any]", config),
        weights=file_sha256(file) if file else "",
        requires=method.requires,
        instruments=frozenset(method.instruments),
        identity=[_state_hash(method)],
        method=method,
    )


def _state_hash(method: torch.nn.Module) -> str:
    """Over every number the method computes with, pretrained networks included."""
    import hashlib

    digest = hashlib.sha256()
    for key, tensor in method.state_dict().items():
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
