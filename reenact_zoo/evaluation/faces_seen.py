"""In which pictures a metric's instruments found a face: a lost face is a result, on whichever side it was lost.

A metric only asks its measurer about pictures. Which answer belongs to which picture of the pair follows from one
rehearsal: the metric is run on flat pictures, each role with a grey of its own, and its questions are noted; later it
asks the same questions in the same order about the real ones.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.types import PairBatch, ReenactmentOutput

FOUND, LOST, REFERENCE_LOST, BOTH_LOST = "found", "lost", "reference lost", "both lost"
_GREYS = {"reenacted": 0.2, "source": 0.3, "driving": 0.4, "target": 0.6, "driving_reference": 0.7}
_TOLERANCE = 1e-3

Asked = tuple[str, str]  # quantity and role


class Watching:
    """A measurer that notes its answers.

    Args:
        measurer: does the measuring.
    """

    def __init__(self, measurer: Any) -> None:
        self._measurer = measurer
        self.answers: list[tuple[str, Tensor, Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._measurer, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"_measurer": self._measurer, "answers": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        """As the measurer's."""
        values = cast(Tensor, self._measurer.measure(quantity, images))
        self.answers.append((quantity, images, values))
        return values


def rehearse(compute: Any, watching: Watching, batch: PairBatch) -> list[Asked] | None:
    """Which questions a metric asks, in order; None where that cannot be told.

    Args:
        compute: the metric's function of a batch and an output.
        watching: its measurer.
        batch: an example; its pictures are replaced.
    """
    entries = cast("dict[str, Any]", batch)
    flat = {key: value[:1] if isinstance(value, Tensor | list) else value for key, value in entries.items()}
    example = batch["source"][:1]
    flat |= {role: torch.full_like(example, grey) for role, grey in _GREYS.items() if role in batch}
    watching.answers.clear()
    try:
        compute(cast(PairBatch, flat), ReenactmentOutput(torch.full_like(example, _GREYS["reenacted"])))
    except Exception:  # a metric may refuse flat pictures; then nothing is said about its faces
        return None
    asked = [(quantity, _role(images)) for quantity, images, _ in watching.answers]
    return None if any(role == "" for _, role in asked) else asked


def _role(images: Tensor) -> str:
    levels = images.flatten()
    near = [role for role, grey in _GREYS.items() if bool((levels - grey).abs().max() < _TOLERANCE)]
    return near[0] if near else ""


def faces(
    watching: Watching, asked: list[Asked] | None, batch: PairBatch, reenacted: Tensor
) -> NDArray[np.object_] | None:
    """What was found, by pair, from the answers of the metric's last run; None where that cannot be told."""
    answers = watching.answers
    if not asked or [quantity for quantity, _, _ in answers] != [quantity for quantity, _ in asked]:
        return None
    lost = torch.zeros(len(reenacted), dtype=torch.bool)
    reference_lost = lost.clone()
    for (quantity, role), (_, _, values) in zip(asked, answers, strict=True):
        unseen = (values <= 0 if quantity == "detected" else values.flatten(1).isnan().any(1)).cpu()
        if role == "reenacted":
            lost |= unseen | ~reenacted.flatten(1).isfinite().all(1)
        else:  # a truth that nobody knows is no face that was lost
            reference_lost |= unseen & cast("dict[str, Tensor]", batch)[role].flatten(1).isfinite().all(1)
    names = np.array([[FOUND, REFERENCE_LOST], [LOST, BOTH_LOST]], dtype=object)
    return cast("NDArray[np.object_]", names[lost.int().numpy(), reference_lost.int().numpy()])
