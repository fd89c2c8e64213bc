"""Which number format training uses, decided from the processor and checked on the method's own images."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.types import PairBatch

Precision = Literal["32-true", "bf16-mixed"]

TOLERANCE = 0.1
"""Largest mean absolute difference from float32 images, in [0, 1], at which bfloat16 is still taken: an untrained
network moves by about 0.01 (8 bits of mantissa); overflow or a cancelling normalisation moves by far more."""


def fast_bfloat16(device_type: str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware: AMX or AVX512-BF16 on a CPU, Ampere or later."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        # get_capabilities is younger than the oldest torch we allow
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
    return False


def autocast(device_type: str, precision: Precision) -> AbstractContextManager[Any]:
    """Autocast context for code outside a Trainer."""
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed")


@torch.no_grad()
def deviation(method: ReenactmentModule[Any], batch: PairBatch) -> float:
    """Mean absolute difference of the images made in bfloat16 from those in float32; inf where either is not finite."""
    training = method.training
    method.eval()
    exact: Tensor = method(batch).reenacted
    with autocast(method.device.type, "bf16-mixed"):
        coarse: Tensor = method(batch).reenacted
    method.train(training)
    difference = (exact - coarse).abs().mean().item()
    return difference if difference == difference else float("inf")


def choose_precision(
    method: ReenactmentModule[Any], batch: PairBatch, wanted: str, device_type: str
) -> tuple[Precision, str]:
    """Precision for a Trainer and the reason in words.

    Args:
        method: on the CPU, before training.
        batch: a few training pairs.
        wanted: "auto", "32-true" or "bf16-mixed".
        device_type: where training will run.
    """
    if wanted != "auto":
        return ("bf16-mixed" if wanted == "bf16-mixed" else "32-true"), "as configured"
    if not fast_bfloat16(device_type):
        return "32-true", f"this {device_type} has no bfloat16 matrix units"
    difference = deviation(method, batch)
    if difference > TOLERANCE:
        return "32-true", f"bfloat16 images differ from float32 by {difference:.3f} on average"
    return "bf16-mixed", f"bfloat16 in hardware; images differ from float32 by {difference:.4f} on average"
