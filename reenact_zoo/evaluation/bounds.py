"""Rows that are made from the truth, so that a reader knows what a number means; no method could make them.

They are asked for like a method, by a name with "bound:" in front, and stand in every table without a rank:

    bound:blur_ceiling  the true picture, averaged over blocks of 2x2 pixels and enlarged again: who comes closer to the
                        truth than this has more detail than half the resolution can hold.
    bound:oracle_warp   the source sampled at the true flow: the best that moving pixels can do. Where the flow says
                        nothing, because the source does not show what comes into view, the source's pixel stays.
    bound:mean_face     one picture for every pair, the mean of the truths (of the driving frames where nobody knows the
                        truth) over at most 64 pairs of the run, evenly spaced: what knowing neither source nor driving
                        is worth. It is the best constant in squared error, and flattered because it saw the truths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError, PairBatch

PREFIX = "bound:"
MEAN_OVER = 64  # pairs; enough that no person shows through
Reenact = Callable[[PairBatch], Tensor]


class Pairs(Protocol):
    """Pairs without batch axis, for example ``data.evaluation.EvaluationPairs``."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> PairBatch:
        """One of them; InputError where it cannot be read."""


@dataclass(frozen=True)
class Bound:
    """How a row is made.

    Attributes:
        make: from all pairs of the run to the function of one batch with its truth.
        needs: the batch keys without which it has no meaning, and what lacks then, in words.
    """

    make: Callable[[Pairs], Reenact]
    needs: Mapping[str, str]


def is_bound(name: str) -> bool:
    """Whether ``name`` is asked for as a bound."""
    return name.startswith(PREFIX)


def load_bound(name: str, pairs: Pairs | Sequence[PairBatch]) -> Reenact:
    """Function of a batch WITH its truth that returns the bound's pictures (B, 3, H, W), on the CPU.

    Rows of pairs whose truth is not known are NaN.

    Args:
        name: one of ``BOUNDS``.
        pairs: all pairs of the run, without batch axis; only the mean face looks at them.

    Raises:
        InputError: unknown name, or (later, from the function) a batch that lacks what the bound needs.
    """
    found = _find(name)

    def checked(batch: PairBatch) -> Tensor:
        if why := missing(name, batch):
            raise InputError(why)
        return made(batch)

    made = found.make(pairs)
    return checked


def missing(name: str, batch: PairBatch) -> str:
    """Why these pairs have no such row, in words; "" where they have. Takes one pair or a batch."""
    for key, lack in _find(name).needs.items():
        known = key in batch or (key == "target" and bool(batch["same_identity"].all()))
        if not known:
            return f"'{name}' does not apply: {lack}"
    return ""


def _find(name: str) -> Bound:
    if name not in BOUNDS:
        raise InputError(f"unknown bound '{name}'; {nearest(name, BOUNDS)}")
    return BOUNDS[name]


def truth(batch: PairBatch) -> Tensor:
    """True pictures (B, 3, H, W), or (3, H, W) of one pair: the target; the driving frame of self pairs; else NaN."""
    shown = batch["same_identity"][..., None, None, None]
    known = torch.where(shown, batch["driving"], torch.nan)
    if "target" not in batch:
        return known
    return torch.where(batch["target"].isnan(), known, batch["target"])


def _blur_ceiling(_pairs: Pairs) -> Reenact:
    def reenact(batch: PairBatch) -> Tensor:
        true = truth(batch)
        small = F.avg_pool2d(true, 2, ceil_mode=True)
        return F.interpolate(small, size=true.shape[-2:], mode="bilinear", align_corners=False)

    return reenact


def _oracle_warp(_pairs: Pairs) -> Reenact:
    from reenact_zoo.ops.warp import warp

    def reenact(batch: PairBatch) -> Tensor:
        moved = warp(batch["source"], batch["target_flow"].nan_to_num(), padding_mode="border")
        valid = batch["target_flow_valid"]
        made = torch.where(valid > 0.5, moved, batch["source"])
        unknown = batch["target_flow"].isnan().flatten(1).all(1)
        return torch.where(unknown[:, None, None, None], torch.nan, made)

    return reenact


def _mean_face(pairs: Pairs) -> Reenact:
    mean: list[Tensor] = []  # made with the first batch: a run whose pairs are all known already reads none

    def reenact(batch: PairBatch) -> Tensor:
        if not mean:
            mean.append(_mean_truth(pairs))
        return mean[0].expand_as(batch["driving"]).clone()

    return reenact


def _mean_truth(pairs: Pairs) -> Tensor:
    count = min(len(pairs), MEAN_OVER)
    total, seen = torch.zeros(()), 0
    for k in range(count):
        try:
            item = pairs[k * len(pairs) // count]
        except InputError:
            continue  # the run itself counts and names pairs that cannot be read
        true = truth(item)
        total = total + (item["driving"] if true.isnan().any() else true).double()
        seen += 1
    if not seen:
        raise InputError(f"'{PREFIX}mean_face' has nothing to average: none of {count} pairs can be read")
    return (total / seen).float()


_TRUTH = {"target": "nobody knows the true picture of these pairs"}
_FLOW = {
    "target_flow": "the data set does not know the true flow",
    "target_flow_valid": "the flow says not where it holds",
}

BOUNDS: dict[str, Bound] = {
    "bound:blur_ceiling": Bound(_blur_ceiling, _TRUTH),
    "bound:oracle_warp": Bound(_oracle_warp, _FLOW),
    "bound:mean_face": Bound(_mean_face, {}),
}
"""Name → how the row is made. What it says to a reader stands with the other bounds in ``table.BOUNDS``."""
