"""Face parsing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.networks.synthetic_parsing import SyntheticParsing
from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.faces.synthetic_crop import head_crop, head_matrices, maps_to_image
from reenact_zoo.train.instruments.batches import Batcher, Cut
from reenact_zoo.train.instruments.held_out import SIZES, HeldOut
from reenact_zoo.train.instruments.task import Task, in_parts


def class_weights(labels: Tensor) -> Tensor:
    """(19,) inverse square root of how often a class occurs; small parts matter, absent classes weigh nothing."""
    share = torch.bincount(labels.flatten().long(), minlength=len(CLASSES)).float() / labels.numel()
    weights = torch.where(share > 0, share.clamp(min=1e-4).rsqrt(), 0.0)
    return weights / (weights * share).sum()


def balanced_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy in which small parts count more, but whose best answer is still how probable a class is.

    A weighted cross entropy alone is least where the answer is proportional to weight times probability: thin parts
    grow, and there is foreground everywhere. Here the network's answer is what comes before that factor (Menon et al.,
    "Long-tail learning via logit adjustment", ICLR 2021, the other way round).

    Args:
        logits: (B, 19, H, W) as the network answers them.
        labels: (B, H, W) int64.
        weights: (19,) by class, 0 for those that never occur.
    """
    factor = torch.where(weights > 0, weights, 1.0).log()
    return F.cross_entropy(logits + factor[:, None, None], labels, weights)


class Parsing(Task):
    """Entry "synthetic_parsing"."""

    name = "synthetic_parsing"
    batch_size = 16
    architecture = "U-Net with sums: 16, 32, 64, 96 channels"
    preprocessing = "64x64 RGB in [0, 1], synthetic_crop.head_crop"
    meaning = "logits of BiSeNet's 19 classes; no synthetic person wears an earring, a necklace or a hat"

    def __init__(self, records: dict[str, Tensor], scenes: Tensor, head: DenseHead, seed: int) -> None:
        torch.manual_seed(seed)
        self.network, self.extra = SyntheticParsing(), nn.Module()
        self._weights = class_weights(records["labels"][:500])
        cut = Cut(head_matrices, noise=0.03, shift=0.1, scale=0.3, turn_deg=15)
        self.batches = Batcher(records, scenes, cut, seed=seed)

    def losses(self) -> dict[str, Tensor]:
        """See ``balanced_entropy``."""
        batch = self.batches.draw(self.batch_size, labels=True)
        assert batch.labels is not None
        logits = self.network(batch.crops)
        right = (logits.argmax(1) == batch.labels).float().mean()
        return {"entropy": balanced_entropy(logits, batch.labels, self._weights), "_right": right}

    def held_out(self, data: HeldOut) -> dict[str, Any]:
        """Intersection over union of every class over all pixels of the frames."""
        return {f"frames_{size}_px": self._overlap(data, size) for size in SIZES}

    def _overlap(self, data: HeldOut, size: int) -> dict[str, Any]:
        crops, matrices = head_crop(data.picture(size), data.landmarks_px(size))
        found = in_parts(self.network, crops).softmax(1)
        parts = zip(found.split(64), matrices.split(64))
        labels = torch.cat([maps_to_image(f, m, size, size).argmax(1) for f, m in parts])
        return overlap(labels, data.labels[size].long())


def overlap(found: Tensor, true: Tensor) -> dict[str, Any]:
    """Labels of pixels → accuracy, IoU per class that occurs, and their mean."""
    pairs = torch.bincount((true * len(CLASSES) + found).flatten(), minlength=len(CLASSES) ** 2)
    table = pairs.view(len(CLASSES), -1).double()
    both, union = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
    present = table.sum(1) > 0
    per_class = {CLASSES[k]: round(float(both[k] / union[k]), 3) for k in present.nonzero()[:, 0].tolist()}
    return {
        "pixel_accuracy": round(float(both.sum() / table.sum()), 4),
        "mean_iou": round(sum(per_class.values()) / len(per_class), 4),
        "iou": per_class,
    }
