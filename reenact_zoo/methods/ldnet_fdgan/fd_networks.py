"""FD-GAN's networks: two U-Nets that dictionaries join, and patch networks made of the U-Net's down path.

The extractor sees the source picture with its landmark map and writes one dictionary per level of its up path. The
translator sees the driven landmark map alone and reads them on its own way up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from reenact_zoo.methods.ldnet_fdgan.dictionary import DictionaryReader, DictionaryWriter
from reenact_zoo.nn.modulation import InstanceNorm
from reenact_zoo.ops.coordinates import identity_grid

GROUP = 16  # channels that are normalised together
SHARE_AT_FIRST = 2.0  # logit of the generated picture's share where it is blended with the source

Dictionary = dict[int, Tensor]
"""Side of a level's map in pixels → values (B, slots, C), or the map (B, C, H, W) itself where there is none."""


def normalisation(kind: str, channels: int) -> nn.Module:
    """Layer of a kind: "group" (16 channels at a time), "instance" (without parameters) or "none"."""
    if kind == "group":
        return nn.GroupNorm(max(1, channels // GROUP), channels)
    return InstanceNorm() if kind == "instance" else nn.Identity()


def with_coordinates(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, C + 2, H, W): x and y of every pixel beside its channels."""
    grid = identity_grid(x.shape[-2], x.shape[-1], device=x.device).permute(2, 0, 1).to(x.dtype)
    return torch.cat([x, grid.expand(len(x), -1, -1, -1)], 1)


class DownPath(nn.Module):
    """Strided 4x4 convolutions, each halving the size; leaky ReLU of slope 0.2, no normalisation after the first.

    Args:
        inputs: channels of what it sees; coordinates are added.
        widths: channels after each halving.
        norm: see ``normalisation``.
        spectral: spectral norm on every convolution (Miyato et al., ICLR 2018), in place of ``norm``.
    """

    def __init__(self, inputs: int, widths: Sequence[int], norm: str = "group", spectral: bool = False) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.layers = nn.ModuleList()
        for i, (before, after) in enumerate(zip([inputs + 2, *widths[:-1]], widths)):
            convolution = nn.Conv2d(before, after, 4, 2, 1)
            normal = normalisation("none" if i == 0 or spectral else norm, after)
            layer = spectral_norm(convolution) if spectral else convolution
            self.layers.append(nn.Sequential(layer, normal, nn.LeakyReLU(0.2)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) → maps at H/2, H/4, …, largest first."""
        x = with_coordinates(x)
        kept = []
        for layer in self.layers:
            x = layer(x)
            kept.append(x)
        return kept


class _Up(nn.Module):
    """Twice the size (nearest), the skip beside it, a 3x3 convolution."""

    def __init__(self, below: int, skip: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(below + skip, outputs, 3, padding=1), normalisation(norm, outputs), nn.ReLU()
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return cast(Tensor, self.layers(torch.cat([x, skip.to(x.dtype)], 1)))


def _ups(widths: Sequence[int], norm: str) -> list[_Up]:
    """Mirror of the down path, up to its largest map: the level of width w gives w channels again."""
    return [_Up(below, here, here, norm) for below, here in zip(widths[:0:-1], widths[-2::-1])]


def _sides(image_size: int, widths: Sequence[int]) -> list[int]:
    """Sides of the up path's maps below the image, smallest first."""
    return [image_size >> level for level in range(len(widths) - 1, 0, -1)]


class Extractor(nn.Module):
    """U-Net on a picture and its landmark map; its up path writes the dictionaries and ends at the last of them.

    Args:
        maps: channels of a landmark map.
        image_size: side in px.
        widths: of the down path.
        slots: side of a level in px → slots of its dictionary.
        key_dim: length of keys.
        norm: see ``normalisation``.
        dictionary: False: features are handed on at their own place, for the ablation.
    """

    def __init__(
        self,
        maps: int,
        image_size: int,
        widths: Sequence[int],
        slots: Mapping[int, int],
        key_dim: int,
        norm: str = "group",
        dictionary: bool = True,
    ) -> None:
        super().__init__()
        self.down = DownPath(3 + maps, widths, norm)
        self.sides = [side for side in _sides(image_size, widths) if side <= max(slots)]
        self.up = nn.ModuleList(_ups(widths, norm)[: len(self.sides)])
        self.writers = nn.ModuleDict()
        for side, width in zip(self.sides, widths[-2::-1]):
            if side in slots:
                writer = DictionaryWriter(width, slots[side], key_dim) if dictionary else nn.Conv2d(width, width, 1)
                self.writers[str(side)] = writer

    def forward(self, images: Tensor, maps: Tensor) -> Dictionary:
        """Pictures (B, 3, H, W) in [0, 1] and maps (B, M, H, W) → what the translator reads."""
        kept = self.down(torch.cat([2 * images - 1, maps], 1))
        x = kept[-1]
        entries: Dictionary = {}
        for side, up, skip in zip(self.sides, self.up, kept[-2::-1]):
            x = up(x, skip)
            if str(side) in self.writers:
                entries[side] = self.writers[str(side)](x)
        return entries


class Translator(nn.Module):
    """U-Net on a landmark map that reads dictionaries on its way up and paints the picture.

    Args:
        maps, image_size, widths, slots, key_dim, norm, dictionary: as the extractor's.
        last: channels at full size.
        blend: a further channel says where the unmoved source is shown instead.
    """

    def __init__(
        self,
        maps: int,
        image_size: int,
        widths: Sequence[int],
        slots: Mapping[int, int],
        key_dim: int,
        norm: str = "group",
        dictionary: bool = True,
        last: int = 16,
        blend: bool = False,
    ) -> None:
        super().__init__()
        self.down = DownPath(maps, widths, norm)
        self.sides = _sides(image_size, widths)
        self.up = nn.ModuleList(_ups(widths, norm))
        self.readers, self.joins = nn.ModuleDict(), nn.ModuleDict()
        for side, width in zip(self.sides, widths[-2::-1]):
            if side in slots:
                self.readers[str(side)] = DictionaryReader(width, slots[side], key_dim) if dictionary else nn.Identity()
                self.joins[str(side)] = nn.Sequential(
                    nn.Conv2d(2 * width, width, 1), normalisation(norm, width), nn.ReLU()
                )
        self.top = _Up(widths[0], maps + 2, last, norm)
        self.paint = nn.Conv2d(last, 4 if blend else 3, 3, padding=1)

    def forward(self, maps: Tensor, entries: Dictionary) -> tuple[Tensor, Tensor | None]:
        """Maps (B, M, H, W) and a dictionary of B sources → pictures (B, 3, H, W) and their shares (B, 1, H, W).

        Both lie in [0, 1] and are float32; no shares without ``blend``.
        """
        kept = self.down(maps)
        x = kept[-1]
        for side, up, skip in zip(self.sides, self.up, kept[-2::-1]):
            x = up(x, skip)
            if (key := str(side)) in self.readers:
                reader = self.readers[key]
                found = reader(x, entries[side]) if isinstance(reader, DictionaryReader) else entries[side]
                x = self.joins[key](torch.cat([x, found.to(x.dtype)], 1))
        painted = self.paint(self.top(x, with_coordinates(maps))).float()
        share = torch.sigmoid(painted[:, 3:] + SHARE_AT_FIRST) if painted.shape[1] == 4 else None
        return torch.sigmoid(painted[:, :3]), share


class PatchNetwork(nn.Module):
    """The U-Net's down path with a head on its last map: one vector per patch.

    As discriminator one number, as classifier one logit per person.

    Args:
        inputs: channels of what it sees.
        outputs: channels of the head.
        widths, norm, spectral: see ``DownPath``.
        narrow: channels between last map and head; 0 for none. Many people would make a large head.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        norm: str = "group",
        spectral: bool = False,
        narrow: int = 0,
    ) -> None:
        super().__init__()
        self.down = DownPath(inputs, widths, norm, spectral)
        between = [nn.Conv2d(widths[-1], narrow, 1), nn.LeakyReLU(0.2)] if narrow else []
        last = nn.Conv2d(narrow or widths[-1], outputs, 1 if narrow else 3, padding=0 if narrow else 1)
        self.head = nn.Sequential(*between, spectral_norm(last) if spectral else last)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, inputs, H, W) → what it says of each patch (B, outputs, h, w), float32, and the maps before it."""
        kept = self.down(x)
        return self.head(kept[-1]).float(), kept
