"""LD-Net's two stages as steps of a training that brings one small batch of pictures per update.

Every update remembers the batch's landmarks and then makes several steps on remembered ones: landmarks cost next to
nothing beside pictures, and LD-Net needs thousands of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from reenact_zoo.methods.ldnet_fdgan.landmark_shape import usable
from reenact_zoo.methods.ldnet_fdgan.ld_losses import (
    LDLossWeights,
    LDSupport,
    stage1_classifier_losses,
    stage1_losses,
    stage2_critic_losses,
    stage2_losses,
    still_shapes,
)
from reenact_zoo.methods.ldnet_fdgan.ld_losses import shapes as ld_shapes
from reenact_zoo.methods.ldnet_fdgan.ld_net import LDNet
from reenact_zoo.methods.ldnet_fdgan.memory import LandmarkMemory

Part = Callable[[], Mapping[str, Tensor]]


class LandmarkStages:
    """Losses of LD-Net and its opponents on remembered landmarks.

    Args:
        net: what is trained.
        support: what is needed for training only.
        weights: of the losses.
        capacity: faces remembered.
        count: faces per step.
    """

    def __init__(self, net: LDNet, support: LDSupport, weights: LDLossWeights, capacity: int, count: int) -> None:
        self.memory = LandmarkMemory(capacity)
        self._net, self._support, self._weights, self._count = net, support, weights, count
        self._faces: tuple[Tensor, Tensor]
        self._pairs: tuple[Tensor, Tensor, Tensor]
        self._shared: dict[str, Any] = {}

    def remember(self, landmarks: Tensor, people: Tensor) -> None:
        """Keep those of landmarks (B, 68, 2) of people (B,) that can be used."""
        rows = usable(landmarks)
        if bool(rows.any()):
            self.memory.add(landmarks[rows], people[rows])

    @torch.no_grad()
    def start_bank(self) -> None:
        """Begin the bank with the remembered people's ``still_shapes``; who is not remembered gets everybody's."""
        landmarks, people = self.memory.everything()
        device = next(self._net.parameters()).device
        shapes = ld_shapes(self._net, landmarks.to(device))
        still = still_shapes(shapes, people.to(device), self._support.identities)
        self._support.bank.start_from(still)

    def stage1(self) -> Mapping[str, Tensor]:
        """Pose and expression encoder, generator and the bank of identities, on newly drawn faces."""
        self._faces, self._shared = self._drawn(), {}
        return stage1_losses(self._net, self._support, *self._faces, self._weights, self._shared)

    def stage1_opponent(self) -> Mapping[str, Tensor]:
        """The classifier that looks for identities in pose and expression, on the faces of the last ``stage1``."""
        return stage1_classifier_losses(self._net, self._support, *self._faces, self._weights, self._shared)

    def stage2(self) -> Mapping[str, Tensor]:
        """Identity encoder and generator, on newly drawn pairs of faces."""
        self._pairs, self._shared = self._drawn_pairs(), {}
        return stage2_losses(self._net, self._support, *self._pairs, self._weights, self._shared)

    def stage2_opponent(self) -> Mapping[str, Tensor]:
        """The critic of landmarks, on the pairs of the last ``stage2``."""
        return stage2_critic_losses(self._net, self._support, *self._pairs, self._weights, self._shared)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        points, people = self.memory.draw(self._count)
        device = next(self._net.parameters()).device
        return points.to(device), people.to(device)

    def _drawn_pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        source, driving, people = self.memory.draw_pairs(self._count)
        device = next(self._net.parameters()).device
        return source.to(device), driving.to(device), people.to(device)


def alternate(parts: Sequence[tuple[Optimizer, Part]], rounds: int) -> None:
    """So many rounds of one step of each optimiser on fresh losses; the other ones' parameters are fixed meanwhile.

    What requires a gradient afterwards is what did before.
    """
    owned = [[p for group in optimiser.param_groups for p in group["params"]] for optimiser, _ in parts]
    before = [(p, p.requires_grad) for parameters in owned for p in parameters]
    for _ in range(rounds):
        for (optimiser, losses), mine in zip(parts, owned, strict=True):
            for p, _ in before:
                p.requires_grad_(False)
            for p in mine:
                p.requires_grad_(True)
            optimiser.zero_grad(set_to_none=True)
            torch.stack([value.float() for value in losses().values()]).sum().backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    for p, required in before:
        p.requires_grad_(required)


def nothing(*networks: nn.Module) -> dict[str, Tensor]:
    """A loss of 0 that every parameter takes part in: there was nothing to learn from."""
    return {"nothing": torch.stack([p.sum() for network in networks for p in network.parameters()]).sum() * 0}
