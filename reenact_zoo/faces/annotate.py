"""Fills in the annotations a method requires, estimated from pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from torch import Tensor

from reenact_zoo.faces.matting import matte_from_parsing
from reenact_zoo.types import InputError, PairBatch

# longest first: "driving_reference_x" also begins with "driving_"
IMAGES = ("driving_reference", "extra_sources", "source", "driving")
QUANTITIES_OF: dict[str, tuple[str, ...]] = {
    "landmarks": ("landmarks",),
    "coefficients": ("coefficients_synthetic",),
    "parsing": ("parsing_bisenet", "parsing_synthetic"),
    "matte": ("parsing_bisenet", "parsing_synthetic"),
}
"""PairBatch name without prefix → quantities of ``FaceMeasurer`` it can be read from; the first at hand is taken."""

Supplier = Callable[[Tensor], Tensor]
_FROM: dict[str, Supplier] = {"matte": matte_from_parsing}  # names that are not the quantity itself


class Measures(Protocol):
    """The part of ``FaceMeasurer`` that is used here."""

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, …)."""

    def missing(self, quantity: str) -> str | None:
        """None, or what is needed."""


class Annotator:
    """Estimates annotations of source, driving, driving_reference and extra_sources images.

    Args:
        measurer: answers the quantities of ``QUANTITIES_OF``, and remembers images it has seen.
        supplied: more annotations: name without prefix → function from images (B, 3, H, W) to the annotation (B, …).
            Takes precedence over the measurer.
        quantities: name without prefix → the one quantity to read it from, for methods that want a certain instrument.
    """

    def __init__(
        self,
        measurer: Measures,
        supplied: Mapping[str, Supplier] | None = None,
        quantities: Mapping[str, str] | None = None,
    ) -> None:
        self._measurer = measurer
        self._supplied = dict(supplied or {})
        self._quantities = QUANTITIES_OF | {name: (quantity,) for name, quantity in (quantities or {}).items()}

    def fill(self, batch: PairBatch, requires: frozenset[str]) -> PairBatch:
        """The batch with every required key; keys that are there already are kept, images are never changed.

        Where the batch has a ``driving_reference`` (motion is relative), what is required of the driving frame is
        required of the reference too; where it has ``extra_sources``, what is required of the source is of these.

        Raises:
            InputError: a key nobody can supply (names the weights that would), or one whose image is absent.
        """
        filled = dict(batch)
        if "driving_reference" in batch:
            names = {key.removeprefix("driving_") for key in requires if key.startswith("driving_")}
            requires |= {f"driving_reference_{name}" for name in names if not name.startswith("reference")}
        if "extra_sources" in batch:
            requires |= {
                f"extra_sources_{key.removeprefix('source_')}" for key in requires if key.startswith("source_")
            }
        for key in sorted(requires - batch.keys()):
            filled[key] = self._annotation(key, batch)
        return cast(PairBatch, filled)

    def _annotation(self, key: str, batch: PairBatch) -> Tensor:
        image, name = split_key(key)
        if image not in batch:
            raise InputError(f"'{key}' is required, but the batch has no '{image}' image to estimate it from")
        images = cast(Tensor, batch[image])  # type: ignore[literal-required]
        if images.ndim == 5:  # extra_sources (B, k, 3, H, W)
            return self._estimate(key, name, images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return self._estimate(key, name, images)

    def _estimate(self, key: str, name: str, images: Tensor) -> Tensor:
        if name in self._supplied:
            return self._supplied[name](images)
        if name not in self._quantities:
            known = sorted({*self._quantities, *self._supplied})
            raise InputError(
                f"'{key}' is required, but no instrument estimates '{name}'; estimated: {', '.join(known)}"
            )
        estimate = self._measurer.measure(self._quantity(key, name), images)
        return _FROM[name](estimate) if name in _FROM else estimate

    def _quantity(self, key: str, name: str) -> str:
        """The first quantity whose weights are at hand."""
        needs = []
        for quantity in self._quantities[name]:
            lacking = self._measurer.missing(quantity)
            if lacking is None:
                return quantity
            needs.append(lacking)
        raise InputError(f"'{key}' is required and cannot be estimated: it needs {', or '.join(needs)}")


def split_key(key: str) -> tuple[str, str]:
    """Key of an annotation → its image and its name: driving_reference_landmarks → driving_reference, landmarks.

    Raises:
        InputError: the key is no annotation of an image.
    """
    for image in IMAGES:
        if key.startswith(f"{image}_"):
            return image, key.removeprefix(f"{image}_")
    raise InputError(f"'{key}' is required, but it is no annotation of {', '.join(IMAGES)}")
