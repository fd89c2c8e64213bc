"""Baseline that shows the driving frame: motion perfect, identity lost."""

from __future__ import annotations

from reenact_zoo.methods.base import NoConfig, Phase, ReenactmentModule
from reenact_zoo.types import PairBatch, ReenactmentOutput


class CopyDriving(ReenactmentModule[NoConfig]):
    """Hands back the driving image."""

    trainable = False

    def phases(self) -> list[Phase]:
        """Nothing to train."""
        return []

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        """The driving frame (B, 3, H, W)."""
        return ReenactmentOutput(batch["driving"].clone())
