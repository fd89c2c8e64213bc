"""Would a face verifier take the reenacted face for the source person? The threshold comes from the run's impostors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from reenact_zoo.metrics._cosine import cosine
from reenact_zoo.metrics._faces import FIVE_POINTS, HALVES
from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics.base import MetricCard, SetMetric, SetResult
from reenact_zoo.types import PairBatch, ReenactmentOutput

FALSE_ACCEPT_RATE = 1e-3
FEWEST_IMPOSTORS = 10_000  # fewer than ten false accepts say little about a rate of one in a thousand
_ROWS_AT_ONCE = 1024


def impostor_threshold(embeddings: Tensor, persons: Tensor) -> tuple[float, int]:
    """Images of unit length (M, D) and whom they show (M,) → (threshold, number of pairs of different persons).

    At most ``FALSE_ACCEPT_RATE`` of the pairs of different persons have a cosine above the threshold, which is the
    smallest of their cosines with this property; NaN where there is no such pair.
    """
    counts = persons.unique(return_counts=True)[1]
    impostors = (len(persons) * (len(persons) - 1) - int((counts * (counts - 1)).sum())) // 2
    if impostors == 0:
        return math.nan, 0
    accepted = int(impostors * FALSE_ACCEPT_RATE)
    highest = embeddings.new_empty(0)
    for first in range(0, len(persons), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        cosines = embeddings[rows] @ embeddings.T
        place = torch.arange(len(persons), device=persons.device)
        counted = (place[rows, None] < place) & (persons[rows, None] != persons)
        highest = torch.cat([highest, cosines[counted]])
        highest = highest.topk(min(accepted + 1, len(highest))).values
    return float(highest[-1]), impostors


def image_keys(images: Tensor) -> Tensor:
    """Images (B, …) → (B,) int64 of their bytes: the same frame in several pairs counts once."""
    rows = images.detach().float().cpu().contiguous().numpy()
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests], dtype=torch.int64)


class _PreservationRate(SetMetric):
    """Share of pairs whose cosine with the source lies above the threshold."""

    row_names: ClassVar[tuple[str, ...]] = ("reenacted", "source", "driving", "keys", "persons")

    def pair_rows(self, batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
        """Embeddings (B, D) of three images; keys (B, 2) and persons (B, 2) of source and driving."""
        (quantity,) = self.card.quantities
        images = {"reenacted": output.reenacted, "source": batch["source"], "driving": batch["driving"]}
        rows = {name: measured(self.measurer, quantity, image).cpu() for name, image in images.items()}
        keys = torch.stack([image_keys(batch["source"]), image_keys(batch["driving"])], 1)
        return {**rows, "keys": keys, "persons": _persons(batch)}

    def set_value(self, rows: Mapping[str, Tensor]) -> SetResult:
        """The rate, and one number per pair; not applicable below ``FEWEST_IMPOSTORS``."""
        persons = rows["persons"]
        if (persons < 0).any():
            return SetResult.none("it is not known who is shown, so there are no impostor pairs")
        embeddings, people = _different_images(rows)
        threshold, impostors = impostor_threshold(embeddings, people)
        about = {"impostor_pairs": impostors, "threshold": threshold, "false_accept_rate": FALSE_ACCEPT_RATE}
        if impostors < FEWEST_IMPOSTORS:
            why = f"a false accept rate of 0.001 needs {FEWEST_IMPOSTORS} impostor pairs; here are {impostors}"
            return SetResult(math.nan, 0, not_applicable=why, about=about)
        kept = (cosine(rows["reenacted"], rows["source"]) > threshold).double() * 100  # a lost face: NaN > t is False
        kept = kept.masked_fill(rows["source"].isnan().any(-1), torch.nan)
        return SetResult(float(kept.nanmean()), int(kept.isfinite().sum()), pair_values=kept, about=about)


def _persons(batch: PairBatch) -> Tensor:
    """(B, 2) numbers of the persons in source and driving; -1: not known."""
    known = batch.get("persons")
    if known is None:
        return torch.full((len(batch["source"]), 2), -1, dtype=torch.int64)
    return known.cpu()


def _different_images(rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings (M, D) and persons (M,) of the run's different source and driving images that show a face."""
    embeddings = torch.cat([rows["source"], rows["driving"]])
    keys, persons = (rows[name].T.flatten() for name in ("keys", "persons"))
    found = embeddings.isfinite().all(-1)
    embeddings, keys, persons = embeddings[found], keys[found], persons[found]
    keys, order = keys.sort(stable=True)
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    return embeddings[order[first]], persons[order[first]]


def preservation_card(
    name: str, title: str, quantity: str, network: str, alignment: str = FIVE_POINTS, colours: str = HALVES
) -> MetricCard:
    """Card of the rate under one network."""
    return MetricCard(
        name=name,
        version=1,
        title=title,
        unit="%",
        higher_is_better=True,
        compares="cosine of reenacted with source, against the cosine that one in 1,000 pairs of different persons "
        "among the run's source and driving images exceeds",
        quantities=(quantity,),
        face_missing="not preserved where no face is found in reenacted, also where the method made no image; no value "
        "where none is found in source",
        reference=f"{network}; identity preservation of Zhang et al., BMVC 2019, who state neither network nor "
        f"threshold; not applicable below {FEWEST_IMPOSTORS:,} impostor pairs; equal images count once",
        alignment=alignment,
        colour_range=colours,
        reduction="share of the pairs that have a value, once the threshold is known",
        digits=1,
    )
