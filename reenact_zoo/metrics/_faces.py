"""Words and small steps that the cards of face instruments share."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.metrics._inputs import measured
from reenact_zoo.metrics.base import Measurer
from reenact_zoo.types import PairBatch

FIVE_POINTS = "each face by five of its own 68 landmarks, least-squares similarity to ArcFace's template, 112x112 px"
COSFACE_CROP = f"{FIVE_POINTS}, of which columns 8 to 103 are kept: 112x96 px"
HOPENET_CROP = "each face by its own 68 landmarks: upright loose square around it, 224x224 px"
TDDFA_CROP = "each face by its own 68 landmarks: upright square of sqrt(2) times their box's longer side, 120x120 px"
DEEP3D_CROP = "each face by five of its own 68 landmarks, fitted to a mean face: 224x224 px, 102 px per unit"
WHOLE_FRAME = "none: landmarks are compared where they lie in the frame"

HALVES = "RGB in [0, 1]; the network reads (x - 0.5) / 0.5"
IMAGENET = "RGB in [0, 1]; the network reads it with ImageNet's mean and std"
TDDFA_COLOURS = "RGB in [0, 1]; the network reads BGR, (255 x - 127.5) / 128"


def left_out(other: str) -> str:
    """What a missing face does to a mean that leaves pairs out."""
    return f"no value where no face is found in reenacted or in {other}; faces lost in reenacted are counted by mkr"


def source_or_truth(batch: PairBatch) -> Tensor:
    """(B, 3, H, W): the driving frame on self pairs, where it is the true picture, else the source."""
    rows = batch["same_identity"].to(batch["source"].device).bool().view(-1, 1, 1, 1)
    return torch.where(rows, batch["driving"], batch["source"])


def measured_pair(measurer: Measurer | None, quantity: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``quantity`` of both images (B, 3, H, W) on the device of the first."""
    first = measured(measurer, quantity, a)
    return first, measured(measurer, quantity, b).to(first)
