"""Losses of ``bilayer`` as the paper states them (Zakharov et al., ECCV 2020, sections 3.3 to 3.5).

s = score of the discriminator, real r and made m:
L_D = E max(0, 1 - (s_r - E s_m)) + E max(0, 1 + (s_m - E s_r))       relativistic average hinge
L_G = E max(0, 1 + (s_r - E s_m)) + E max(0, 1 - (s_m - E s_r))       (Jolicoeur-Martineau, ICLR 2019)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.nn.discriminators import PatchDiscriminator

FLOW_DECAY = 0.9


def judged(discriminator: PatchDiscriminator, images: Tensor, drawing: Tensor) -> tuple[list[Tensor], Tensor]:
    """Feature maps after every activation, and scores (B, 1, h, w), of pictures (B, 3, H, W) given their landmarks."""
    x, maps = torch.cat((images, drawing), 1), []
    for layer in discriminator.layers:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            maps.append(x)
    return maps, x.float()


def telling_apart(real: Tensor, made: Tensor) -> Tensor:
    """L_D of scores (B, 1, h, w)."""
    return F.relu(1 - (real - made.mean())).mean() + F.relu(1 + (made - real.mean())).mean()


def fooling(real: Tensor, made: Tensor) -> Tensor:
    """L_G of scores (B, 1, h, w)."""
    return telling_apart(made, real)


def matching(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of feature maps, averaged over layers; no gradient reaches the real ones."""
    return torch.stack([F.l1_loss(m.float(), r.detach().float()) for r, m in zip(real, made, strict=True)]).mean()


def flow_weight(update: int, every: int) -> float:
    """Factor of the offsets' regularisation: it only keeps the first updates from folding the texture."""
    return float(FLOW_DECAY ** (update / every))


def cut_out(images: Tensor, mask: Tensor) -> Tensor:
    """Images in [-1, 1] over black by a mask (B, 1, H, W): x m - (1 - m)."""
    return images * mask - (1 - mask)
