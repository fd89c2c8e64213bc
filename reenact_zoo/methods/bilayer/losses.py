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

from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.faces.identity import SyntheticIdentity
from reenact_zoo.methods.bilayer.config import Config
from reenact_zoo.nn.discriminators import PatchDiscriminator
from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights, reconstruction_loss
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.weights.store import WeightStore

FLOW_DECAY = 0.9
NOISE = 0.02  # standard deviation on images before the identity network: it must not find adversarial patterns
JITTER = 0.02  # of its landmarks, in half image sizes


class Judges:
    """The fixed networks that losses look through: not part of the method, not in its checkpoints.

    Args:
        config: which losses have a weight.
        device: where they run.
        store: where weights lie.

    Attributes:
        instruments: weight entries in use.
    """

    def __init__(self, config: Config, device: torch.device, store: WeightStore | None = None) -> None:
        weights = ReconstructionWeights(config.lambda_colour, config.lambda_gradient, config.lambda_perceptual)
        self.reconstruction: ReconstructionLoss = reconstruction_loss(
            weights, lambda: SyntheticFeatures(store).network, SyntheticFeatures.weights[0], store
        ).to(device)
        self.identity = SyntheticIdentity("train", store, device) if config.lambda_identity > 0 else None
        looked_at = (self.reconstruction.backbone_name, *(self.identity.weights if self.identity else ()))
        self.instruments = tuple(sorted(name for name in looked_at if name))

    def identity_distance(self, made: Tensor, truth: Tensor, landmarks: Tensor) -> Tensor:
        """1 - cosine of embeddings; the pictures (B, 3, H, W) get the same crop, a little off, and own noise."""
        assert self.identity is not None
        points = landmarks + JITTER * torch.randn(len(landmarks), 1, 2, device=landmarks.device)
        points_px = normalised_to_pixel(points, made.shape[-2], made.shape[-1])
        ours = self.identity(made + NOISE * torch.randn_like(made), points_px)
        with torch.no_grad():
            theirs = self.identity(truth + NOISE * torch.randn_like(truth), points_px)
        return 1 - (ours * theirs).sum(-1).mean()


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
