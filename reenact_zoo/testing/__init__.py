"""For people who add a method: the contract tests to inherit, a batch that needs no file, and two toys that train."""

from reenact_zoo.testing.batches import synthetic_batch
from reenact_zoo.testing.clips import PaintedClips, PaintedConfig
from reenact_zoo.testing.contract import MethodContract, overfit
from reenact_zoo.testing.toys import OnePhaseConfig, OnePhaseToy, TwoPhaseConfig, TwoPhaseToy

__all__ = [
    "MethodContract",
    "OnePhaseConfig",
    "OnePhaseToy",
    "PaintedClips",
    "PaintedConfig",
    "TwoPhaseConfig",
    "TwoPhaseToy",
    "overfit",
    "synthetic_batch",
]
