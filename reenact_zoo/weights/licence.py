"""Which licences a run may use: weights that anybody may use for anything, or also those for research only."""

from __future__ import annotations

import os

from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

LICENCE_VARIABLE = "REENACT_ZOO_LICENCE"
LEVELS = ("permissive", "research")


def licence_level(asked: str | None = None) -> str:
    """``asked``, else $REENACT_ZOO_LICENCE, else "permissive": nothing research-only enters a product unnoticed.

    Raises:
        InputError: neither "permissive" nor "research".
    """
    level = asked or os.environ.get(LICENCE_VARIABLE) or LEVELS[0]
    if level not in LEVELS:
        raise InputError(f"unknown licence level '{level}'; {nearest(level, LEVELS)}; levels: {', '.join(LEVELS)}")
    return level


def allow(level: str) -> None:
    """Set the level for this process and those it starts; what ``--licence`` calls."""
    os.environ[LICENCE_VARIABLE] = licence_level(level)
