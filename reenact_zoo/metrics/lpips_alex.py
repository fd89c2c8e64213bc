"""LPIPS v0.1 on AlexNet (Zhang et al., CVPR 2018, arXiv:1801.03924)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reenact_zoo.metrics._inputs import TRUTH, truth
from reenact_zoo.metrics.base import Measurer, MetricCard, PairMetric
from reenact_zoo.nn.backbones import ENTRIES
from reenact_zoo.nn.lpips import HEADS, Lpips
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput
from reenact_zoo.weights.store import WeightStore

SMALLEST = 32  # px: AlexNet's last map would be empty below


class LpipsAlex(PairMetric):
    """Perceptual distance, AlexNet form.

    Args:
        measurer: not used.
        store: where AlexNet and the heads lie.
        network: another network in their place, for tests: (B, 3, H, W) twice → (B,).
        kwargs: of ``torchmetrics.Metric``.
    """

    card = MetricCard(
        name="lpips_alex",
        version=1,
        title="LPIPS (AlexNet)",
        unit="",
        higher_is_better=False,
        compares=f"reenacted with the {TRUTH}, full frame, at the protocol's resolution",
        reads_target=True,
        entries=(ENTRIES["alex"], HEADS["alex"]),
        colour_range="RGB in [-1, 1]",
        reference="LPIPS v0.1: torchvision's AlexNet and the released heads; no resize, so values at different "
        "resolutions are not comparable; the VGG form is kept for losses",
        digits=4,
    )

    def __init__(
        self,
        measurer: Measurer | None = None,
        store: WeightStore | None = None,
        network: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(measurer, store, **kwargs)
        self._network = network

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,).

        Raises:
            InputError: images below 32 px.
            WeightsMissing: AlexNet or the heads are not at hand.
        """
        reenacted = output.reenacted.float()
        if min(reenacted.shape[-2:]) < SMALLEST:
            raise InputError(f"lpips_alex needs pictures of at least {SMALLEST} px; take it out of this protocol")
        if self._network is None:
            self._network = Lpips.from_store("alex", self.store)
        network = self._network.to(reenacted.device)
        with torch.no_grad(), torch.autocast(reenacted.device.type, enabled=False):
            values: Tensor = network(reenacted, truth(batch).float())
        return values
