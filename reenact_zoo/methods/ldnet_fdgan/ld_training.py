"""Trains both stages of LD-Net from a table of landmarks in memory, in one command, with a checkpoint between.

    LDTrainer(table, LDTraining(), Path("runs/ldnet")).run()

Random numbers of update u depend on (seed, u) alone, so a training that was interrupted ends where it would have ended.
``ldnet_fdgan`` itself trains the same losses as phases of its own updates; this is the quick way, without pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from reenact_zoo.methods import _weights
from reenact_zoo.methods.ldnet_fdgan import ld_losses
from reenact_zoo.methods.ldnet_fdgan.landmark_shape import check_landmarks, check_order
from reenact_zoo.methods.ldnet_fdgan.ld_losses import LDLossWeights, LDSupport
from reenact_zoo.methods.ldnet_fdgan.ld_net import LDNet
from reenact_zoo.types import InputError

KIND = "ldnet_fdgan:ld_net"
Part = tuple[list[nn.Module], Callable[[dict[str, Any]], dict[str, Tensor]]]
STAGE1, STAGE2, INTERRUPTED = "stage1.pt", "ld_net.safetensors", "interrupted.pt"


@dataclass(frozen=True)
class LandmarkTable:
    """Landmarks of many frames of many persons.

    Attributes:
        landmarks: (M, 68, 2) normalised.
        identity: (M,) labels 0 … N - 1, each with at least two rows.
        frame: (M,) number of the frame among its person's.

    Raises:
        InputError: landmarks that LD-Net cannot work on, labels with gaps, a person with a single frame.
    """

    landmarks: Tensor
    identity: Tensor
    frame: Tensor

    def __post_init__(self) -> None:
        check_landmarks(self.landmarks, "landmarks")
        check_order(self.landmarks, "landmarks")
        if not len(self.landmarks) == len(self.identity) == len(self.frame) > 0:
            raise InputError("a table needs as many identities and frames as landmarks, and at least one row")
        counts = self.identity.bincount()
        if int(counts.min()) < 2:
            label = int(counts.argmin())
            raise InputError(
                f"identity {label} has {int(counts[label])} rows; number persons from 0 without gaps, and leave out "
                "those with a single frame"
            )

    @property
    def identities(self) -> int:
        """How many persons there are."""
        return int(self.identity.amax()) + 1

    def rows_of_persons(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows sorted by person (M,), and where each person's begin and how many there are, (N,) each."""
        counts = self.identity.bincount()
        return self.identity.argsort(stable=True), counts.cumsum(0) - counts, counts


@dataclass
class LDTraining:
    """How LD-Net is made and trained.

    Attributes:
        width, pose_code, identity_code: see ``LDNet``.
        stage1_updates, stage2_updates: how long each stage takes.
        batch: faces in an update of stage 1, pairs of one person's frames in stage 2.
        lr: of Adam at the beginning of a stage; it ends at a twentieth.
        seed: of the networks, batches and codes.
        save_every: updates between two files from which an interrupted training can be taken up.
        weights: of the losses.
    """

    width: int = 192
    pose_code: int = 32
    identity_code: int = 64
    stage1_updates: int = 12000
    stage2_updates: int = 9000
    batch: int = 64
    lr: float = 2e-3
    seed: int = 0
    save_every: int = 2000
    weights: LDLossWeights = field(default_factory=LDLossWeights)


class LDTrainer:
    """Trains LD-Net on a table.

    Args:
        table: what to learn from.
        config: how.
        folder: gets ``stage1.pt`` when the first stage is over, ``ld_net.safetensors`` when the second is, and
            ``interrupted.pt`` meanwhile; None keeps nothing.
        report: called with (stage, update, losses) every hundred updates.

    Attributes:
        net: the networks.
        support: those that only the training needs.
    """

    def __init__(
        self,
        table: LandmarkTable,
        config: LDTraining,
        folder: Path | None = None,
        report: Callable[[int, int, Mapping[str, float]], None] | None = None,
    ) -> None:
        self.table, self.config, self.folder, self.report = table, config, folder, report
        c = config
        with seeded(c.seed):
            self.net = LDNet(c.width, c.pose_code, c.identity_code)
            self.support = LDSupport(table.identities, c.width, c.pose_code, c.identity_code, c.weights.adversary_space)
        self._sorted, self._first, self._count = table.rows_of_persons()
        shapes = ld_losses.shapes(self.net, table.landmarks)
        self.support.bank.start_from(ld_losses.still_shapes(shapes, table.identity, table.identities))

    def run(self) -> LDNet:
        """Both stages, or what is left of them; returns the network in eval mode.

        Raises:
            InputError: the folder holds a training with another configuration.
        """
        if self._finished():
            return self.net.eval()
        done = self._stored(STAGE1)
        if done is not None:
            self._take_up(done)
        else:
            self._stage(1, self.config.stage1_updates, self._stage1_parts())
            self._store(STAGE1, 1, self.config.stage1_updates, [])
        self._stage(2, self.config.stage2_updates, self._stage2_parts())
        self.net.eval()
        if self.folder is not None:
            save_ld_net(self.net, self.folder / STAGE2, self._about())
            (self.folder / INTERRUPTED).unlink(missing_ok=True)
        return self.net

    # --- one stage ------------------------------------------------------------------------------------------------

    def _stage1_parts(self) -> list[Part]:
        """For each optimiser the networks it trains and the losses of an update."""
        net, support, weights = self.net, self.support, self.config.weights

        def encoder(shared: dict[str, Any]) -> dict[str, Tensor]:
            return ld_losses.stage1_losses(net, support, *self._faces, weights, shared)

        def classifier(shared: dict[str, Any]) -> dict[str, Tensor]:
            return ld_losses.stage1_classifier_losses(net, support, *self._faces, weights, shared)

        parts: list[Part] = [([net.pose_expression_encoder, net.generator, support.bank], encoder)]
        if weights.adversary > 0 and weights.adversary_space != "none":
            parts.append(([support.classifier], classifier))
        return parts

    def _stage2_parts(self) -> list[Part]:
        net, support, weights = self.net, self.support, self.config.weights

        def encoder(shared: dict[str, Any]) -> dict[str, Tensor]:
            return ld_losses.stage2_losses(net, support, *self._pairs, weights, shared)

        def critic(shared: dict[str, Any]) -> dict[str, Tensor]:
            return ld_losses.stage2_critic_losses(net, support, *self._pairs, weights, shared)

        parts: list[Part] = [([net.identity_encoder, net.generator], encoder)]
        if weights.realism > 0 or weights.naming > 0:
            parts.append(([support.critic], critic))
        return parts

    def _stage(self, stage: int, updates: int, parts: list[Part]) -> None:
        optimisers = [
            Adam([p for module in modules for p in module.parameters()], lr=self.config.lr, fused=True)
            for modules, _ in parts
        ]
        for update in range(self._resume(stage, optimisers), updates):
            seen: dict[str, Tensor] = {}
            shared: dict[str, Any] = {}
            with seeded(self.config.seed, stage, update):
                self._draw()
                for optimiser, (_, losses) in zip(optimisers, parts, strict=True):
                    found = losses(shared)
                    _step(optimiser, found, self.config.lr * ld_losses.decay(update / updates))
                    seen = {**found, **seen}
            self._after(stage, update + 1, updates, seen, optimisers)

    def _draw(self) -> None:
        """The batch of this update: as many persons as rows, equally likely, and two different frames of each."""
        person = torch.randint(self.table.identities, (self.config.batch,))
        count = self._count[person]
        one = (torch.rand(len(person)) * count).long()
        two = (one + 1 + (torch.rand(len(person)) * (count - 1)).long()) % count
        source, driving = (self.table.landmarks[self._sorted[self._first[person] + n]] for n in (one, two))
        self._faces, self._pairs = (driving, person), (source, driving, person)

    def _after(
        self, stage: int, update: int, updates: int, losses: Mapping[str, Tensor], optimisers: list[Adam]
    ) -> None:
        if self.report is not None and update % 100 == 0:
            self.report(stage, update, {name: float(value.detach()) for name, value in losses.items()})
        if update % self.config.save_every == 0 and update < updates:
            self._store(INTERRUPTED, stage, update, optimisers)

    # --- files ----------------------------------------------------------------------------------------------------

    def _store(self, name: str, stage: int, update: int, optimisers: list[Adam]) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "training": self._about(),
            "stage": stage,
            "update": update,
            "net": self.net.state_dict(),
            "support": self.support.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        }
        part = self.folder / f".{name}.part"
        torch.save(content, part)
        part.replace(self.folder / name)

    def _stored(self, name: str) -> dict[str, Any] | None:
        if self.folder is None or not (self.folder / name).is_file():
            return None
        content: dict[str, Any] = torch.load(self.folder / name, weights_only=True)
        self._check_same(content["training"], name)
        return content

    def _finished(self) -> bool:
        """Whether the folder holds the result already; it is read then."""
        if self.folder is None or not (self.folder / STAGE2).is_file():
            return False
        about, state = _weights.read(self.folder / STAGE2, "cpu")
        self._check_same(about.get("training", {}), STAGE2)
        _weights.load_state(self.net, state, f"'{self.folder / STAGE2}'")
        return True

    def _about(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self.config), "identities": self.table.identities}

    def _check_same(self, training: Mapping[str, Any], name: str) -> None:
        other = _weights.differences(training, self._about())
        if other:
            raise InputError(f"'{name}' in '{self.folder}' is of another training ({other}); name another folder")

    def _take_up(self, content: Mapping[str, Any]) -> None:
        self.net.load_state_dict(content["net"])
        self.support.load_state_dict(content["support"])

    def _resume(self, stage: int, optimisers: list[Adam]) -> int:
        content = self._stored(INTERRUPTED)
        if content is None or content["stage"] != stage:
            return 0
        self._take_up(content)
        for optimiser, state in zip(optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        return int(content["update"])


def save_ld_net(net: LDNet, path: Path, training: Mapping[str, Any] | None = None) -> None:
    """Write the network as one safetensors file, with its sizes and how it was trained."""
    about = {"format": 1, "method": KIND, "sizes": net.sizes, "training": dict(training or {})}
    _weights.write_safetensors(path, about, net.state_dict())


def load_ld_net(path: Path | str) -> LDNet:
    """The network of such a file, in eval mode.

    Raises:
        InputError: missing, damaged, or something else.
    """
    about, state = _weights.read(Path(path), "cpu")
    if about.get("method") != KIND:
        raise InputError(f"'{path}' is of '{about.get('method')}', not an LD-Net")
    net = LDNet(**about["sizes"])
    _weights.load_state(net, state, f"'{path}'")
    return net.eval()


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Random numbers that depend on ``numbers`` alone; those of the caller go on afterwards as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        seed = 0
        for number in numbers:
            seed = seed * 1_000_003 + number + 1
        torch.manual_seed(seed % 2**63)
        yield


def _step(optimiser: Adam, losses: Mapping[str, Tensor], rate: float) -> None:
    """One step of the optimiser's own parameters; gradients pass through the others, and none are kept there."""
    (group,) = optimiser.param_groups
    total = torch.stack(list(losses.values())).sum()
    for parameter, gradient in zip(group["params"], torch.autograd.grad(total, group["params"]), strict=True):
        parameter.grad = gradient
    group["lr"] = rate
    optimiser.step()
