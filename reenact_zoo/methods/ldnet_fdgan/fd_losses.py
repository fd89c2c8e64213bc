"""FD-GAN's losses, and which rows of a batch are reenacted as themselves and which as somebody else.

Self pairs have a truth: reconstruction, features of the discriminator, realism, identity. Cross pairs, the source with
another person's landmarks, have none: realism and identity alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights, reconstruction_loss
from reenact_zoo.types import InputError, PairBatch
from reenact_zoo.weights.store import WeightStore

UNNAMED = 1e-6  # least probability of not being a person, so that its logarithm is finite


@dataclass
class FDLossWeights:
    """Factors of the generator's parts; a part of weight 0 is not computed.

    Attributes:
        colour, gradient, perceptual: see ``nn.reconstruction``.
        adversarial: of the least-squares term, self and cross pairs alike.
        identity: of the cross-entropy of the patch classifier for the source's number.
        feature_matching: of the absolute difference of the discriminator's maps, self pairs only.
    """

    colour: float = 10.0
    gradient: float = 10.0
    perceptual: float = 1.0
    adversarial: float = 0.05
    identity: float = 0.05
    feature_matching: float = 0.5

    def reconstruction(self, device: torch.device, store: WeightStore | None = None) -> ReconstructionLoss:
        """The fixed network behind the first three: VGG-16 where its weights are at hand, as the paper has it."""
        weights = ReconstructionWeights(self.colour, self.gradient, self.perceptual)
        return reconstruction_loss(
            weights, lambda: SyntheticFeatures(store).network, SyntheticFeatures.weights[0], store
        ).to(device)


@dataclass(frozen=True)
class Rows:
    """Who is driven by whom, as indices into a batch.

    Attributes:
        paired: (P,) rows whose driving frame shows the source person: it is the truth.
        cross_source, cross_driving: (C,) rows that give the picture, and rows that give the landmarks, of another
            person.
    """

    paired: Tensor
    cross_source: Tensor
    cross_driving: Tensor

    def sources(self) -> Tensor:
        """(P + C,) rows that give the picture, self pairs first."""
        return torch.cat([self.paired, self.cross_source])

    def among(self, fit: Tensor, cross: bool) -> Rows:
        """Those whose rows of the batch are all ``fit`` (B,) bool; no cross pairs unless they are wanted."""
        kept = fit[self.cross_source] & fit[self.cross_driving]
        kept = kept if cross else torch.zeros_like(kept)
        return Rows(self.paired[fit[self.paired]], self.cross_source[kept], self.cross_driving[kept])


def sample_rows(same_identity: Tensor, source: Tensor | None, driving: Tensor | None, cross_share: float) -> Rows:
    """Self pairs as the batch has them, cross pairs as it has them, and cross pairs made by exchange.

    Args:
        same_identity: (B,) bool.
        source: (B,) numbers of the people; None: nothing is exchanged, since two rows may show one person.
        driving: (B,) as ``source``.
        cross_share: cross pairs to make, as a share of B: such a row is driven by the next row's driving face, where
            that is another person's.
    """
    rows = torch.arange(len(same_identity), device=same_identity.device)
    paired, others = rows[same_identity], rows[~same_identity]
    empty = rows[:0]
    made, drivers = empty, empty
    if source is not None and driving is not None and cross_share > 0:
        following = rows.roll(-1)
        fits = (driving[following] != source) & same_identity
        made = rows[fits][: round(cross_share * len(rows))]
        drivers = following[made]
    return Rows(paired, torch.cat([others, made]), torch.cat([others, drivers]))


def people_of(batch: PairBatch, identities: int) -> tuple[Tensor, Tensor]:
    """Numbers (B,) of the source and the driving people.

    Raises:
        InputError: a key is missing, or a number is beyond ``identities``.
    """
    for key in ("source_identity", "driving_identity"):
        if key not in batch:
            raise InputError(
                f"training ldnet_fdgan needs '{key}' in the batch: LD-Net and the patch classifier learn from people's "
                "numbers; data.training.TrainingPairs supplies them"
            )
    source, driving = batch["source_identity"], batch["driving_identity"]
    largest = int(torch.maximum(source, driving).max())
    if largest >= identities or int(torch.minimum(source, driving).min()) < 0:
        raise InputError(
            f"the data have person number {largest}, but this ldnet_fdgan knows {identities} people; "
            f"use method.identities={largest + 1} or more"
        )
    return source, driving


def fooling(scores: Tensor) -> Tensor:
    """Least-squares term of the generator: mean (D(G) - 1)^2 over patches (B, 1, h, w)."""
    return (scores - 1).square().mean()


def telling_apart(real: Tensor, made: Tensor) -> Tensor:
    """Least-squares loss of the discriminator: mean of (D(x) - 1)^2 and D(G)^2, halved."""
    return ((real - 1).square().mean() + made.square().mean()) / 2


def naming(logits: Tensor, people: Tensor) -> Tensor:
    """Cross-entropy of patch logits (B, N, h, w) with one person (B,) per picture, averaged over patches."""
    return F.cross_entropy(logits, people[:, None, None].expand(-1, *logits.shape[2:]))


def not_naming(logits: Tensor, people: Tensor) -> Tensor:
    """Mean -log(1 - p) over patches, p the probability of the person a made picture pretends to show."""
    index = people[:, None, None, None].expand(-1, 1, *logits.shape[2:])
    p = logits.log_softmax(1).gather(1, index).exp()
    return -(1 - p).clamp(min=UNNAMED).log().mean()


def feature_matching(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's maps, averaged over its layers; no gradient to the real ones."""
    return torch.stack([F.l1_loss(m.float(), r.detach().float()) for m, r in zip(made, real, strict=True)]).mean()
