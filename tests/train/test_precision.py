from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from reenact_zoo.testing import MethodContract, OnePhaseToy, TwoPhaseToy, synthetic_batch
from reenact_zoo.train import precision
from reenact_zoo.train.precision import choose_precision, deviation, fast_bfloat16
from reenact_zoo.types import PairBatch, ReenactmentOutput


class Overflowing(TwoPhaseToy):
    """Subtracts two large numbers, which bfloat16 cannot tell apart."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.generator = nn.Sequential(nn.Conv2d(6, 3, 1))

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        both = torch.cat([batch["source"], batch["driving"]], dim=1)
        large = self.generator(1000 + both)
        return ReenactmentOutput((large - self.generator(1000 + 0 * both)).float())


def contract(method: type[Any]) -> Any:
    return type("Contract", (MethodContract,), {"method": method})()


@pytest.mark.parametrize("method", [OnePhaseToy, TwoPhaseToy])
def test_bfloat16_images_agree_with_float32(method: type[Any]) -> None:
    test = contract(method)
    built, batch = test.build(), test.batch()
    built.use_channels_last()
    difference = deviation(built, batch)
    assert 0 < difference < 0.01  # 8 bits of mantissa are 0.4 % of a value, and values are below 1
    assert not built.training, "the mode is left as it was"
    assert built.reenact(batch).reenacted.dtype == torch.float32


def test_auto_takes_bfloat16_only_where_the_hardware_has_it_and_the_method_bears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = synthetic_batch(16, 2)
    sound, fragile = TwoPhaseToy(), Overflowing()
    monkeypatch.setattr(precision, "fast_bfloat16", lambda device_type: True)
    assert choose_precision(sound, batch, "auto", "cpu")[0] == "bf16-mixed"
    chosen, reason = choose_precision(fragile, batch, "auto", "cpu")
    assert chosen == "32-true"
    assert "differ from float32 by" in reason
    monkeypatch.setattr(precision, "fast_bfloat16", lambda device_type: False)
    assert choose_precision(sound, batch, "auto", "cpu") == ("32-true", "this cpu has no bfloat16 matrix units")


def test_what_is_configured_is_taken() -> None:
    batch = synthetic_batch(16, 2)
    assert choose_precision(Overflowing(), batch, "bf16-mixed", "cpu") == ("bf16-mixed", "as configured")
    assert choose_precision(TwoPhaseToy(), batch, "32-true", "cpu") == ("32-true", "as configured")


def test_an_image_that_is_not_finite_counts_as_infinitely_far() -> None:
    method = TwoPhaseToy()
    with torch.no_grad():
        method.generator[0].weight.fill_(torch.nan)
    assert deviation(method, synthetic_batch(16, 2)) == float("inf")


def test_unknown_devices_have_no_fast_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not fast_bfloat16("mps")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert fast_bfloat16("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert not fast_bfloat16("cpu")
