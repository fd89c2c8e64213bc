"""Two small methods that train in seconds: examples of how a method is written, and what tests of the core use."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.base import Phase, ReenactmentModule
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput


@dataclass
class OnePhaseConfig:
    """A small landmark-driven U-Net.

    Attributes:
        image_size: side of the images in pixels; a multiple of 8.
        width: channels at full resolution.
        learning_rate: of Adam.
        ema_decay: of the averaged weights.
    """

    image_size: int = 64
    width: int = 24
    learning_rate: float = 1e-3
    ema_decay: float = 0.995

    @classmethod
    def tiny(cls) -> OnePhaseConfig:
        """Small and quick enough for tests."""
        return cls(image_size=32, width=8, learning_rate=4e-3)


class _Block(nn.Sequential):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, 3, padding=1),
            nn.GroupNorm(4, outside),  # per sample: no image may depend on its neighbours in the batch
            nn.SiLU(),
            nn.Conv2d(outside, outside, 3, padding=1),
            nn.SiLU(),
        )


class _UNet(nn.Module):
    """Three halvings; the last layer starts at zero, so that training begins with the unchanged source."""

    def __init__(self, inside: int, outside: int, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip([inside, *widths[:-1]], widths))
        self.up = nn.ModuleList(_Block(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1]))
        self.last = nn.Conv2d(width, outside, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) → (B, outside, H, W)."""
        kept = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else F.avg_pool2d(x, 2))
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1]):
            x = block(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1))
        return cast(Tensor, self.last(x))


# Parts of the face that get a map of their own: jaw, brows, nose bridge, nostrils, eyes, outer and inner lips.
_PARTS = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))


def landmark_maps(points: Tensor, size: int) -> Tensor:
    """(B, 9, H, W) in [0, 1]: a bump of one twentieth of the width at every landmark (B, 68, 2), a map per part."""
    axis = (2 * torch.arange(size, device=points.device) + 1) / size - 1
    nearness = torch.exp(-0.5 * ((points[..., None] - axis) / 0.05) ** 2)  # (B, 68, 2, size), separable
    bumps = nearness[:, :, 1, :, None] * nearness[:, :, 0, None, :]
    return torch.stack([bumps[:, begin:end].amax(1) for begin, end in _PARTS], dim=1)


class OnePhaseToy(ReenactmentModule[OnePhaseConfig]):
    """One network, one phase: a U-Net sees the source and where the landmarks are and shall be.

    It predicts where each pixel comes from (a flow), what cannot come from the source (colours), and which of both to
    show. The driving picture itself is never an input, so that it cannot be copied.
    """

    Config = OnePhaseConfig
    requires = frozenset({"source_landmarks", "driving_landmarks"})
    averaged = ("network",)

    def __init__(self, config: OnePhaseConfig | None = None) -> None:
        super().__init__(config)
        if self.config.image_size % 8:
            raise InputError(f"image_size must be a multiple of 8 for this method, not {self.config.image_size}")
        self.network = _UNet(3 + 2 * len(_PARTS), 2 + 3 + 1, self.config.width)

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """Source and its landmark maps."""
        points = batch["source_landmarks"]
        found = points.flatten(1).isfinite().all(1)
        return {"source": batch["source"], "maps": landmark_maps(points, batch["source"].shape[-1]), "found": found}

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """One pass of the U-Net; a row of NaN where landmarks are missing."""
        source, points = state["source"], batch["driving_landmarks"]
        found = state["found"] & points.flatten(1).isfinite().all(1)
        maps = torch.cat([state["maps"], landmark_maps(points, source.shape[-1])], dim=1)
        out = self.network(torch.cat([2 * source - 1, maps.nan_to_num(0)], dim=1)).float()
        identity = F.affine_grid(torch.eye(2, 3, device=out.device)[None], [1, 1, *out.shape[-2:]], align_corners=False)
        flow = identity + out[:, :2].permute(0, 2, 3, 1)
        warped = F.grid_sample(source.float(), flow, padding_mode="border", align_corners=False)
        occlusion = torch.sigmoid(out[:, 5:] + 2)  # +2: at first almost everything comes from the source
        image = occlusion * warped + (1 - occlusion) * torch.sigmoid(out[:, 2:5])
        image = torch.where(found[:, None, None, None], image, torch.nan)
        return ReenactmentOutput(image.clamp(0, 1), {"flow": flow, "occlusion": occlusion})

    def phases(self) -> list[Phase]:
        """Reconstruction of the driving frame on pairs of one person."""
        adam = functools.partial(torch.optim.Adam, lr=self.config.learning_rate)
        return [Phase("reconstruct", ["network"], self._losses, adam, clip_norm=1.0)]

    def _losses(self, batch: PairBatch, shared: dict[str, Any]) -> Mapping[str, Tensor]:
        made, truth = self.reenact(batch).reenacted, batch["driving"]
        weight = batch["same_identity"].float()[:, None, None, None]  # cross pairs have no truth
        edges = sum((made.diff(dim=d) - truth.diff(dim=d)).abs().mul(weight).mean() for d in (2, 3))
        return {"pixel": (made - truth).abs().mul(weight).mean(), "edges": cast(Tensor, edges)}


@dataclass
class TwoPhaseConfig:
    """A generator and a discriminator of a few layers.

    Attributes:
        width: channels.
        adversarial: weight of the adversarial term.
        discriminate_from: update at which the discriminator starts.
    """

    width: int = 16
    adversarial: float = 0.01
    discriminate_from: int = 0
    ema_decay: float = 0.99

    @classmethod
    def tiny(cls) -> TwoPhaseConfig:
        """Small and quick enough for tests."""
        return cls(width=8)


class TwoPhaseToy(ReenactmentModule[TwoPhaseConfig]):
    """Two networks, two phases: shows how an adversarial method is written; it copies the driving picture."""

    Config = TwoPhaseConfig
    averaged = ("generator",)

    def __init__(self, config: TwoPhaseConfig | None = None) -> None:
        super().__init__(config)
        width = self.config.width
        self.generator = nn.Sequential(nn.Conv2d(6, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))
        self.discriminator = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.SiLU(), nn.Conv2d(width, 1, 4, 2, 1))

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        """Both pictures through two convolutions."""
        both = torch.cat([batch["source"], batch["driving"]], dim=1)
        return ReenactmentOutput(torch.sigmoid(self.generator(2 * both - 1).float()))

    def phases(self) -> list[Phase]:
        """The generator's step, then the discriminator's on the same (detached) pictures."""
        adam = functools.partial(torch.optim.Adam, lr=5e-3, betas=(0.5, 0.999))
        start = self.config.discriminate_from
        return [
            Phase("generate", ["generator"], self._generator_losses, adam),
            Phase("discriminate", ["discriminator"], self._discriminator_losses, adam, start=start),
        ]

    def _generator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> Mapping[str, Tensor]:
        made = shared["made"] = self.reenact(batch).reenacted
        adversarial = (self.discriminator(made) - 1).square().mean()
        return {"pixel": (made - batch["driving"]).abs().mean(), "adversarial": self.config.adversarial * adversarial}

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> Mapping[str, Tensor]:
        real, made = self.discriminator(batch["driving"]), self.discriminator(shared["made"].detach())
        return {"real": (real - 1).square().mean(), "made": made.square().mean()}
