"""Small pictures of some pairs, kept on disk for the report; the same pairs for every method."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from reenact_zoo.data.pairs import evenly_spaced
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import GalleryPair
from reenact_zoo.types import InputError, PairBatch

NUM_PAIRS = 24
_LARGEST_PX = 256
_JPEG: dict[str, Any] = {"quality": 92, "subsampling": 0}
_LOSSLESS_PX = 128  # above it PNG outweighs what it shows


class Gallery:
    """Writes pictures while a run goes on.

    Folders are named after what they hold, so an interrupted run never mixes its pictures with those of another.

    Args:
        out: folder of results.
        protocol: its hash is part of the folders' names.
        method: likewise.
        pairs_hash: likewise.
        num_pairs: in the whole run; ``NUM_PAIRS`` of them, evenly spaced, are kept.
    """

    def __init__(self, out: Path, protocol: Protocol, method: str, pairs_hash: str, num_pairs: int) -> None:
        self._out = out
        key = hashlib.sha256(f"{protocol.hash} {pairs_hash}".encode()).hexdigest()[:10]
        self._inputs = Path("gallery") / f"{protocol.name}-{key}"
        self._outputs = self._inputs / re.sub(r"[^\w-]+", "-", method)
        self._chosen = set(evenly_spaced(0, num_pairs, NUM_PAIRS))
        self.pairs: list[GalleryPair] = []

    def keep(self, indices: list[int], batch: PairBatch, reenacted: Tensor, failed: dict[int, str]) -> None:
        """Write the chosen ones among the pairs with these indices."""
        for row, index in enumerate(indices):
            if index not in self._chosen:
                continue
            truth = batch["target"][row] if "target" in batch else batch["driving"][row]
            known = not truth.isnan().any() and ("target" in batch or bool(batch["same_identity"][row]))
            self.pairs.append(
                GalleryPair(
                    pair_id=batch["pair_id"][row],
                    source=self._write(self._inputs, f"{index:05}.source", batch["source"][row]),
                    driving=self._write(self._inputs, f"{index:05}.driving", batch["driving"][row]),
                    truth=self._write(self._inputs, f"{index:05}.truth", truth) if known else "",
                    reenacted="" if index in failed else self._write(self._outputs, f"{index:05}", reenacted[row]),
                )
            )

    def _write(self, folder: Path, stem: str, picture: Tensor) -> str:
        image = Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        lossless = max(image.size) <= _LOSSLESS_PX
        image.thumbnail((_LARGEST_PX, _LARGEST_PX), Image.Resampling.LANCZOS)
        path = folder / f"{stem}.{'png' if lossless else 'jpg'}"
        try:
            (self._out / folder).mkdir(parents=True, exist_ok=True)
            image.save(self._out / path, None, **({} if lossless else _JPEG))
        except OSError as error:
            raise InputError(f"cannot write pictures to {self._out / folder}: {error.strerror or error}") from error
        return path.as_posix()
