"""The refinement network: convolutions, a transformer on the smallest maps, and an upsampler with skips.

After TransUNet (Chen et al., 2021, arXiv:2102.04306). The driving motion's code modulates every step up. It gives the
foreground's colours and its matte.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.flow_renderer.appearance import VolumeSizes
from reenact_zoo.methods.flow_renderer.blocks import AdaptiveNorm, ConvNorm, positive
from reenact_zoo.types import InputError

PICTURES = 3 + 4  # warped volume as RGB; source foreground and its matte, warped in two dimensions
CANVAS = 4  # known background and where it is known


@dataclass
class RefinementSizes:
    """How wide refinement is; the defaults are for 64 pixels.

    Attributes:
        unshuffle: so many pixels along each axis become channels before the first convolution.
        widths: channels from there on, halving the side each time.
        reduced: channels that the warped volume is reduced to.
        transformer: false for the ablation without transformer blocks.
        patch: positions of the last map along each axis per token.
        dim, heads, blocks: width, heads and number of the transformer's blocks.
        mlp: width of a block's inner layer over ``dim``.
        norm_group: channels normalised together; 1 is instance norm.
    """

    unshuffle: int = 2
    widths: list[int] = field(default_factory=lambda: [48, 80, 128])
    reduced: int = 24
    transformer: bool = True
    patch: int = 1
    dim: int = 128
    heads: int = 4
    blocks: int = 3
    mlp: int = 2
    norm_group: int = 16

    @classmethod
    def tiny(cls) -> RefinementSizes:
        """Small and quick enough for tests."""
        return cls(unshuffle=4, widths=[16, 16], reduced=4, dim=16, heads=2, blocks=1, norm_group=4)

    @classmethod
    def paper(cls) -> RefinementSizes:
        """16x16 tokens of width 512 at 256 pixels."""
        return cls(widths=[64, 128, 256], reduced=64, patch=2, dim=512, heads=8, blocks=6, mlp=4, norm_group=1)

    def without_transformer(self) -> RefinementSizes:
        """The ablation."""
        return replace(self, transformer=False)

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        positive("refinement", unshuffle=self.unshuffle, reduced=self.reduced, patch=self.patch, heads=self.heads)
        positive("refinement", blocks=self.blocks, mlp=self.mlp, norm_group=self.norm_group)
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise InputError(f"flow_renderer: refinement.widths must be two or more widths, not {self.widths}")
        if self.dim % self.heads:
            raise InputError(
                f"flow_renderer: refinement.dim {self.dim} must be divisible by refinement.heads {self.heads}"
            )


@dataclass(frozen=True)
class Refined:
    """What refinement draws.

    Attributes:
        rgb: (B, 3, H, W) RGB in [0, 1], not multiplied by the matte; with ``whole_image`` the finished picture.
        logit: (B, 1, H, W) of the matte.
    """

    rgb: Tensor
    logit: Tensor


class Refinement(nn.Module):
    """See the module.

    Args:
        image_size: H = W.
        volume: what comes warped.
        features: channels of the warped two-dimensional features.
        code: length of the driving motion's code.
        sizes: widths.
        whole_image: it also sees the known background and draws the whole picture: the ablation without inpainting.
    """

    def __init__(
        self,
        image_size: int,
        volume: VolumeSizes,
        features: int,
        code: int,
        sizes: RefinementSizes,
        whole_image: bool = False,
    ) -> None:
        super().__init__()
        group, widths = sizes.norm_group, sizes.widths
        self.unshuffle, self.whole_image = sizes.unshuffle, whole_image
        halvings = 2 ** (len(widths) - 1) * (sizes.patch if sizes.transformer else 1)
        if image_size % (sizes.unshuffle * halvings):
            raise InputError(
                f"flow_renderer: image_size {image_size} must be divisible by {sizes.unshuffle * halvings} for "
                "refinement's unshuffle, widths and patch"
            )
        pixels = (PICTURES + CANVAS * whole_image) * sizes.unshuffle**2
        self.reduce = nn.Conv2d(volume.flat, sizes.reduced, 1)
        self.first = ConvNorm(pixels + sizes.reduced + features, widths[0], group)
        self.downs = nn.ModuleList(ConvNorm(i, o, group, stride=2) for i, o in pairwise(widths))
        smallest = image_size // sizes.unshuffle // 2 ** (len(widths) - 1)
        self.tokens = TokenMixer(smallest, widths[-1], sizes) if sizes.transformer else None
        steps = list(pairwise(widths))[::-1]
        self.ups = nn.ModuleList(nn.Conv2d(i + o, o, 3, padding=1, bias=False) for o, i in steps)
        self.norms = nn.ModuleList(AdaptiveNorm(o, code, group) for o, _ in steps)
        self.to_pixels = nn.Conv2d(widths[0] + pixels, 4 * sizes.unshuffle**2, 3, padding=1)

    def forward(
        self,
        warped_rgb: Tensor,
        warped_volume: Tensor,
        warped_features: Tensor,
        warped_foreground: Tensor,
        code: Tensor,
        canvas: Tensor | None = None,
    ) -> Refined:
        """Draw the foreground.

        Args:
            warped_rgb: (B, 3, H, W) RGB in [0, 1], of the RGB head.
            warped_volume: (B, C, D, h, w).
            warped_features: (B, F, h, w).
            warped_foreground: (B, 4, H, W) the source's foreground on black and its matte, warped in two dimensions.
            code: (B, code) of the driving motion.
            canvas: (B, 4, H, W) known background on black and where it is known; with ``whole_image`` only.
        """
        pictures = [2 * warped_rgb - 1, 2 * warped_foreground - 1]
        if self.whole_image:
            if canvas is None:
                raise InputError("flow_renderer: refinement without inpainting needs the known background as canvas")
            pictures.append(2 * canvas - 1)
        pixels = F.pixel_unshuffle(torch.cat(pictures, dim=1), self.unshuffle)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        seen = torch.cat((self.reduce(_flat(warped_volume)), warped_features), dim=1)
        if seen.shape[-2:] != pixels.shape[-2:]:
            seen = F.interpolate(seen, pixels.shape[-2:], mode="bilinear", align_corners=False)
        x = self.first(torch.cat((pixels, seen), dim=1).contiguous(memory_format=torch.channels_last))
        skips = [x]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        if self.tokens is not None:
            x = self.tokens(x)
        for up, norm in zip(self.ups, self.norms):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = norm(up(torch.cat((x, skips.pop()), dim=1)), code)
        drawn = F.pixel_shuffle(self.to_pixels(torch.cat((x, pixels), dim=1)).float(), self.unshuffle)
        return Refined(torch.sigmoid(drawn[:, :3]), drawn[:, 3:])


class TokenMixer(nn.Module):
    """Map → tokens with learned positions → transformer blocks → added to the map.

    Args:
        side: of the map.
        channels: of the map.
        sizes: ``patch``, ``dim``, ``heads``, ``blocks``, ``mlp``.
    """

    def __init__(self, side: int, channels: int, sizes: RefinementSizes) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, sizes.dim, sizes.patch, sizes.patch)
        self.positions = nn.Parameter(torch.zeros(1, (side // sizes.patch) ** 2, sizes.dim))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(
            *(TransformerBlock(sizes.dim, sizes.heads, sizes.mlp * sizes.dim) for _ in range(sizes.blocks))
        )
        self.norm = nn.LayerNorm(sizes.dim)
        self.back = nn.ConvTranspose2d(sizes.dim, channels, sizes.patch, sizes.patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, side, side) → the same shape."""
        embedded = self.embed(x)
        tokens = embedded.flatten(2).transpose(1, 2) + self.positions
        mixed = self.norm(self.blocks(tokens)).transpose(1, 2).unflatten(2, embedded.shape[2:])
        result: Tensor = x + self.back(mixed.contiguous(memory_format=torch.channels_last))
        return result


class TransformerBlock(nn.Module):
    """Attention and two linear layers, each normalised before and added (pre-LN; Xiong et al., ICML 2020)."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, tokens, dim) → the same shape."""
        query, key, value = (
            self.qkv(self.norm_attention(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(found)
        result: Tensor = tokens + self.mlp(self.norm_mlp(tokens))
        return result


def _flat(volume: Tensor) -> Tensor:
    return volume.flatten(1, 2).contiguous(memory_format=torch.channels_last)
