"""What one bundled network learns: a task knows its data, its losses and how it is judged on people it never saw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.train.instruments.batches import Batcher
from reenact_zoo.train.instruments.held_out import HeldOut


class Task(ABC):
    """One entry of the bundled weights.

    Class attributes:
        name: manifest entry, file stem and card name.
        world: "train" or "judge": whose people it sees.
        share: of the time budget, 1 for an average network.
        batch_size, learning_rate, weight_decay: of AdamW.
        architecture, preprocessing, meaning: for the card.
    """

    name: ClassVar[str]
    world: ClassVar[str] = "train"
    share: ClassVar[float] = 1.0
    batch_size: ClassVar[int] = 64
    learning_rate: ClassVar[float] = 2e-3
    weight_decay: ClassVar[float] = 1e-3
    architecture: ClassVar[str]
    preprocessing: ClassVar[str]
    meaning: ClassVar[str]

    network: nn.Module
    """What is shipped."""
    extra: nn.Module
    """What is needed for training only."""
    batches: Batcher
    """Where batches come from."""

    @abstractmethod
    def __init__(self, records: dict[str, Tensor], scenes: Tensor, head: DenseHead, seed: int) -> None:
        """``records`` as ``renders.WorldCache.load`` gives them; the network begins at ``seed``."""

    @abstractmethod
    def losses(self) -> dict[str, Tensor]:
        """Draws a batch; weighted parts whose sum is minimised. Keys beginning with "_" are for the log alone."""

    @abstractmethod
    def held_out(self, data: HeldOut) -> dict[str, Any]:
        """Figures on people that no network has seen, as they go into the card; the network is in evaluation mode."""

    def continue_from(self, updates: int) -> None:
        """Draw other batches than those before the interruption."""
        self.batches.generator.manual_seed(self.batches.seed + 7919 * updates)

    def parameters(self) -> list[dict[str, Any]]:
        """AdamW's groups: matrices and kernels decay, gains and offsets do not."""
        every = [p for module in (self.network, self.extra) for p in module.parameters() if p.requires_grad]
        groups = ([p for p in every if p.ndim > 1], self.weight_decay), ([p for p in every if p.ndim <= 1], 0.0)
        return [{"params": parameters, "weight_decay": decay} for parameters, decay in groups]


def in_parts(network: nn.Module, crops: Tensor, size: int = 128) -> Tensor:
    """Network outputs (N, …) for many crops."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in crops.split(size)])
