"""The 68-point network, with its confidence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.networks.synthetic_landmarks import CELLS, SyntheticLandmarks
from reenact_zoo.faces.synthetic_crop import BOX_SHIFT, box_matrices, face_matrices, points_to_image, sample
from reenact_zoo.train.instruments.batches import Batcher, Cut
from reenact_zoo.train.instruments.held_out import SIZES, HeldOut
from reenact_zoo.train.instruments.task import Task

EMPTY = 8  # one crop in so many shows no face
EMPTY_JUDGED = 64
OFF = 0.12  # mean error, in half crop sides, from which a crop no longer counts as a face in its place


class Landmarks(Task):
    """Entry "synthetic_landmarks"."""

    name = "synthetic_landmarks"
    share = 1.3
    architecture = "encoder-decoder with 16, 40, 96 channels; 68 heat maps of 16x16, their expectations; a confidence"
    preprocessing = "64x64 RGB in [0, 1], synthetic_crop.box_crop of a detector's box, then face_crop of what was found"
    meaning = "68 iBUG points in [-1, 1] of the crop; confidence in [0, 1] that a face is there"

    def __init__(self, records: dict[str, Tensor], scenes: Tensor, head: DenseHead, seed: int) -> None:
        torch.manual_seed(seed)
        self.network, self.extra = SyntheticLandmarks(), nn.Module()
        # detectors disagree about what a face's box is: crops wander more here than elsewhere
        cut = Cut(face_matrices, noise=0.02, shift=0.1, scale=0.25, turn_deg=25)
        self.batches = Batcher(records, scenes, cut, seed=seed)

    def losses(self) -> dict[str, Tensor]:
        """Mean distance, cross entropy to narrow true heat maps, and the confidence's cross entropy."""
        empty = self.batch_size // EMPTY
        batch = self.batches.draw(self.batch_size - empty)
        crops = torch.cat([batch.crops, self.batches.empty(empty)])
        maps, logit = self.network.raw(crops)  # type: ignore[operator]
        maps = maps[:-empty]
        distance = (self.network.points(maps) - batch.points).norm(dim=-1)  # type: ignore[operator]
        inside = (batch.points.abs() < 1).all(-1).float()
        face = torch.cat([(distance.detach().mean(1) < OFF).float(), torch.zeros(empty)])
        entropy = -(narrow(batch.points) * (maps + 1e-7).log()).sum(-1)
        return {
            "distance": 10 * (distance * inside).mean(),
            "maps": 0.1 * (entropy * inside).mean(),
            "confidence": 0.3 * F.binary_cross_entropy_with_logits(logit, face),
        }

    def held_out(self, data: HeldOut) -> dict[str, Any]:
        """Two passes from a displaced box, as in use."""
        out: dict[str, Any] = {}
        for size in SIZES:
            true = data.landmarks_px(size)
            found, confidence = from_wandering_boxes(self.network, data.picture(size), true)
            out[f"frames_{size}_px"] = {**landmark_errors(found, true), **self._confidence(confidence)}
        return out

    def _confidence(self, found: Tensor) -> dict[str, float]:
        """Share of frames, and of crops without a face, whose confidence exceeds a half."""
        with torch.inference_mode():
            empty = self.network(self.batches.empty(EMPTY_JUDGED)).confidence
        shares = {"confident": found > 0.5, "confident_where_there_is_no_face": empty > 0.5}
        return {name: round(float(mask.float().mean()), 4) for name, mask in shares.items()}


def from_wandering_boxes(network: nn.Module, images: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """As in use: a box such as dlib draws, 8 % beside its place, then two passes.

    (N, 3, S, S), (N, 68, 2) px → points (N, 68, 2) px and confidence (N,).
    """
    low, high = true.amin(1), true.amax(1)
    side = (high - low).amax(1, keepdim=True)
    wander = 0.08 * side * torch.randn(len(true), 2, generator=torch.Generator().manual_seed(5))
    middle = (low + high) / 2 + wander - torch.cat([torch.zeros_like(side), BOX_SHIFT * side], 1)
    matrices = box_matrices(torch.cat([middle - side / 2, middle + side / 2], 1))
    with torch.inference_mode():
        for _ in range(2):
            found = [network(part) for part in sample(images, matrices).split(128)]
            points = points_to_image(torch.cat([f.points for f in found]), matrices)
            matrices = face_matrices(points)
    return points, torch.cat([f.confidence for f in found])


def narrow(points: Tensor, cells: int = CELLS, sigma: float = 1.0) -> Tensor:
    """(B, 68, 2) in [-1, 1] → Gaussians (B, 68, cells²) that sum to 1, ``sigma`` cells wide."""
    centres = (2 * torch.arange(cells) + 1) / cells - 1
    width = 2 * sigma / cells
    x, y = ((-0.5 * ((points[..., k, None] - centres) / width) ** 2).softmax(-1) for k in (0, 1))
    return (y[..., :, None] * x[..., None, :]).flatten(2)


def landmark_errors(found: Tensor, true: Tensor) -> dict[str, float]:
    """Mean point error of a frame in % of the inter-ocular distance, and in % of sqrt(w h) of the points' box."""
    error = (found - true).norm(dim=-1).mean(1)
    eyes = (true[:, 36] - true[:, 45]).norm(dim=-1).clamp(min=1)
    box = (true.amax(1) - true.amin(1)).prod(1).sqrt()
    frontal = 100 * (error / eyes)
    return {
        "median_percent_interocular": round(float(frontal.median()), 2),
        "median_percent_box": round(float((100 * error / box).median()), 2),
        "p95_percent_box": round(float((100 * error / box).quantile(0.95)), 2),
    }
