"""Instruments made for tests: they count their calls and need no weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from reenact_zoo.faces.detect import Detection
from reenact_zoo.faces.networks import (
    synthetic_coefficients,
    synthetic_embedding,
    synthetic_features,
    synthetic_landmarks,
    synthetic_motion,
    synthetic_parsing,
)
from reenact_zoo.weights.manifest import WeightEntry
from reenact_zoo.weights.store import WeightStore


class BrightSquareDetector:
    """Finds pixels brighter than 200 as one face per bright half of the image; counts its calls."""

    name, min_face_px = "bright_square", 8

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.calls += 1
        rows, columns = np.nonzero(image[..., 0] > 200)
        if len(rows) == 0:
            return []
        box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))
        return [Detection(box, 1.0)]


class BoxLandmarks:
    """68 points on an ellipse inside the brightest area near the box; counts its calls."""

    name = "box_ellipse"

    def __init__(self, score: float = 0.9) -> None:
        self.calls, self.score = 0, score

    def detect(self, image: NDArray[np.uint8], boxes: Sequence[Sequence[float]]) -> NDArray[np.float32]:
        return self.detect_scored(image, boxes)[0]

    def detect_scored(
        self, image: NDArray[np.uint8], boxes: Sequence[Sequence[float]], *, around_landmarks: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.calls += 1
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], 1)
        points = []
        for left, top, right, bottom in boxes:
            x0, y0 = max(0, int(left - 8)), max(0, int(top - 8))
            rows, columns = np.nonzero(image[y0 : int(bottom) + 8, x0 : int(right) + 8, 0] > 200)
            if len(rows) == 0:
                return np.zeros((len(boxes), 68, 2), np.float32), np.zeros(len(boxes), np.float32)
            low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
            points.append((low + high) / 2 + [x0, y0] + circle * (high - low) / 2)
        return np.array(points, np.float32), np.full(len(boxes), self.score, np.float32)


def picture(x: int, y: int, side: int = 40, size: int = 160) -> NDArray[np.uint8]:
    """Grey image with a bright square whose corner is at (x, y)."""
    image = np.full((size, size, 3), 60, np.uint8)
    image[y : y + side, x : x + side] = 250
    return image


def untrained_weights(folder: Path, seed: int = 0, entries: tuple[str, ...] = ()) -> WeightStore:
    """Store whose synthetic instruments (or only ``entries``) hold random numbers, as float16 files."""
    networks = {
        "synthetic_identity_judge": synthetic_embedding.SyntheticIdentityJudge,
        "synthetic_identity_train": synthetic_embedding.SyntheticIdentityTrain,
        "synthetic_motion_judge": synthetic_motion.SyntheticMotionJudge,
        "synthetic_motion_train": synthetic_motion.SyntheticMotionTrain,
        "synthetic_coefficients": synthetic_coefficients.SyntheticCoefficients,
        "synthetic_landmarks": synthetic_landmarks.SyntheticLandmarks,
        "synthetic_parsing": synthetic_parsing.SyntheticParsing,
        "synthetic_features": synthetic_features.SyntheticFeatures,
    }
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    for name in entries or networks:
        state = {key: v.half() if v.is_floating_point() else v for key, v in networks[name]().state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    return _ByName(folder)


class _ByName(WeightStore):
    """Takes a file for its name: the manifest's hashes are those of the trained networks."""

    def entry(self, name: str) -> WeightEntry:
        return dataclasses.replace(super().entry(name), size=None, sha256=None)
