"""The feature network: learns to name every pixel, to tell people apart and to undo what cameras do, all at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.networks.synthetic_features import WIDTHS, SyntheticFeatures
from reenact_zoo.faces.networks.synthetic_parsing import CLASSES
from reenact_zoo.faces.synthetic_crop import head_matrices
from reenact_zoo.train.instruments.batches import Batcher, Cut
from reenact_zoo.train.instruments.held_out import HeldOut
from reenact_zoo.train.instruments.identity import CosFace
from reenact_zoo.train.instruments.parsing import class_weights
from reenact_zoo.train.instruments.task import Task

JUDGED = 96  # held-out frames for the ranking


class Decoder(nn.Module):
    """Feature maps → classes of pixels, the undamaged picture, and an embedding; thrown away after training."""

    def __init__(self, people: int) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(width, 16, 1) for width in WIDTHS)
        self.mix = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True))
        self.out = nn.Conv2d(16, CLASSES + 3, 1)
        self.embed = nn.Linear(WIDTHS[-1] * 16, 128)
        self.cosface = CosFace(people)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """→ logits (B, 19, S, S), picture (B, 3, S, S), embedding (B, 128) of unit length."""
        x = self.narrow[-1](maps[-1])
        for narrow, wide in zip(reversed(self.narrow[:-1]), reversed(maps[:-1])):
            x = narrow(wide) + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        out = self.out(self.mix(x)).float()
        pooled = F.adaptive_avg_pool2d(maps[-1], 4).flatten(1)
        return out[:, :CLASSES], out[:, CLASSES:], F.normalize(self.embed(pooled).float())


class Features(Task):
    """Entry "synthetic_features"."""

    name = "synthetic_features"
    batch_size = 32
    architecture = "like VGG: twice two 3x3 convolutions with 16, 32, 64, 96 channels, max pooling between"
    preprocessing = "RGB in [0, 1], any size of at least 8x8; trained at 64x64 head crops"
    meaning = "four feature maps for perceptual losses where ImageNet weights are not at hand; not LPIPS"

    def __init__(self, records: dict[str, Tensor], scenes: Tensor, head: DenseHead, seed: int) -> None:
        torch.manual_seed(seed)
        self.network, self.extra = SyntheticFeatures(), Decoder(int(records["person"].max()) + 1)
        self._person = records["person"]
        self._weights = class_weights(records["labels"][:500])
        cut = Cut(head_matrices, noise=0.03, shift=0.08, scale=0.35, turn_deg=10)
        self.batches = Batcher(records, scenes, cut, seed=seed)

    def losses(self) -> dict[str, Tensor]:
        """Parsing, identity, and the picture before light, colour and camera changed it."""
        batch = self.batches.draw(self.batch_size, labels=True)
        assert batch.labels is not None
        logits, picture, embedding = self.extra(self.network(batch.crops))
        who, right = self.extra.cosface(embedding, self._person[batch.rows])  # type: ignore[operator]
        return {
            "parsing": F.cross_entropy(logits, batch.labels, self._weights),
            "identity": 0.1 * who,
            "picture": 3 * (picture - batch.plain).abs().mean(),
            "_recognised": right,
        }

    def held_out(self, data: HeldOut) -> dict[str, Any]:
        """Whether distances grow with damage, and a blurred or shifted self stays nearer than another person."""
        rows = torch.linspace(0, len(data.person) - 1, JUDGED).long()
        return {"frames_64_px": ranking(self.network, data.picture(64)[rows], data.person[rows])}


def distance(network: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """(B,) mean absolute difference of the maps, every level in units of the first picture's mean activation."""
    with torch.inference_mode():
        levels = zip(network(a), network(b))
        return torch.stack([_relative(x, y) for x, y in levels]).mean(0)


def _relative(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean((1, 2, 3)) / x.abs().mean().clamp(min=1e-6)


def ranking(network: nn.Module, images: Tensor, person: Tensor) -> dict[str, Any]:
    """Mean distances of damaged pictures, and how often more damage is farther (share of frames)."""

    def coarser(factor: int) -> Tensor:
        small = F.avg_pool2d(images, factor)
        return F.interpolate(small, images.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)

    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
    other = images[_others(person)]
    damage = {
        "noise_0.02": (images + 0.02 * noise).clamp(0, 1),
        "noise_0.06": (images + 0.06 * noise).clamp(0, 1),
        "coarser_2": coarser(2),
        "coarser_4": coarser(4),
        "shift_1_px": images.roll(1, 3),
        "shift_4_px": images.roll(4, 3),
        "another_person": other,
    }
    far = {name: distance(network, images, changed) for name, changed in damage.items()}
    orders = (
        ("noise_0.02", "noise_0.06"),
        ("coarser_2", "coarser_4"),
        ("shift_1_px", "shift_4_px"),
        ("coarser_4", "another_person"),
        ("shift_4_px", "another_person"),
        ("noise_0.06", "another_person"),
    )
    return {
        "distance": {name: round(float(value.mean()), 4) for name, value in far.items()},
        "in_order": {f"{a} < {b}": round(float((far[a] < far[b]).float().mean()), 3) for a, b in orders},
    }


def _others(person: Tensor) -> Tensor:
    """(B,) for every picture the row of one of another person, about half of all rows further on."""
    count = len(person)
    ahead = (torch.arange(count)[:, None] + count // 2 + torch.arange(count)) % count
    first = (person[ahead] != person[:, None]).int().argmax(1)
    return ahead[torch.arange(count), first]
