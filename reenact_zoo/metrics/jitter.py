"""Temporal jitter: how much more, or less, landmarks shake from frame to frame than they should."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from reenact_zoo.metrics._inputs import TRUTH, measured, truth
from reenact_zoo.metrics.base import MetricCard, SetMetric, SetResult
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.types import PairBatch, ReenactmentOutput


def middle_frames(sequence: Tensor, frame: Tensor) -> Tensor:
    """Rows (3, M) of every three consecutive frames of one sequence, labels (N,) in any order; -1 is none."""
    order = sorted(range(len(sequence)), key=lambda row: (int(sequence[row]), int(frame[row])))
    rows = torch.tensor(order, dtype=torch.int64)
    same = (sequence[rows].diff() == 0) & (sequence[rows][1:] >= 0)
    follows = same & (frame[rows].diff() == 1)  # row i + 1 is the next frame of row i
    return torch.stack([rows[:-2], rows[1:-1], rows[2:]])[:, follows[:-1] & follows[1:]]


def jitter(found: Tensor, wanted: Tensor) -> Tensor:
    """Landmarks in pixels of three consecutive frames (3, M, N, 2) → (M,) in % of the face's size.

    Mean over landmarks of |second difference of found - second difference of wanted|, over sqrt(w h) of the middle
    frame's box of wanted landmarks.
    """
    difference = found - wanted
    second = difference[0] - 2 * difference[1] + difference[2]
    extent = wanted[1].amax(1) - wanted[1].amin(1)
    percent: Tensor = 100 * second.norm(dim=-1).mean(-1) / extent.prod(-1).clamp(min=1e-12).sqrt()
    return percent


class Jitter(SetMetric):
    """Shaking of landmarks between frames, motion of the driving clip taken out."""

    card = MetricCard(
        name="jitter",
        version=1,
        title="jitter",
        unit="% per frame²",
        higher_is_better=False,
        compares="second difference over three consecutive frames of the landmarks measured in reenacted, minus that "
        f"of the landmarks measured in the {TRUTH}",
        reads_target=True,
        quantities=("landmarks",),
        face_missing="no value for the three frames it belongs to",
        reduction="mean over the middle frames of three consecutive driving frames of one clip, one source picture",
        reference="68 points, mean distance, normaliser sqrt(w h) of the true picture's landmark box; depends on the "
        "clip's frame rate",
    )
    row_names = ("found", "wanted", "sequence", "sequence_frame")

    def pair_rows(self, batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
        """Landmarks (B, 68, 2) in pixels of both pictures, and the labels (B,)."""
        size = output.reenacted.shape[-2:]
        images = {"found": output.reenacted, "wanted": truth(batch)}
        rows = {key: normalised_to_pixel(measured(self.measurer, "landmarks", x), *size) for key, x in images.items()}
        alone = torch.full((len(output.reenacted),), -1, dtype=torch.int64)
        return rows | {"sequence": batch.get("sequence", alone), "sequence_frame": batch.get("sequence_frame", alone)}

    def set_value(self, rows: Mapping[str, Tensor]) -> SetResult:
        """Mean over middle frames; ``pair_values`` holds each at its own pair, NaN at the ends of a sequence."""
        triples = middle_frames(rows["sequence"].cpu(), rows["sequence_frame"].cpu())
        if not triples.shape[1]:
            return SetResult.none("no three consecutive frames of a clip are driven from one source picture")
        values = jitter(rows["found"].double().cpu()[triples], rows["wanted"].double().cpu()[triples])
        each = values.new_full((len(rows["sequence"]),), float("nan"))
        each[triples[1]] = values
        valid = values[~values.isnan()]  # empty where every triple lost a face: the mean is NaN then
        return SetResult(float(valid.mean()), len(valid), pair_values=each)
