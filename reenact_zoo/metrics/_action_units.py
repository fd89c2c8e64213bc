"""Agreement of action units, present or absent, the same for every detector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.metrics._faces import HOPENET_CROP, IMAGENET, measured_pair
from reenact_zoo.metrics.base import MetricCard, PairMetric, SetMetric, SetResult
from reenact_zoo.types import PairBatch, ReenactmentOutput

EXPORTED, GEOMETRIC = "action_units_exported", "action_units_geometric"
PRESENT_FROM = {EXPORTED: 0.5, GEOMETRIC: 0.3}

_DETECTOR = {
    EXPORTED: "the detector that the user exported to ONNX, whose weights decide which units there are",
    GEOMETRIC: "strengths fitted to 68 landmarks with ICT-FaceKit's directions, 13 units: rough, not comparable with "
    "figures of trained detectors",
}


def present(strengths: Tensor, threshold: float) -> Tensor:
    """Strengths (B, A) → 1 from the threshold on, else 0; NaN stays: an unknown unit, or no face."""
    return torch.where(strengths.isnan(), strengths, (strengths >= threshold).to(strengths))


def agreement_percent(found: Tensor, wanted: Tensor) -> Tensor:
    """Presence (B, A) in {0, 1, NaN} → (B,) share of the units known on both sides that agree, in %."""
    known = found.isfinite() & wanted.isfinite()
    agreeing: Tensor = ((found == wanted) & known).sum(-1) * 100.0 / known.sum(-1)
    return agreeing.to(found)  # 0 / 0 is NaN: no face


def confusion(found: Tensor, wanted: Tensor) -> Tensor:
    """Presence (N, A) → (A, 4) float64 counts: both, only found, only wanted, neither."""
    known = found.isfinite() & wanted.isfinite()
    shown, due = (found == 1) & known, (wanted == 1) & known
    cells = (shown & due, shown & ~due & known, ~shown & due, known & ~shown & ~due)
    return torch.stack([cell.sum(0) for cell in cells], -1).double()


def kappa(counts: Tensor) -> Tensor:
    """(A, 4) → Cohen's kappa (A,): agreement beyond chance; NaN where chance alone is certain."""
    both, found, wanted, neither = counts.unbind(-1)
    n = counts.sum(-1)
    observed = (both + neither) / n
    chance = ((both + found) * (both + wanted) + (neither + wanted) * (neither + found)) / n.square()
    return torch.where(chance < 1, (observed - chance) / (1 - chance), torch.nan)


def f1(counts: Tensor) -> Tensor:
    """(A, 4) → F1 (A,) with the driver's units as the truth; NaN where a unit shows on neither side."""
    both, found, wanted, _ = counts.unbind(-1)
    return 2 * both / (2 * both + found + wanted)


class _Agreement(PairMetric):
    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        """Value of each pair, (B,); NaN where either face is not found."""
        (quantity,) = self.card.quantities
        strengths = measured_pair(self.measurer, quantity, output.reenacted, batch["driving"])
        return agreement_percent(*(present(s, PRESENT_FROM[quantity]) for s in strengths))


class _Pooled(SetMetric):
    """A coefficient of each unit over all pairs, then the mean over units: a single pair has none."""

    row_names: ClassVar[tuple[str, ...]] = ("found", "wanted")

    @abstractmethod
    def by_unit(self, counts: Tensor) -> Tensor:
        """Counts (A, 4) → (A,); NaN where a unit has no value."""

    def pair_rows(self, batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
        """Presence of each unit in reenacted and in driving, (B, A) each."""
        (quantity,) = self.card.quantities
        strengths = measured_pair(self.measurer, quantity, output.reenacted, batch["driving"])
        return dict(zip(self.row_names, (present(s, PRESENT_FROM[quantity]) for s in strengths)))

    def set_value(self, rows: Mapping[str, Tensor]) -> SetResult:
        """Mean over the units that have a value."""
        found, wanted = rows["found"], rows["wanted"]
        absent, unfound = (side.isnan().all(-1) for side in (wanted, found))
        values = self.by_unit(confusion(found, wanted))
        values = values[values.isfinite()]
        if not len(values):
            return SetResult.none("no action unit is ever present, or ever absent, in a pair with two faces")
        about = {"units": len(values), "lost_in_reenacted": int((unfound & ~absent).sum())}
        return SetResult(float(values.mean()), int((~unfound & ~absent).sum()), about=about)


class _Kappa(_Pooled):
    def by_unit(self, counts: Tensor) -> Tensor:
        """Cohen's kappa."""
        return kappa(counts)


class _F1(_Pooled):
    def by_unit(self, counts: Tensor) -> Tensor:
        """F1."""
        return f1(counts)


_MEASURES = {
    "au_consistency": (
        "AU consistency",
        "%",
        "share of the units on whose presence both agree",
        "mean over the pairs that have a value; absent units inflate it: read au_kappa and au_f1 beside it",
    ),
    "au_kappa": (
        "AU kappa",
        "",
        "Cohen's kappa of their presence",
        "kappa of each unit over all pairs with two faces, then the mean over units; a unit that both sides "
        "always show, or never, has none",
    ),
    "au_f1": (
        "AU F1",
        "",
        "F1 of their presence, driving as the truth",
        "F1 of each unit over all pairs with two faces, then the mean over units; a unit that neither side "
        "shows has none",
    ),
}


def action_unit_card(measure: str, quantity: str) -> MetricCard:
    """Card of one measure of agreement under one detector."""
    title, unit, words, reduction = _MEASURES[measure]
    geometric = quantity == GEOMETRIC
    return MetricCard(
        name=f"{measure}_geometric" if geometric else measure,
        version=1,
        title=f"{title} (geometric)" if geometric else title,
        unit=unit,
        higher_is_better=True,
        compares=f"action units of reenacted with those of driving, present from {PRESENT_FROM[quantity]}: {words}",
        quantities=(quantity,),
        face_missing="the pair is left out where no face is found in reenacted or in driving; faces lost in "
        "reenacted are counted by mkr",
        reference=f"{_DETECTOR[quantity]}; AU consistency of Zhang et al., BMVC 2019, who do not name their detector",
        alignment="none: 68 landmarks are read" if geometric else HOPENET_CROP,
        colour_range="no colours are read" if geometric else IMAGENET,
        reduction=reduction,
        penalty=0.0 if measure == "au_consistency" else None,
        digits=1 if measure == "au_consistency" else 3,
    )
