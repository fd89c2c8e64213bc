"""The generator: a learned constant that two embeddings turn into a head and its segmentation through AdaIN.

Burkov et al., CVPR 2020, arXiv:2004.12000; AdaIN: Huang and Belongie, ICCV 2017, arXiv:1703.06868.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

CONSTANT_SIDE = 4
EPS = 1e-4  # of normalisation and of spectral norm; the first map varies little enough for it to count


def generator_widths(image_size: int, base: int, cap: int) -> list[int]:
    """Channels of the constant, then after each doubling of the side up to ``image_size``.

    The released network at 256 pixels: 512, 512, 512, 512, 256, 128, 64.
    """
    doublings = (image_size // CONSTANT_SIDE).bit_length() - 1
    widths = [min(base * 2**i, cap) for i in reversed(range(doublings))]
    return [min(base * 2**doublings, cap), *widths]


class AdaptiveBlock(nn.Module):
    """Residual block: twice AdaIN, ReLU and a 3x3 convolution; enlarged by nearest neighbours after the first ReLU.

    Args:
        before: channels that come in.
        after: channels that go out.
        up: double the side.
        norm_group: channels that are normalised together.
    """

    def __init__(self, before: int, after: int, up: bool, norm_group: int) -> None:
        super().__init__()
        self.norms = (before, after)
        self.up, self._norm_group = up, norm_group
        self.first = _normed(nn.Conv2d(before, after, 3, padding=1, bias=False))
        self.second = _normed(nn.Conv2d(after, after, 3, padding=1, bias=False))
        self.around = _normed(nn.Conv2d(before, after, 1)) if up or before != after else nn.Identity()

    def forward(self, x: Tensor, affine: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Map (B, C, H, W) → (B, C', H or 2H, W or 2W); takes two (shift, scale) from ``affine``."""
        inner = F.relu(adain(x, *next(affine), self._norm_group))
        inner = self.first(_doubled(inner) if self.up else inner)
        inner = self.second(F.relu(adain(inner, *next(affine), self._norm_group)))
        around = self.around(x)  # 1x1, so it may come before the enlargement
        return inner + (_doubled(around) if self.up else around)


class Generator(nn.Module):
    """Identity and pose embedding → head (B, 3, H, W) and segmentation (B, 1, H, W).

    Args:
        image_size: side of the images, a power of two.
        base: channels at the full size.
        cap: channels at most.
        identity_size: length of the identity embedding.
        pose_size: length of the pose embedding.
        residual_blocks: at 4x4 pixels.
        norm_group: channels that are normalised together; 1: instance norm, as in the paper.
        scale_start: what fresh weights multiply normalised maps by; 0: random, as in the released code.
    """

    def __init__(
        self,
        image_size: int = 256,
        base: int = 64,
        cap: int = 512,
        identity_size: int = 512,
        pose_size: int = 256,
        residual_blocks: int = 2,
        norm_group: int = 1,
        scale_start: float = 0.0,
    ) -> None:
        super().__init__()
        first, *widths = generator_widths(image_size, base, cap)
        self._norm_group = norm_group
        self.constant = nn.Parameter(torch.ones(1, first, CONSTANT_SIDE, CONSTANT_SIDE))
        blocks = [AdaptiveBlock(first, first, False, norm_group) for _ in range(residual_blocks)]
        blocks += [AdaptiveBlock(before, after, True, norm_group) for before, after in zip([first, *widths], widths)]
        self.blocks = nn.ModuleList(blocks)
        self.to_image = _normed(nn.Conv2d(widths[-1], 4, 3, padding=1))
        self.norms = [channels for block in blocks for channels in block.norms] + [widths[-1]]
        inputs = identity_size + pose_size
        self.projector = nn.Sequential(
            _normed(nn.Linear(inputs, inputs)), nn.ReLU(), _normed(nn.Linear(inputs, 2 * sum(self.norms)))
        )
        if scale_start:
            self._start_at(scale_start)

    def _start_at(self, scale: float) -> None:
        bias = self.projector[-1].bias
        assert isinstance(bias, Tensor)
        with torch.no_grad():
            for shift, factor in self._split(bias[None]):
                shift.zero_()
                factor.fill_(scale)

    def affine(self, identity: Tensor, pose: Tensor) -> Tensor:
        """Embeddings (B, E) and (B, P) → shifts and scales of every AdaIN (B, 2 * sum of channels)."""
        numbers: Tensor = self.projector(torch.cat([identity, pose], 1))
        return numbers

    def forward(self, identity: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (B, E) and (B, P) → head (B, 3, H, W) in [-0.25, 1.25], segmentation (B, 1, H, W) in [0, 1].

        The foreground is their product. The head may leave [0, 1] so that black and white do not need a saturated tanh.
        """
        affine = self._split(self.affine(identity, pose))
        x = self.constant.expand(len(identity), -1, -1, -1)
        for block in self.blocks:
            x = block(x, affine)
        x = F.relu(adain(x, *next(affine), self._norm_group))
        numbers = torch.tanh(self.to_image(x).float())
        return 0.75 * numbers[:, :3] + 0.5, 0.5 * numbers[:, 3:] + 0.5

    def _split(self, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(B, 2 * sum of channels) → (shift, scale) of each AdaIN in turn, (B, C) both; the shift comes first."""
        pieces = numbers.split([channels for channels in self.norms for _ in range(2)], dim=1)
        return zip(pieces[::2], pieces[1::2])


def adain(x: Tensor, shift: Tensor, scale: Tensor, norm_group: int = 1) -> Tensor:
    """Map (B, C, H, W) normalised over each image and group of channels, times scale plus shift (B, C), float32."""
    normalised = F.group_norm(x.float(), x.shape[1] // norm_group, eps=EPS)
    return normalised * scale[..., None, None] + shift[..., None, None]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _normed(layer: nn.Module) -> nn.Module:
    return spectral_norm(layer, eps=EPS)
