"""Baseline that changes nothing: identity perfect, motion absent."""

from __future__ import annotations

from reenact_zoo.methods.base import NoConfig, Phase, ReenactmentModule
from reenact_zoo.types import PairBatch, ReenactmentOutput


class CopySource(ReenactmentModule[NoConfig]):
    """Hands back the source image."""

    trainable = False

    def phases(self) -> list[Phase]:
        """Nothing to train."""
        return []

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        """The source (B, 3, H, W)."""
        return ReenactmentOutput(batch["source"].clone())
