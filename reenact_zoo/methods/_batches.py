"""The door of a method: what a batch must hold before a method sees it, and what leaves it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from reenact_zoo.types import InputError, ReenactmentOutput

if TYPE_CHECKING:
    from reenact_zoo.methods.base import ReenactmentModule


def of_source(key: str) -> bool:
    return key in ("source", "extra_sources") or key.startswith(("source_", "extra_sources_"))


def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the batch at the door of ``reenact``, ``encode_source`` or ``drive``, and hand out float32 images."""

    @functools.wraps(function)
    def checked(self: ReenactmentModule[Any], *args: Any, **kwargs: Any) -> Any:
        _check_batch(self, name, kwargs.get("batch", args[-1] if args else {}))
        result = function(self, *args, **kwargs)
        if isinstance(result, ReenactmentOutput):
            result.reenacted = result.reenacted.float()  # autocast may have left bfloat16
        return result

    return checked


def _check_batch(method: ReenactmentModule[Any], part: str, batch: Mapping[str, Any]) -> None:
    wanted = {"source", "driving", *method.requires}
    wanted = {key for key in wanted if part == "reenact" or of_source(key) == (part == "encode_source")}
    missing = sorted(wanted - batch.keys())
    if missing:
        raise InputError(
            f"method '{method.registered_name()}' needs '{missing[0]}' in the batch; "
            "faces.annotate.Annotator.fill(batch, requires) estimates it, or choose a dataset that knows it"
        )
    for key in ("source", "driving"):
        if key in batch and (batch[key].ndim != 4 or batch[key].shape[1] != 3):
            raise InputError(f"'{key}' must have shape (B, 3, H, W), not {tuple(batch[key].shape)}")
