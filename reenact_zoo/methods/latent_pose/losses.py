"""Losses of ``latent_pose``; the foreground and the true one are compared on black (Burkov et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.faces.identity import SyntheticIdentity
from reenact_zoo.methods.latent_pose.config import Config
from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights, reconstruction_loss
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.weights.store import WeightStore

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
        """1 - mean cosine of face embeddings of two (B, 3, H, W), cropped by landmarks (B, 68, 2)."""
        assert self.identity is not None
        points = landmarks + JITTER * torch.randn(len(landmarks), 1, 2, device=landmarks.device)
        points_px = normalised_to_pixel(points, made.shape[-2], made.shape[-1])
        ours = self.identity(made + NOISE * torch.randn_like(made), points_px)
        with torch.no_grad():
            theirs = self.identity(truth + NOISE * torch.randn_like(truth), points_px)
        return 1 - (ours * theirs).sum(-1).mean()


def dice(segmentation: Tensor, matte: Tensor) -> Tensor:
    """-log(2 sum(s m) / (sum(s^2) + sum(m^2))) of two (B, 1, H, W) in [0, 1], sums over the whole batch."""
    overlap = 2 * (segmentation * matte).sum() / (segmentation.square().sum() + matte.square().sum()).clamp_min(1e-6)
    return -overlap.clamp_min(1e-6).log()


def fooling(scores: Tensor) -> Tensor:
    """The generator's side of the hinge loss: -mean of the scores (B,) of what it made."""
    return -scores.mean()


def telling_apart(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's hinge loss of scores (B,): real ones above 1, made ones below -1."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def matching(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's maps, averaged over blocks; no gradient to the real ones."""
    return torch.stack([F.l1_loss(m, r.detach()) for m, r in zip(made, real, strict=True)]).mean()
