"""Rendered clips kept on disk, one file each, so that training reads frames at memory speed.

A file holds one fixed-size record per frame and is read through a memory map. It is written under another name and
renamed when complete, so readers never see half a clip and two workers that render the same clip do no harm.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.datasets._recent import Recent
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.faces.renderer import Render
from reenact_zoo.weights.store import cache_folder

CLASSES = 19
OPEN_FILES = 64


@dataclass(frozen=True)
class Record:
    """One frame with its truth, as stored.

    Attributes:
        image: (S, S, 3) uint8.
        landmarks: (68, 2) float32, normalised.
        matte: (S, S) uint8, 255 where the person covers the pixel.
        labels: (k, S, S) uint8 class of each of the k samples of a pixel, sorted; their shares are the probabilities.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    matte: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @classmethod
    def from_render(cls, render: Render, supersample: int) -> Record:
        """The first picture of a render, quantised; parsing that comes from supersamples loses nothing."""
        image = (render.image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        matte = (render.alpha[0, 0] * 255).round().to(torch.uint8).numpy()
        return cls(image, render.landmarks[0].numpy(), matte, labels_from_parsing(render.parsing[0], supersample**2))

    def annotations(self) -> dict[str, Callable[[], NDArray[Any]]]:
        """What makes landmarks, matte and parsing, under their PairBatch names."""
        return {
            "landmarks": lambda: np.array(self.landmarks),
            "matte": lambda: (self.matte[None] / np.float32(255)).astype(np.float32),
            "parsing": lambda: parsing_from_labels(self.labels),
        }


def labels_from_parsing(parsing: Tensor, samples: int) -> NDArray[np.uint8]:
    """(19, S, S) probabilities in steps of 1 / samples → (samples, S, S) sorted labels with those shares."""
    counts = (parsing * samples).round().to(torch.int64).cumsum(0)
    counts[-1] = samples  # should rounding lose one
    return torch.stack([(counts > k).int().argmax(0) for k in range(samples)]).to(torch.uint8).numpy()


def parsing_from_labels(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Inverse of ``labels_from_parsing``."""
    out = np.zeros((CLASSES, *labels.shape[1:]), np.float32)
    rows, columns = np.indices(labels.shape[1:])
    for layer in labels:
        out[layer, rows, columns] += 1
    return np.asarray(out / len(labels), np.float32)


class ClipCache:
    """Records of frames by clip, rendered on first use.

    Args:
        key: text that differs wherever a picture could differ.
        size: side of the pictures.
        supersample: samples per pixel side.
    """

    def __init__(self, key: str, size: int, supersample: int) -> None:
        self.folder = cache_folder() / "synthetic" / hashlib.sha256(key.encode()).hexdigest()[:24]
        self._supersample = supersample
        self._open: Recent[Any] = Recent(OPEN_FILES)
        self._dtype = np.dtype(
            [
                ("image", "u1", (size, size, 3)),
                ("landmarks", "<f4", (68, 2)),
                ("matte", "u1", (size, size)),
                ("labels", "u1", (supersample**2, size, size)),
            ]
        )

    @staticmethod
    def digest(probe: Render) -> str:
        """Fingerprint of a render, for the key."""
        return hashlib.sha256(np.round(probe.image.numpy() * 255).astype(np.uint8).tobytes()).hexdigest()

    def record(self, ref: FrameRef, num_frames: int, render: Callable[[FrameRef], Render]) -> Record:
        """The record of a frame; renders the whole clip if it is not on disk."""
        path = self.folder / f"{ref.clip}.npy"
        stored = self._open.get(ref.clip, lambda: self._load(path, ref.clip, num_frames, render))[ref.index]
        return Record(*(np.array(stored[name]) for name in ("image", "landmarks", "matte", "labels")))

    def _load(self, path: Path, clip: str, num_frames: int, render: Callable[[FrameRef], Render]) -> Any:
        try:
            return self._mapped(path, num_frames)
        except (OSError, ValueError):  # not there yet, or damaged
            self._write(path, clip, num_frames, render)
        return self._mapped(path, num_frames)

    def _mapped(self, path: Path, num_frames: int) -> Any:
        records = np.load(path, mmap_mode="r")
        if records.dtype != self._dtype or len(records) != num_frames:
            raise ValueError(f"{path} holds something else")
        return records

    def _write(self, path: Path, clip: str, num_frames: int, render: Callable[[FrameRef], Render]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        records = np.zeros(num_frames, self._dtype)
        for index in range(num_frames):
            made = Record.from_render(render(FrameRef(clip, index)), self._supersample)
            for name in ("image", "landmarks", "matte", "labels"):
                records[name][index] = getattr(made, name)
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, records)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
