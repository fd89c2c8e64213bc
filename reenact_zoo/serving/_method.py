"""A method made ready to animate: the source encoded once, then one face after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.annotate import Annotator
from reenact_zoo.faces.measure import FaceMeasurer, measured_folder
from reenact_zoo.registry import METHODS
from reenact_zoo.serving._framing import FaceCrop
from reenact_zoo.types import InputError, PairBatch

DEFAULT_SIZE = 256


def load_method(name: str, checkpoint: Path | None, size: int | None, device: str) -> tuple[Any, int]:
    """The method in eval mode on its device, and the side of its images in pixels.

    Raises:
        InputError: unknown name, no trained weights, or a checkpoint of another method or size.
    """
    method = METHODS.get(name).ready(checkpoint, size)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return method.to(device), size or getattr(method.config, "image_size", None) or DEFAULT_SIZE


@contextlib.contextmanager
def fitting_threads(method: Any) -> Iterator[None]:
    """One PyTorch thread for methods without parameters, for as long as the context lasts.

    Their operations are too small to share out, and threads that wait for each other while decoder and encoder want the
    same two cores cost most of the speed (measured: 44 frames/s with one, 2 to 12 with two on a busy machine).
    """
    before = torch.get_num_threads()
    if next(iter(method.parameters()), None) is None:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Animator:
    """Reenacts one person with face after face.

    Landmarks come from the tracker, which has just measured them in the full picture; every other annotation that the
    method requires is estimated from the crop.

    Args:
        method: as from ``load_method``.
        sources: the person's face, once or, for methods that use them, several times.
        relative: give the method a driving face as ``driving_reference``: the first, or that of ``count_from``.

    Raises:
        InputError: several faces for a method that takes one.
    """

    def __init__(self, method: Any, sources: Sequence[FaceCrop], relative: bool) -> None:
        self._method, self._requires = method, method.requires
        self._relative = relative or any(key.startswith("driving_reference") for key in self._requires)
        self._reference: dict[str, Tensor] | None = None
        self._annotator: Annotator | None = None
        of_source = frozenset(key for key in self._requires if key.startswith("source_"))
        self._of_driving = frozenset(key for key in self._requires if key.startswith("driving_"))
        with torch.inference_mode():
            self._state = method.encode_source(self._annotated(self._of_sources(sources), of_source))

    def count_from(self, reference: FaceCrop) -> None:
        """Motion counts from this driving face rather than from the first one."""
        self._reference = self._entries("driving_reference", reference)

    def reenact(self, driving: FaceCrop) -> NDArray[np.uint8] | None:
        """(S, S, 3) RGB; None where the method could not make this frame."""
        entries = self._entries("driving", driving)
        if self._relative:
            if self._reference is None:
                self._reference = self._entries("driving_reference", driving)
            entries |= self._reference
        with torch.inference_mode():
            batch = self._annotated(entries, self._of_driving)
            reenacted = self._method.drive(self._state, batch).reenacted[0]
        if not torch.isfinite(reenacted).all():
            return None
        pixels = reenacted.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0)
        return pixels.contiguous().cpu().numpy()

    def _of_sources(self, sources: Sequence[FaceCrop]) -> dict[str, Tensor]:
        entries = self._entries("source", sources[0])
        if len(sources) == 1:
            return entries
        if not hasattr(self._method.config, "sources"):
            raise InputError(
                f"method '{self._method.registered_name()}' takes one source image, {len(sources)} are given; give one"
            )
        rows = [self._entries("source", face) for face in sources[1:]]
        return entries | {
            f"extra_{key.replace('source', 'sources', 1)}": torch.stack([row[key] for row in rows], 1)
            for key in entries
        }

    def _entries(self, prefix: str, face: FaceCrop) -> dict[str, Tensor]:
        device = self._method.device
        image = torch.from_numpy(face.image).to(device).permute(2, 0, 1)[None].float().div_(255)
        entries = {prefix: image}
        if prefix == "driving_reference" or f"{prefix}_landmarks" in self._requires:
            entries[f"{prefix}_landmarks"] = torch.from_numpy(face.landmarks)[None].to(device)
        return entries

    def _annotated(self, entries: dict[str, Tensor], requires: frozenset[str]) -> PairBatch:
        batch = cast(PairBatch, entries)
        if requires <= entries.keys():
            return batch
        if self._annotator is None:
            self._annotator = Annotator(FaceMeasurer(cache=measured_folder()))
        return self._annotator.fill(batch, requires)
