"""Rows of coefficients out of a batch: those that are there, or read again where they are another instrument's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from reenact_zoo.methods.flow_renderer.descriptor import Reader
from reenact_zoo.methods.flow_renderer.estimates import Estimates
from reenact_zoo.types import InputError, PairBatch

_log = logging.getLogger(__name__)


def finite_rows(values: Tensor) -> Tensor:
    """(B, …) → (B,) bool: no number of the row is missing."""
    return values.isfinite().flatten(1).all(1)


class CoefficientRows:
    """See the module.

    Args:
        reader: kind of the rows that the method wants.
        estimates: makes what reads rows of "ict_reduced" in pictures.
    """

    def __init__(self, reader: Reader, estimates: Callable[[], Estimates]) -> None:
        self._reader, self._estimates = reader, estimates

    def of(self, batch: PairBatch, role: str) -> Tensor:
        """(B, K) float32; NaN where no face was found.

        A data set that knows the truth has rows of its own head. They are read again from the picture where the batch
        also has landmarks, which is said once.

        Raises:
            InputError: the batch has none, or of another length and no landmarks.
        """
        key, given = f"{role}_coefficients", dict(batch).get(f"{role}_coefficients")
        if not isinstance(given, Tensor):
            raise InputError(
                f"method 'flow_renderer' needs '{key}' in the batch, as motion is relative where it has "
                "'driving_reference'; faces.annotate.Annotator.fill(batch, requires) estimates it"
            )
        if given.ndim == 2 and given.shape[1] == self._reader.total:
            return given.float()
        wrong = (
            f"rows of '{key}' have {given.shape[-1]} numbers, those of '{self._reader.name}' have {self._reader.total}"
        )
        landmarks = dict(batch).get(f"{role}_landmarks")
        if self._reader.name != "ict_reduced" or not isinstance(landmarks, Tensor):
            raise InputError(
                f"flow_renderer: {wrong}; leave them out, so that faces.annotate.Annotator.fill(batch, requires) "
                "estimates them, or train with another method.coefficients"
            )
        _say_once(f"flow_renderer: {wrong}; they are estimated from the picture")
        return self._read(dict(batch)[role], landmarks)

    def window(self, batch: PairBatch, frames: Tensor, length: int) -> Tensor:
        """(B, T, K): ``driving_coefficients_window`` where it is there and of this kind, else ``frames`` (B, K)."""
        window = batch.get("driving_coefficients_window")
        if window is None or length == 1 or window.shape[-1] != self._reader.total:
            return frames[:, None]
        return window.float()

    @torch.no_grad()
    def _read(self, images: Any, landmarks: Tensor) -> Tensor:
        """One by one, so that no bit depends on what else is in the batch."""
        pairs = zip(images.split(1), landmarks.split(1))
        return torch.cat([self._estimates().coefficients(image, points) for image, points in pairs])


@cache
def _say_once(text: str) -> None:
    _log.warning(text)
