"""Facial prior-guided generator of DCG-GAN: what the correspondence warped, made whole.

The warped maps go in at the bottom. On coarse levels the Attention-based Fusion Module (AFM) reads them once more and
modulates the residual blocks; fine levels have no such help, and paint what a warp of positions cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.nn.modulation import InstanceNorm, Spade, instance_norm
from reenact_zoo.ops.warp import warp
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

AFM = ("on", "bottom_only")
CHANNELS = 3 + 3 + len(CLASSES)  # I, P, M
SLOPE = 0.2


@dataclass
class Gen:
    """How wide the generator is and where it is modulated; the defaults are for 64 pixels on a CPU.

    Attributes:
        afm: "on", or "bottom_only" for the paper's variant sG, which sees the warped maps at the bottom alone.
        widths: channels of every level from the coarsest to the full size; each level is twice as large as the one
            before, so that four of them at 64 pixels begin at 8.
        fine_levels: last levels without modulation; the paper has some, the two largest of 256 pixels here.
        spade_hidden: width inside the modulation.
        afm_channels: maps that modulate; one in the paper, which at 64 pixels leaves colours to the 8x8 bottom.
        afm_width: channels of AFM's convolutions.
        norm_group: channels normalised together; 1 is instance norm.
    """

    afm: str = "on"
    widths: list[int] = field(default_factory=lambda: [96, 64, 48, 24])
    fine_levels: int = 1
    spade_hidden: int = 16
    afm_channels: int = 8
    afm_width: int = 16
    norm_group: int = 16

    @classmethod
    def tiny(cls) -> Gen:
        """Small and quick enough for tests."""
        return cls(widths=[8, 8, 8, 8], spade_hidden=8, afm_channels=2, afm_width=4, norm_group=8)

    @classmethod
    def paper(cls) -> Gen:
        """One map of AFM; widths of CoCosNet's generator at 256 pixels."""
        return cls(
            widths=[1024, 1024, 512, 256, 128, 64],
            fine_levels=2,
            spade_hidden=128,
            afm_channels=1,
            afm_width=32,
            norm_group=1,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        if self.afm == "True":  # what YAML makes of a bare on
            self.afm = "on"
        if self.afm not in AFM:
            raise InputError(f"dcg_gan: gen.afm is '{self.afm}'; {nearest(self.afm, AFM)}")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise InputError(f"dcg_gan: gen.widths must be two or more numbers of channels, not {self.widths}")
        if not 0 <= self.fine_levels < len(self.widths):
            raise InputError(
                f"dcg_gan: gen.fine_levels must leave a level to modulate: 0 to {len(self.widths) - 1}, "
                f"not {self.fine_levels}"
            )
        for name in ("spade_hidden", "afm_channels", "afm_width", "norm_group"):
            if getattr(self, name) < 1:
                raise InputError(f"dcg_gan: gen.{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Warped:
    """What F made of the source: image I^w (B, 3, h, w), proxy P^w (B, 3, h, w), parsing M^w (B, 19, h, w)."""

    image: Tensor
    proxy: Tensor
    parsing: Tensor

    @classmethod
    def split(cls, joined: Tensor) -> Warped:
        """From I, P and M that were concatenated (B, 25, h, w), so that one product warped them all."""
        return cls(*joined.split([3, 3, len(CLASSES)], 1))

    def joined(self) -> Tensor:
        """Inverse of ``split``."""
        return torch.cat([self.image, self.proxy, self.parsing], 1)

    def at(self, side: int) -> Warped:
        """The same at (side, side): averaged where that is smaller, bilinear where it is larger."""
        joined = self.joined()
        if joined.shape[-1] >= side:
            return self.split(F.adaptive_avg_pool2d(joined, side))
        return self.split(F.interpolate(joined, (side, side), mode="bilinear", align_corners=False))


@dataclass(frozen=True)
class Generated:
    """What the generator returns.

    Attributes:
        image: I_r (B, 3, H, W) RGB in [0, 1].
        attention: A (B, 1, r, r) in [0, 1] of every modulated level, coarsest first; empty without AFM.
    """

    image: Tensor
    attention: list[Tensor]


class SpatialTransformer(nn.Module):
    """STN (Jaderberg et al., NIPS 2015): moves a map by an affine map that it reads off it; fresh, it moves nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.localise = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.read = nn.Linear(32, 6)
        nn.init.zeros_(self.read.weight)
        with torch.no_grad():
            self.read.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C, h, w), float32; outside reads the border."""
        found = self.localise(x).flatten(1)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 cannot say where a pixel lies
            affine = self.read(found.float()).unflatten(1, (2, 3))
            flow = F.affine_grid(affine, [*x.shape], align_corners=False)
            return warp(x.float(), flow, padding_mode="border")


class FusionModule(nn.Module):
    """AFM: foreground and background of the warped maps, blended by attention.

    Args:
        gen: widths.
    """

    def __init__(self, gen: Gen) -> None:
        super().__init__()
        self.move_image, self.move_proxy = SpatialTransformer(3), SpatialTransformer(3)
        self.background = _reading(3, gen.afm_channels, gen)
        self.foreground = _reading(6, gen.afm_channels, gen)
        self.attention = _reading(CHANNELS, 1, gen)

    def forward(self, warped: Warped) -> tuple[Tensor, Tensor]:
        """Warped maps at one level (r, r) → f_out (B, afm_channels, r, r) and A (B, 1, r, r) in [0, 1]."""
        image, proxy = self.move_image(warped.image), self.move_proxy(warped.proxy)
        background = self.background(image)  # eq. (4): f_bg
        foreground = self.foreground(torch.cat([image, proxy], 1))  # eq. (5): f_fg
        attention = self.attention(warped.joined()).float().sigmoid()
        return attention * foreground + (1 - attention) * background, attention  # eq. (6): f_out


def _reading(inputs: int, outputs: int, gen: Gen) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, gen.afm_width):
        layers += [nn.Conv2d(before, gen.afm_width, 3, padding=1), InstanceNorm(gen.norm_group), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(gen.afm_width, outputs, 3, padding=1))


class Level(nn.Module):
    """Residual block of SPADE (Park et al., CVPR 2019): norm, leaky ReLU and convolution, twice, and the way round.

    Args:
        inputs, outputs: channels.
        gen: widths of the modulation.
        modulated: whether maps scale and shift what is normalised; else it is only normalised.
    """

    def __init__(self, inputs: int, outputs: int, gen: Gen, modulated: bool) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.norm_group = gen.norm_group
        self.spades = nn.ModuleList(
            Spade(width, gen.afm_channels, gen.spade_hidden, gen.norm_group)
            for width in ((inputs, middle) if modulated else ())
        )
        self.conv1 = nn.Conv2d(inputs, middle, 3, padding=1)
        self.conv2 = nn.Conv2d(middle, outputs, 3, padding=1)
        self.around = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, maps: Tensor | None) -> Tensor:
        """(B, inputs, r, r), f_out (B, afm_channels, r, r) where modulated → (B, outputs, r, r)."""
        inner = self.conv1(F.leaky_relu(self._normalised(0, x, maps), SLOPE))
        inner = self.conv2(F.leaky_relu(self._normalised(1, inner, maps), SLOPE))
        return self.around(x) + inner

    def _normalised(self, which: int, x: Tensor, maps: Tensor | None) -> Tensor:
        if not len(self.spades):
            return instance_norm(x, self.norm_group)
        found: Tensor = self.spades[which](x, maps)
        return found


class Generator(nn.Module):
    """Warped maps → I_r.

    Args:
        gen: widths, and where the maps come in.
        image_size: side of I_r.

    Raises:
        InputError: the number of levels does not fit the size.
    """

    def __init__(self, gen: Gen, image_size: int) -> None:
        super().__init__()
        halvings = len(gen.widths) - 1
        self.start = image_size >> halvings
        if self.start << halvings != image_size or self.start < 4:
            raise InputError(
                f"dcg_gan: {len(gen.widths)} levels of gen.widths do not fit images of {image_size} pixels: the size "
                f"must be {2**halvings} times the coarsest level, which needs 4 pixels or more"
            )
        coarse = len(gen.widths) - gen.fine_levels if gen.afm == "on" else 0
        self.first = nn.Conv2d(CHANNELS, gen.widths[0], 3, padding=1)
        self.fusion = nn.ModuleList(FusionModule(gen) for _ in range(coarse))
        self.levels = nn.ModuleList(
            Level(before, after, gen, modulated=i < coarse)
            for i, (before, after) in enumerate(zip([gen.widths[0], *gen.widths], gen.widths))
        )
        self.to_image = nn.Conv2d(gen.widths[-1], 3, 3, padding=1)

    def forward(self, warped: Warped) -> Generated:
        """Warped maps of any size (h, w) → I_r and the attention of its coarse levels."""
        x = self.first(warped.at(self.start).joined())
        attentions: list[Tensor] = []
        for i, level in enumerate(self.levels):
            if i > 0:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            maps = None
            if i < len(self.fusion):
                maps, attention = self.fusion[i](warped.at(self.start << i))
                attentions.append(attention)
            x = level(x, maps)
        image = self.to_image(F.leaky_relu(x, SLOPE)).float().tanh()
        return Generated((image + 1) / 2, attentions)
