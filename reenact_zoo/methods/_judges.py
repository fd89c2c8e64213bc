"""The fixed networks that the losses of several methods look through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.faces.identity import SyntheticIdentity
from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights, reconstruction_loss
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.weights.store import WeightStore

NOISE = 0.02  # standard deviation on images before the identity network: it must not find adversarial patterns
JITTER = 0.02  # of its landmarks, in half image sizes


class Judges:
    """Reconstruction and identity: not part of a method, not in its checkpoints, never the networks of metrics.

    Args:
        weights: of colours, gradients and features.
        identity: whether the identity network is needed.
        device: where they run.
        store: where weights lie.

    Attributes:
        instruments: weight entries in use.
    """

    def __init__(
        self,
        weights: ReconstructionWeights,
        identity: bool,
        device: torch.device,
        store: WeightStore | None = None,
    ) -> None:
        self.reconstruction: ReconstructionLoss = reconstruction_loss(
            weights, lambda: SyntheticFeatures(store).network, SyntheticFeatures.weights[0], store
        ).to(device)
        self.identity = SyntheticIdentity("train", store, device) if identity else None
        looked_at = (self.reconstruction.backbone_name, *(self.identity.weights if self.identity else ()))
        self.instruments = tuple(sorted(name for name in looked_at if name))

    @classmethod
    def of(cls, config: Any, device: torch.device) -> Judges:
        """Those that a configuration's ``lambda_colour``, ``_gradient``, ``_perceptual`` and ``_identity`` ask for."""
        weights = ReconstructionWeights(config.lambda_colour, config.lambda_gradient, config.lambda_perceptual)
        return cls(weights, config.lambda_identity > 0, device)

    def identity_distance(self, made: Tensor, truth: Tensor, landmarks: Tensor) -> Tensor:
        """1 - mean cosine of embeddings; the pictures (B, 3, H, W) get the same crop, a little off, and own noise.

        Args:
            made: gets a gradient.
            truth: gets none.
            landmarks: (B, 68, 2) normalised, for both.
        """
        assert self.identity is not None
        points = landmarks + JITTER * torch.randn(len(landmarks), 1, 2, device=landmarks.device)
        points_px = normalised_to_pixel(points, made.shape[-2], made.shape[-1])
        ours = self.identity(made + NOISE * torch.randn_like(made), points_px)
        with torch.no_grad():
            theirs = self.identity(truth + NOISE * torch.randn_like(truth), points_px)
        return 1 - (ours * theirs).sum(-1).mean()
