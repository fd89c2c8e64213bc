"""What identity metrics do with embeddings of unit length, the same for every network."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from reenact_zoo.metrics._cosine import cosine
from reenact_zoo.metrics._faces import FIVE_POINTS, HALVES, IMAGENET, left_out, measured_pair, source_or_truth
from reenact_zoo.metrics._inputs import TRUTH, measured, no_value, truth
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import PairBatch, ReenactmentOutput

ARCFACE_R50 = "ArcFace IResNet-50 trained on MS1MV3, 512 numbers (Deng et al., CVPR 2019)"
ARCFACE_R18 = "ArcFace IResNet-18 trained on MS1MV3, 512 numbers (Deng et al., CVPR 2019)"
MOBILEFACENET = "MobileFaceNet, 128 numbers (Chen et al., CCBR 2018)"
SPHERE20 = "CosFace sphere20, 512 numbers of the face and 512 of its mirror image (Wang et al., CVPR 2018)"


class _SourceCosine(PairMetric):
    """Cosine of reenacted with source."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        return cosine(*measured_pair(self.measurer, self.card.quantities[0], output.reenacted, batch["source"]))


class _SourceOrTruthCosine(PairMetric):
    """Cosine of reenacted with source, on self pairs with the driving frame."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        return cosine(*measured_pair(self.measurer, self.card.quantities[0], output.reenacted, source_or_truth(batch)))


def csim_card(name: str, title: str, quantity: str, network: str) -> MetricCard:
    """Card of CSIM by one network."""
    return MetricCard(
        name=name,
        version=1,
        title=title,
        unit="",
        higher_is_better=True,
        compares="cosine of reenacted with source on cross pairs, with the driving frame (the truth) on self pairs",
        quantities=(quantity,),
        face_missing=left_out("what it is compared with"),
        reference=f"{network}; CSIM of Zakharov et al., ICCV 2019, who align both faces alike",
        alignment=FIVE_POINTS,
        colour_range=HALVES,
        penalty=0.0,  # of two strangers
    )


class _Leak(PairMetric):
    """Cosine with driving minus cosine with source, in [-2, 2]."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where one of the three faces is not found."""
        return self.leak(output.reenacted, batch)

    def leak(self, images: Tensor, batch: PairBatch) -> Tensor:
        """Of images (B, 3, H, W) in the place of reenacted."""
        quantity = self.card.quantities[0]
        found, driving = measured_pair(self.measurer, quantity, images, batch["driving"])
        return cosine(found, driving) - cosine(found, measured(self.measurer, quantity, batch["source"]).to(found))


class _LeakExcess(_Leak):
    """The leak minus that of the true target, which shows how alike the two people are."""

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where one of the four faces is not found or no target is known."""
        target = truth(batch)
        if target.flatten(1).isnan().any(1).all():
            return no_value(output)
        return self.leak(output.reenacted, batch) - self.leak(target, batch)


def leak_card(
    name: str, title: str, quantity: str, network: str, alignment: str = FIVE_POINTS, colours: str = HALVES
) -> MetricCard:
    """Card of the identity leak by one network."""
    return MetricCard(
        name=name,
        version=1,
        title=title,
        unit="",
        higher_is_better=False,
        compares="cosine of reenacted with driving minus cosine of reenacted with source",
        settings=frozenset({"cross"}),
        quantities=(quantity,),
        face_missing=left_out("source or in driving"),
        reference=f"{network}; the difference is this project's",
        alignment=alignment,
        colour_range=colours,
    )


class _EmbeddingDistance(PairMetric):
    """Distance of two unit embeddings: its square is 2 - 2 cosine."""

    squared: ClassVar[bool] = False

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found or nothing is known."""
        target = truth(batch)
        if target.flatten(1).isnan().any(1).all():
            return no_value(output)
        found, wanted = measured_pair(self.measurer, self.card.quantities[0], output.reenacted, target)
        sum_of_squares: Tensor = (found - wanted).square().sum(-1)
        return sum_of_squares if self.squared else sum_of_squares.sqrt()


def distance_card(name: str, title: str, measure: str) -> MetricCard:
    """Card of an average embedding distance."""
    return MetricCard(
        name=name,
        version=1,
        title=title,
        unit="",
        higher_is_better=False,
        compares=f"identity embeddings of unit length, reenacted with the {TRUTH}: {measure}",
        reads_target=True,
        quantities=("identity_mobilefacenet",),
        face_missing=left_out("the truth"),
        reference=f"average embedding distance of Siarohin et al., NeurIPS 2019, by {MOBILEFACENET} instead of "
        "OpenFace, whose file is not supported: not comparable with published values",
        alignment=FIVE_POINTS,
        colour_range=IMAGENET,
    )
