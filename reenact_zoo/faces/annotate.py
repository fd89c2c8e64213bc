"""Fills in the annotations a method requires, estimated from pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from torch import Tensor

from reenact_zoo.types import InputError, PairBatch

IMAGES = ("driving_reference", "source", "driving")  # longest first: "driving_reference_x" also begins with "driving_"
QUANTITY_OF = {"landmarks": "landmarks"}
"""PairBatch name without prefix → quantity of ``FaceMeasurer``."""

Supplier = Callable[[Tensor], Tensor]


class Measures(Protocol):
    """The part of ``FaceMeasurer`` that is used here."""

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, …)."""

    def missing(self, quantity: str) -> str | None:
        """None, or what is needed."""


class Annotator:
    """Estimates annotations of source, driving and driving_reference images.

    Args:
        measurer: answers landmarks, and remembers images it has seen.
        supplied: more annotations: name without prefix ("coefficients", "parsing" …) → function from images
            (B, 3, H, W) to the annotation (B, …). Takes precedence over the measurer.
    """

    def __init__(self, measurer: Measures, supplied: Mapping[str, Supplier] | None = None) -> None:
        self._measurer = measurer
        self._supplied = dict(supplied or {})

    def fill(self, batch: PairBatch, requires: frozenset[str]) -> PairBatch:
        """The batch with every required key; keys that are there already are kept, images are never changed.

        Where the batch has a ``driving_reference`` (motion is relative), what is required of the driving frame is
        required of the reference too.

        Raises:
            InputError: a key nobody can supply (names the weights that would), or one whose image is absent.
        """
        filled = dict(batch)
        if "driving_reference" in batch:
            names = {key.removeprefix("driving_") for key in requires if key.startswith("driving_")}
            requires |= {f"driving_reference_{name}" for name in names if not name.startswith("reference")}
        for key in sorted(requires - batch.keys()):
            filled[key] = self._annotation(key, batch)
        return cast(PairBatch, filled)

    def _annotation(self, key: str, batch: PairBatch) -> Tensor:
        image, name = split_key(key)
        if image not in batch:
            raise InputError(f"'{key}' is required, but the batch has no '{image}' image to estimate it from")
        images = cast(Tensor, batch[image])  # type: ignore[literal-required]
        if name in self._supplied:
            return self._supplied[name](images)
        if name not in QUANTITY_OF:
            known = sorted({*QUANTITY_OF, *self._supplied})
            raise InputError(
                f"'{key}' is required, but no instrument estimates '{name}'; estimated: {', '.join(known)}"
            )
        lacking = self._measurer.missing(QUANTITY_OF[name])
        if lacking:
            raise InputError(f"'{key}' is required and cannot be estimated: it needs {lacking}")
        return self._measurer.measure(QUANTITY_OF[name], images)


def split_key(key: str) -> tuple[str, str]:
    """Key of an annotation → its image and its name: driving_reference_landmarks → driving_reference, landmarks.

    Raises:
        InputError: the key is no annotation of an image.
    """
    for image in IMAGES:
        if key.startswith(f"{image}_"):
            return image, key.removeprefix(f"{image}_")
    raise InputError(f"'{key}' is required, but it is no annotation of source, driving or driving_reference")
