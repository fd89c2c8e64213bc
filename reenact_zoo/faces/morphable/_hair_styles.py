"""Hair styles as numbers: where the locks start, how far they lie off the skull, how far they hang."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """Lengths in cm; pairs are (smallest, largest) size.

    Attributes:
        share: frequency over people.
        parting_deg: azimuth of the parting at the forehead (locks start along it and fall to its sides); None for locks
            that start at one place, the whorl.
        whorl_deg: elevation of that place at the back, or of the parting's rear end.
        crown, front, side, back: height of the hair over the skull in each direction.
        hang: how far locks hang below the hairline.
        face_deg: azimuth left free for the face by hair that hangs or is combed to the sides.
        fringe: how far the front falls below the hairline, cm.
        lock: relief of single locks; curl: relief in all directions.
        knot: size of the knot or tail at the whorl; tail: its length.
    """

    name: str
    share: float
    parting_deg: float | None = None
    whorl_deg: float = 62.0
    crown: tuple[float, float] = (0.6, 1.2)
    front: tuple[float, float] = (0.6, 1.2)
    side: tuple[float, float] = (0.4, 0.8)
    back: tuple[float, float] = (0.5, 1.0)
    hang: tuple[float, float] = (0.0, 0.0)
    face_deg: float = 0.0
    fringe: tuple[float, float] = (0.0, 0.0)
    lock: float = 0.12
    curl: float = 0.0
    knot: float = 0.0
    tail: tuple[float, float] = (0.0, 0.0)


# Ordered from the longest over short hair to none: the order of the quantiles of "hair_style".
STYLES = (
    Style("long_middle", 0.08, 4.0, 55, (1.0, 1.9), (0.7, 1.4), (0.8, 1.6), (0.9, 1.8), (10, 15), 66, lock=0.30),
    Style("long_side", 0.08, 26.0, 55, (1.1, 2.0), (0.9, 1.7), (0.8, 1.6), (0.9, 1.8), (10, 15), 64, lock=0.30),
    Style(
        "long_curly", 0.05, -18.0, 55, (1.5, 2.6), (1.0, 2.0), (1.6, 2.8), (1.5, 2.8), (8, 13), 64, lock=0.2, curl=0.55
    ),
    Style("bob", 0.06, -22.0, 55, (1.1, 1.9), (0.9, 1.5), (1.0, 1.9), (1.1, 2.0), (4.5, 7.5), 60, lock=0.22),
    Style(
        "bob_fringe", 0.04, None, 66, (1.1, 1.8), (0.9, 1.3), (1.0, 1.8), (1.1, 2.0), (4.5, 8.0), 58, (2.4, 3.4), 0.22
    ),
    Style("bun", 0.06, None, 56, (0.35, 0.7), (0.3, 0.6), (0.25, 0.5), (0.3, 0.5), lock=0.10, knot=3.0),
    Style("tail", 0.05, None, 22, (0.4, 0.8), (0.35, 0.7), (0.25, 0.5), (0.3, 0.5), lock=0.12, knot=1.9, tail=(10, 16)),
    Style("afro", 0.06, None, 66, (2.2, 5.2), (1.6, 4.0), (1.6, 4.6), (1.8, 4.8), lock=0.03, curl=0.5),
    Style("side_left", 0.10, 30.0, 62, (1.3, 2.2), (1.6, 2.8), (0.4, 0.9), (0.5, 1.0), face_deg=46, lock=0.28),
    Style("side_right", 0.07, -30.0, 62, (1.3, 2.2), (1.6, 2.8), (0.4, 0.9), (0.5, 1.0), face_deg=46, lock=0.28),
    Style("swept_up", 0.08, None, 55, (1.2, 2.2), (1.8, 3.2), (0.3, 0.7), (0.4, 0.8), lock=0.30),
    Style("fringe", 0.05, None, 66, (1.2, 1.9), (0.9, 1.4), (0.7, 1.1), (0.7, 1.2), fringe=(0.8, 2.0), lock=0.26),
    Style("short_curly", 0.06, None, 66, (1.1, 2.0), (1.1, 2.0), (0.5, 1.0), (0.6, 1.1), lock=0.03, curl=0.4),
    Style("cropped", 0.10, None, 64, (0.5, 1.0), (0.5, 1.1), (0.2, 0.4), (0.25, 0.5), lock=0.10, curl=0.08),
    Style("shaven", 0.06),
)
LONG = tuple(i for i, style in enumerate(STYLES) if style.hang[1] > 0 or style.knot > 0)
"""Numbers of the styles that seldom go with a beard."""
