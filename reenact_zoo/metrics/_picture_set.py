"""Distances between two sets of pictures in the features of one network, which sees every picture once."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from reenact_zoo.metrics.base import Measurer, SetMetric, SetResult
from reenact_zoo.nn.fid import ENTRY, InceptionFid
from reenact_zoo.types import PairBatch, ReenactmentOutput
from reenact_zoo.weights.store import WeightStore

REMEMBERED = 4096  # pictures; 2048 features each are 32 MB
REAL = "driving frames on self pairs, source frames on cross pairs; equal pictures count once"
INCEPTION = "Inception of 2015-12-05, last average pool (2048 features); 8 bits, bilinear to 299x299 with antialiasing"


class PictureFeatures:
    """Features of whole pictures, remembered by content: metrics of one run share one of these.

    Args:
        network: (B, 3, H, W) RGB in [0, 1] → (B, F).
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._known: OrderedDict[int, Tensor] = OrderedDict()

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) → features (B, F) on the CPU, NaN rows for pictures that are not finite, and keys (B,) int64."""
        images = images.detach().float()
        keys = [_key(image) for image in images]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        if fresh:
            chosen = images[list(fresh.values())]
            with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
                made = self._network.to(images.device)(chosen.nan_to_num(0)).float().cpu()
            made[~chosen.flatten(1).isfinite().all(1).cpu()] = float("nan")
            self._known |= zip(fresh, made)
        found = torch.stack([self._known[key] for key in keys])
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found, torch.tensor(keys, dtype=torch.int64)


def _key(image: Tensor) -> int:
    digest = hashlib.blake2b(np.ascontiguousarray(image.cpu().numpy()).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


_shared: dict[str, PictureFeatures] = {}


def inception_features(store: WeightStore) -> PictureFeatures:
    """One for the process and weight file.

    Raises:
        WeightsMissing: inception_fid is not at hand.
    """
    sha256 = store.sha256(ENTRY)
    if sha256 not in _shared:
        _shared[sha256] = PictureFeatures(InceptionFid.from_store(store))
    return _shared[sha256]


class _PictureSetDistance(SetMetric):
    """Reenacted pictures against real ones.

    Args:
        measurer: not used.
        store: where Inception lies.
        features: of another network, for tests.
        kwargs: of ``torchmetrics.Metric``.
    """

    row_names = ("reenacted", "real", "real_key")
    least: ClassVar[int]

    def __init__(
        self,
        measurer: Measurer | None = None,
        store: WeightStore | None = None,
        features: PictureFeatures | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(measurer, store, **kwargs)
        self._features = features

    @abstractmethod
    def distance(self, reenacted: Tensor, real: Tensor) -> float:
        """Features (n, F) and (m, F), float64 → the value."""

    def pair_rows(self, batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
        """Features (B, F) of the reenacted and the real picture, and the key (B,) of the latter."""
        features = self._features or inception_features(self.store)
        driven = batch["same_identity"].to(batch["driving"].device).bool().view(-1, 1, 1, 1)
        real, keys = features(torch.where(driven, batch["driving"], batch["source"]))
        return {"reenacted": features(output.reenacted)[0], "real": real, "real_key": keys}

    def set_value(self, rows: Mapping[str, Tensor]) -> SetResult:
        """Distance of the two sets; none where either is smaller than ``least``."""
        reenacted = rows["reenacted"].double()
        reenacted = reenacted[~reenacted.isnan().any(1)]
        _, first = np.unique(rows["real_key"].cpu().numpy(), return_index=True)
        real = rows["real"][torch.from_numpy(first)].double()
        real = real[~real.isnan().any(1)]
        sizes = {"reenacted": len(reenacted), "real": len(real)}
        if min(sizes.values()) < self.least:
            have = f"{sizes['reenacted']} reenacted and {sizes['real']} different real ones"
            return SetResult.none(f"needs {self.least:,} pictures of each kind, here are {have}")
        return SetResult(self.distance(reenacted, real), len(reenacted), about=sizes)
