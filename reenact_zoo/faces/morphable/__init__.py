"""Head models by name, imported only when asked for."""

from __future__ import annotations

from typing import Any

from reenact_zoo.faces.morphable.base import CoefficientLayout, HeadModel, Region
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

HEADS = ("flame", "ict", "ict_reduced", "procedural", "procedural_reduced")

__all__ = ["HEADS", "CoefficientLayout", "HeadModel", "Region", "load_head"]


def load_head(name: str, **options: Any) -> HeadModel:
    """Head model ``name`` (one of ``HEADS``); ``options`` go to its constructor (``flame`` and ``ict`` take paths).

    Raises:
        InputError: unknown name, or a file the model needs is missing.
    """
    if name == "procedural":
        from reenact_zoo.faces.morphable.procedural import ProceduralHead

        return ProceduralHead(**options)
    if name == "ict":
        from reenact_zoo.faces.morphable.ict import IctHead

        return IctHead(**options)
    if name == "flame":
        from reenact_zoo.faces.morphable.flame import FlameHead

        return FlameHead(**options)
    if name in HEADS:
        from reenact_zoo.faces.morphable._dense import DenseHead
        from reenact_zoo.faces.morphable.reduced import ReducedHead

        full = load_head(name.removesuffix("_reduced"), **options)
        assert isinstance(full, DenseHead)
        return ReducedHead(full)
    raise InputError(f"unknown head model '{name}'; {nearest(name, HEADS)}")
