"""Losses of LD-Net's two training stages; identity labels are all they need, of the persons trained on.

x a normalised shape of person y, z = E_pe(x) the pose-and-expression code (a Gaussian, sampled), B_y row y of a bank of
identity codes, y' another person, sg what no gradient passes, C a classifier of identities.

Stage 1, E_pe, G, B:   |G(z, B_y) - x| + KL(z) + max(log p_y, log 1/N),   p = C(G(z, sg B_y'))
         C:            -log p_y, input detached
If C can still name y in the shape that was made for y', z tells who it was; below chance there is nothing to gain, or
the encoder would learn to name a wrong person. Gradients of the adversary reach E_pe through G, and G itself.

Stage 2, E_id, G (E_pe fixed), x_i and x_j two frames of y, x_k of y':
    |G(z_i, E_id(x_j)) - x_i| + (E_id(x_j) - B_y)² + (E_id(x_i) - E_id(x_j))²
    x' = G(z_k, E_id(x_j)):  |E_pe(x') - z_k| + |E_id(x') - sg E_id(x_j)| + (D(x') - 1)² - log p_y(x')
         D, p (critic):      (D(x) - 1)² + D(x')² - log p_y(x)

The paper gives both stages' purpose and not their losses: those of stage 1 follow the first author's earlier
"Disentangling Style and Content in Anime Illustrations" (arXiv:1905.10742), those of stage 2 are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.ldnet_fdgan.landmark_shape import LANDMARKS, framing_of
from reenact_zoo.methods.ldnet_fdgan.ld_net import LDNet, Perceptron
from reenact_zoo.types import InputError

ADVERSARIES = ("landmarks", "code", "none")
MOTION = 8  # head turns, mouth, lids, brows


@dataclass
class LDLossWeights:
    """Weights of the terms; a term of weight 0 is left out.

    Attributes:
        adversary_space: where the classifier looks for the identity in stage 1: "landmarks" made for another person,
            the "code" itself, or "none".
        noise: deviation of what the encoders see, in hundredths of the face's box; the aim stays clean.
    """

    reconstruction: float = 1.0
    divergence: float = 1e-3  # on the sum over the code
    adversary: float = 0.2
    adversary_space: str = "landmarks"
    bank: float = 0.1
    consistency: float = 0.01
    pose_cycle: float = 0.1
    identity_cycle: float = 0.1
    realism: float = 0.01
    naming: float = 0.01
    noise: float = 0.5  # about what a detector is off by in 64 px pictures, per coordinate


class IdentityBank(nn.Module):
    """One code per person trained on.

    Codes are ``RATE`` times the parameters, so that Adam moves them faster than weights: a person's own gradients are
    few (the first author's earlier code has a hundredfold rate for them).
    """

    RATE = 5.0

    def __init__(self, identities: int, code: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(0.02 * torch.randn(identities, code))

    def forward(self, identity: Tensor) -> Tensor:
        """Labels (B,) → codes (B, code)."""
        codes: Tensor = self.RATE * self.rows[identity]
        return codes

    @torch.no_grad()
    def start_from(self, shapes: Tensor) -> None:
        """Begin with the leading principal coordinates of everybody's shape (identities, 136), the first with
        variance 1: from noise, codes of similar faces would stay far apart for long, and nothing could predict them.
        """
        left, values, _ = torch.linalg.svd(shapes - shapes.mean(0), full_matrices=False)
        count = min(self.rows.shape[1], len(values))
        self.rows.zero_()
        self.rows[:, :count] = left[:, :count] * (values[:count] / values[0]) * len(shapes) ** 0.5 / self.RATE


class Critic(nn.Module):
    """Shape (B, 136) → how real it looks (B, 1), and log probabilities of who it is (B, identities)."""

    def __init__(self, identities: int, width: int) -> None:
        super().__init__()
        self.layers = Perceptron(2 * LANDMARKS, width, 1 + identities, layers=2)

    def forward(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Realism and log probabilities."""
        out = self.layers(shape)
        return out[:, :1], out[:, 1:].log_softmax(1)


class LDSupport(nn.Module):
    """Networks that only the training needs.

    Args:
        identities: persons in the training data; labels are 0 … identities - 1.
        width, pose_code, identity_code: of the LD-Net.
        adversary: "landmarks", "code" or "none", where the first stage's classifier looks.

    Raises:
        InputError: fewer than two persons, or another adversary.
    """

    def __init__(
        self,
        identities: int,
        width: int = 192,
        pose_code: int = 32,
        identity_code: int = 64,
        adversary: str = "landmarks",
    ) -> None:
        super().__init__()
        if identities < 2:
            raise InputError(f"LD-Net learns who is who from at least two persons, not from {identities}")
        if adversary not in ADVERSARIES:
            raise InputError(f"adversary_space is {', '.join(ADVERSARIES)}, not '{adversary}'")
        self.identities = identities
        self.bank = IdentityBank(identities, identity_code)
        seen = pose_code if adversary == "code" else 2 * LANDMARKS
        self.classifier = Perceptron(seen, width, identities, layers=2)
        self.critic = Critic(identities, width)

    def check_labels(self, identity: Tensor) -> None:
        """Refuse labels of nobody.

        Raises:
            InputError: a label below 0, or beyond the number of persons.
        """
        if len(identity) and not 0 <= int(identity.amin()) <= int(identity.amax()) < self.identities:
            raise InputError(
                f"identity labels reach from {int(identity.amin())} to {int(identity.amax())}, but LD-Net was set up "
                f"for {self.identities} persons; set its number of identities to that of the training data"
            )


def decay(progress: float) -> float:
    """Factor on the learning rate: half a cosine from 1 down to 0.05."""
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


# --- stage 1 ------------------------------------------------------------------------------------------------------


def stage1_losses(
    net: LDNet,
    support: LDSupport,
    landmarks: Tensor,
    identity: Tensor,
    weights: LDLossWeights,
    shared: dict[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Terms that train ``pose_expression_encoder``, ``generator`` and ``bank``.

    Args:
        net: the networks in training.
        support: those beside it.
        landmarks: (B, 68, 2) normalised, without NaN.
        identity: (B,) labels.
        weights: of the terms.
        shared: gets what ``stage1_classifier_losses`` of the same update can use instead of making it again.
    """
    support.check_labels(identity)
    shape = shapes(net, landmarks)
    mean, log_variance = net.pose_expression_encoder(_noisy(shape, weights))
    code, own = sampled(mean, log_variance), support.bank(identity)
    crosses = weights.adversary > 0 and weights.adversary_space == "landmarks"
    if crosses:  # both shapes in one pass
        other = support.bank(others(identity, support.identities)).detach()
        made, seen = net.generator(torch.cat([code, code]), torch.cat([own, other])).chunk(2)
    else:
        made, seen = net.generator(code, own), code
    found = {"reconstruction": weights.reconstruction * (made - shape).abs().mean()}
    if weights.divergence > 0:
        found["divergence"] = weights.divergence * divergence(mean, log_variance)
    if weights.adversary > 0 and weights.adversary_space != "none":
        found["adversary"] = weights.adversary * above_chance(support.classifier(seen).log_softmax(1), identity)
        if shared is not None:
            shared["ld_seen"] = seen.detach()
    return found


def stage1_classifier_losses(
    net: LDNet,
    support: LDSupport,
    landmarks: Tensor,
    identity: Tensor,
    weights: LDLossWeights,
    shared: dict[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Term that trains ``classifier``; the arguments of ``stage1_losses``."""
    support.check_labels(identity)
    seen = (shared or {}).get("ld_seen")
    if seen is None:
        with torch.no_grad():
            seen = sampled(*net.pose_expression_encoder(_noisy(shapes(net, landmarks), weights)))
            if weights.adversary_space == "landmarks":
                seen = net.generator(seen, support.bank(others(identity, support.identities)))
    return {"naming": F.cross_entropy(support.classifier(seen), identity)}


def above_chance(log_probability: Tensor, identity: Tensor) -> Tensor:
    """Mean of max(log p_y, log 1/N): what the encoder minimises; persons are drawn equally often.

    Args:
        log_probability: (B, N).
        identity: (B,) labels y.
    """
    named = log_probability.gather(1, identity[:, None])
    return named.clamp(min=-math.log(log_probability.shape[1])).mean()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)), summed over the code, mean over rows."""
    terms = mean.square() + log_variance.exp() - 1 - log_variance
    return 0.5 * terms.sum(1).mean()


# --- stage 2 ------------------------------------------------------------------------------------------------------


def stage2_losses(
    net: LDNet,
    support: LDSupport,
    source_landmarks: Tensor,
    driving_landmarks: Tensor,
    identity: Tensor,
    weights: LDLossWeights,
    shared: dict[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Terms that train ``identity_encoder`` and ``generator``; everything else is to be held fixed.

    Args:
        net: the networks in training.
        support: those beside it.
        source_landmarks: (B, 68, 2) normalised, without NaN.
        driving_landmarks: (B, 68, 2), another frame of each row's person.
        identity: (B,) labels.
        weights: of the terms.
        shared: gets what ``stage2_critic_losses`` of the same update can use instead of making it again.
    """
    support.check_labels(identity)
    source, driving = shapes(net, source_landmarks), shapes(net, driving_landmarks)
    who, who_too = net.identity_encoder(torch.cat([_noisy(source, weights), _noisy(driving, weights)])).chunk(2)
    with torch.no_grad():
        aim = support.bank(identity)
        mean, log_variance = net.pose_expression_encoder(_noisy(driving, weights))
        code, other = sampled(mean, log_variance), mean.roll(1, 0)
    made, crossed = net.generator(torch.cat([code, other]), torch.cat([who, who])).chunk(2)
    pose, _ = net.pose_expression_encoder(crossed)
    realism, log_probability = support.critic(crossed)
    if shared is not None:
        shared["ld_crossed"] = crossed.detach()
    terms = {
        "reconstruction": (made - driving).abs().mean(),
        "bank": (who - aim).square().mean(),
        "consistency": (who - who_too).square().mean(),
        "pose_cycle": (pose - other).abs().mean(),
        "identity_cycle": (net.identity_encoder(crossed) - who.detach()).abs().mean(),
        "realism": (realism - 1).square().mean(),
        "naming": F.nll_loss(log_probability, identity),
    }
    return {name: getattr(weights, name) * term for name, term in terms.items() if getattr(weights, name) > 0}


def stage2_critic_losses(
    net: LDNet,
    support: LDSupport,
    source_landmarks: Tensor,
    driving_landmarks: Tensor,
    identity: Tensor,
    weights: LDLossWeights,
    shared: dict[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Terms that train ``critic``; the arguments of ``stage2_losses``."""
    support.check_labels(identity)
    source, crossed = shapes(net, source_landmarks), (shared or {}).get("ld_crossed")
    if crossed is None:
        with torch.no_grad():
            driving = shapes(net, driving_landmarks)
            other = net.pose_expression_encoder(_noisy(driving, weights))[0].roll(1, 0)
            crossed = net.generator(other, net.identity_encoder(_noisy(source, weights)))
    realism, log_probability = support.critic(torch.cat([source, crossed]))
    real, made = realism.chunk(2)
    return {
        "realism": (real - 1).square().mean() + made.square().mean(),
        "naming": F.nll_loss(log_probability[: len(source)], identity),
    }


# --- what both use ------------------------------------------------------------------------------------------------


def shapes(net: LDNet, landmarks: Tensor) -> Tensor:
    """Landmarks (B, 68, 2) → (B, 136), as the networks see them."""
    return net.normalised(landmarks.float(), framing_of(landmarks.float()))


def still_shapes(shapes: Tensor, identity: Tensor, identities: int) -> Tensor:
    """Everybody's mean shape without the ``MOTION`` directions in which a person moves most, for ``start_from``.

    A mean over a few clips still says where the head was turned in them; with these directions in it, the leading
    coordinates of the bank would be the head's mean pose.

    Args:
        shapes: (M, 136) as the networks see them.
        identity: (M,) labels.
        identities: how many persons there are; who has no row gets the mean of all.

    Returns:
        (identities, 136).
    """
    total = shapes.new_zeros(identities, shapes.shape[1]).index_add(0, identity, shapes)
    counts = identity.bincount(minlength=identities)[:, None]
    means = torch.where(counts > 0, total / counts.clamp(min=1), shapes.mean(0))
    moved = shapes - means[identity]
    directions = torch.linalg.eigh(moved.T @ moved).eigenvectors[:, -MOTION:]
    return means - (means - means.mean(0)) @ directions @ directions.T


def sampled(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from the code's Gaussian; noise is what keeps the generator from reading faint traces of identity."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


def others(identity: Tensor, identities: int) -> Tensor:
    """For each label (B,) another one, all equally likely."""
    step = torch.randint(1, identities, identity.shape, device=identity.device)
    return (identity + step) % identities


HUNDREDTH = 0.15  # a hundredth of the side of the face's box, in units of the networks: 0.01 * 3.75 * ld_net.SPREAD


def _noisy(shape: Tensor, weights: LDLossWeights) -> Tensor:
    return shape + weights.noise * HUNDREDTH * torch.randn_like(shape) if weights.noise > 0 else shape
