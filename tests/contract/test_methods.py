"""Every registered method, and both toys, keep the contract; a broken method does not pass it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from reenact_zoo.methods.base import Phase, ReenactmentModule
from reenact_zoo.registry import METHODS
from reenact_zoo.testing import MethodContract, OnePhaseToy, TwoPhaseToy
from reenact_zoo.types import PairBatch, ReenactmentOutput

for _name in METHODS.names():
    _title = "".join(part.capitalize() for part in _name.split("_"))
    globals()[f"Test{_title}"] = type(f"Test{_title}", (MethodContract,), {"method": _name})


class TestOnePhaseToy(MethodContract):
    method = OnePhaseToy
    overfit_factor = 0.7


class TestTwoPhaseToy(MethodContract):
    method = "reenact_zoo.testing:TwoPhaseToy"
    overfit_factor = 0.7


class Broken(ReenactmentModule[Any]):
    """A baseline whose fault each test below chooses."""

    trainable = False

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(0.5)

    def phases(self) -> list[Phase]:
        return []


class OutOfRange(Broken):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"] * 2 - 1)


class Mixing(Broken):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput((batch["source"] + batch["source"].mean(0)) / 2)


class Peeking(Broken):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["target"] if "target" in batch else batch["source"])


class Random(Broken):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        self.dropout.train()
        return ReenactmentOutput(self.dropout(batch["source"]) / 2)


class HalfMissing(Broken):
    requires = frozenset({"driving_landmarks"})

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        shift = batch["driving_landmarks"].mean((1, 2))[:, None, None, None]
        image = batch["source"].clone()
        image[:, :, ::2] = image[:, :, ::2] + 0 * shift
        return ReenactmentOutput(image)


class Forgetful(Broken):
    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.gain = float(torch.rand(()))  # not in the state dict

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"] * self.gain)


class TwoWays(Broken):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"])

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["driving"])


class Lazy(TwoPhaseToy):
    def phases(self) -> list[Phase]:
        return [Phase("all", ["generator", "discriminator"], self._nothing, torch.optim.Adam)]

    def _nothing(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {"nothing": 0 * self.generator[0].weight.sum()}


@pytest.mark.parametrize(
    ("method", "test"),
    [
        (OutOfRange, "test_output_has_the_shape_and_range_of_an_image"),
        (Mixing, "test_a_sample_does_not_depend_on_its_neighbours"),
        (Peeking, "test_targets_are_neither_needed_nor_read"),
        (Random, "test_evaluation_is_deterministic"),
        (HalfMissing, "test_a_missing_face_spoils_only_its_own_row"),
        (Forgetful, "test_weights_survive_a_file"),
        (TwoWays, "test_encoding_once_and_driving_is_the_same_as_reenacting"),
        (Lazy, "test_a_few_updates_on_one_batch_bring_the_driving_frame_nearer"),
    ],
)
def test_the_contract_notices(method: type[ReenactmentModule[Any]], test: str) -> None:
    contract = type("Contract", (MethodContract,), {"method": method})()
    with pytest.raises(AssertionError):
        getattr(contract, test)()


def test_the_contract_covers_every_registered_method() -> None:
    covered = {value.method for name, value in globals().items() if name.startswith("Test")}
    assert set(METHODS.names()) <= covered
