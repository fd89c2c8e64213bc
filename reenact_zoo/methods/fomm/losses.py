"""Losses of ``fomm`` (section 3.3), on pictures in [0, 1].

L = sum over sizes and layers of |f(G) - f(D)|  +  |p_D - T(p_T)|  +  |1 - J_D^-1 T'(p_T) J_T|
    [+ (1 - Q(G))² + sum_i |q_i(G) - q_i(D)|]                 L_Q = (1 - Q(D))² + Q(G)²
with G the result, D the driving frame, T a random transform, (p_T, J_T) the keypoints of the driving frame under it,
f features of a fixed network, Q the discriminator's scores and q_i its feature maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.motion import Keypoints, inverse, product
from reenact_zoo.methods.fomm.transforms import Transform
from reenact_zoo.nn.backbones import ENTRIES, pretrained
from reenact_zoo.nn.perceptual import PerceptualLoss
from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights, reconstruction_loss
from reenact_zoo.weights.store import WeightStore

PYRAMID = (1.0, 0.5, 0.25, 0.125)  # sizes at which features are compared


def reconstruction(config: Config, device: torch.device, store: WeightStore | None = None) -> ReconstructionLoss:
    """The distance to the true picture that this configuration asks for.

    Raises:
        WeightsMissing: VGG-19 is asked for and its weights are not at hand.
    """
    weights = ReconstructionWeights(config.lambda_colour, config.lambda_gradient, config.lambda_perceptual)
    if config.perceptual == "vgg19" and weights.perceptual > 0:
        features = PerceptualLoss(pretrained("vgg19", store), ENTRIES["vgg19"], scales=PYRAMID)
        return ReconstructionLoss(weights, features).to(device)
    name = SyntheticFeatures.weights[0]
    return reconstruction_loss(weights, lambda: SyntheticFeatures(store).network, name, store, PYRAMID).to(device)


def equivariance_of_values(driving: Keypoints, transformed: Keypoints, transform: Transform) -> Tensor:
    """Mean |p_D - T(p_T)|: colours at z of the transformed picture are those of the driving one at T(z)."""
    return (driving.values - transform.points(transformed.values)).abs().mean()


def equivariance_of_jacobians(driving: Keypoints, transformed: Keypoints, transform: Transform) -> Tensor:
    """Mean |1 - J_D^-1 T'(p_T) J_T|; in this form large Jacobians are no advantage."""
    moved = product(transform.jacobians(transformed.values), transformed.jacobians)
    found = product(inverse(driving.jacobians), moved)
    return (torch.eye(2, device=found.device) - found).abs().mean()


def fooling(scores: Tensor) -> Tensor:
    """Least-squares term of the generator."""
    return (1 - scores).square().mean()


def telling_apart(real: Tensor, made: Tensor) -> Tensor:
    """Least-squares loss of the discriminator."""
    return (1 - real).square().mean() + made.square().mean()


def feature_matching(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute differences of the discriminator's maps, summed over maps; no gradient reaches ``real``."""
    return torch.stack([(m - r.detach()).abs().mean() for m, r in zip(made, real, strict=True)]).sum()
