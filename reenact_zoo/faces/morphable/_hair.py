"""Hair as a surface of locks: columns run along the hair from parting or whorl to the tips, rows go across.

Texture and relief follow the columns, so streaks, grooves and tips all run in the direction of the hair. The surface
ends in the skin at the hairline, or hangs. It has an inner side too, since hair that hangs is seen from the front
behind the neck. A small second grid makes a knot or a tail.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._atlas import value_noise
from reenact_zoo.faces.morphable._hair_styles import STYLES, Style
from reenact_zoo.faces.morphable._masks import step
from reenact_zoo.faces.morphable._skull import Skull, angles, direction, slerp
from reenact_zoo.faces.morphable._wardrobe import Part, bind, grid_triangles
from reenact_zoo.faces.morphable.base import Region

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS, ROWS = 121, 18  # locks across, points along; all have an inner side too
KNOT_ROWS, KNOT_COLUMNS = 11, 16
ON_SKULL = 0.58  # share of the rows above the hairline where hair hangs
# Hanging hair: height over the root of the nose, and how far (cm) it keeps from the skull's axis sideways and backwards
DROP = np.array([4.0, -1.5, -7.0, -12.0, -17.0])
WIDE, DEEP = np.array([8.6, 9.9, 9.5, 8.9, 9.6]), np.array([9.6, 9.6, 8.8, 8.4, 9.6])


def hair(skull: Skull, body: Array, usable: Ints, landmarks: Array, cell: tuple[float, float, float, float]) -> Part:
    """All styles of ``STYLES`` on a head; ``usable`` are the body vertices hair may be bound to."""
    pairs = [[_style(style, skull, landmarks, k) for style in STYLES] for k in (0, 1)]
    low, high = np.array(pairs[0]), np.array(pairs[1])
    middle = 0.5 * (low + high)
    anchors, weights = bind(middle, body, usable)
    surface = grid_triangles(ROWS, COLUMNS)
    inner = grid_triangles(ROWS, COLUMNS)[:, ::-1] + ROWS * COLUMNS
    knot = grid_triangles(KNOT_ROWS, KNOT_COLUMNS) + 2 * ROWS * COLUMNS
    uv = _uv(ROWS, COLUMNS, 2.0)
    uv = np.concatenate([uv, uv, _uv(KNOT_ROWS, KNOT_COLUMNS, 1.0)])
    return Part(
        name="hair",
        low=low,
        high=high,
        shares=[style.share for style in STYLES],
        worn=[style.name != "shaven" for style in STYLES],
        anchors=anchors,
        weights=weights,
        bones=_bones(middle, landmarks),
        follows_expression=False,
        triangles=np.concatenate([surface, inner, knot]),
        uv=uv * (0.94 * cell[2], 0.94 * cell[3]) + (cell[0] + 0.03 * cell[2], cell[1] + 0.03 * cell[3]),
        region=Region.HAIR,
    )


def _uv(rows: int, columns: int, repeats: float) -> Array:
    """Across the locks the texture runs to and fro, so that it needs no seam; v runs from the roots to the tips."""
    across = 0.4 + repeats * np.linspace(0, 1, columns)
    v, u = np.meshgrid(np.linspace(0, 1, rows), 1 - np.abs(1 - across % 2.0), indexing="ij")
    return np.stack([u.ravel(), v.ravel()], axis=1)


def _bones(points: Array, landmarks: Array) -> Array:
    """Hair turns with the head; below the chin it lags behind with the neck and, a little, with the shoulders."""
    drop = (landmarks[8, 1] + 2.0 - points[..., 1]) / 10.0
    lag = step(drop, 0.0, 1.0)
    return np.stack([0.15 * lag, 0.45 * lag, 1 - 0.60 * lag], axis=-1)


def _style(style: Style, skull: Skull, landmarks: Array, size: int) -> Array:
    """(N, 3) cm of one size, 0 the smallest or 1 the largest."""
    along, turn = np.meshgrid(np.linspace(0, 1, ROWS), _turns(style), indexing="ij")
    on_skull = ON_SKULL if style.hang[size] > 0 else 1.0
    t = np.clip(along / on_skull, 0, 1)
    d, edge = _flow(style, skull, turn, t, size)
    shell = skull.point(d, _height(style, d, t, edge, size) * _relief(style, turn, along, size))
    if style.curl:
        shell += d * (style.curl * _curls(shell))[..., None]
    if style.hang[size] > 0:
        shell = _clear_ears(_hang(style, shell, skull, landmarks, turn, along, size), skull)
    inside = shell.copy()
    away = inside - np.array([0, 0, skull.centre[2]])
    away[..., 1] = 0
    inside -= 0.35 * away / np.linalg.norm(away, axis=-1, keepdims=True)
    return np.concatenate([shell.reshape(-1, 3), inside.reshape(-1, 3), _knot(style, skull, size)])


def _turns(style: Style) -> Array:
    """Azimuth of each column, from one side of the parting all around to its other side."""
    start = np.radians(style.parting_deg) if style.parting_deg is not None else np.pi
    return start + np.linspace(0, 2 * np.pi, COLUMNS)


def _flow(style: Style, skull: Skull, turn: Array, t: Array, size: int) -> tuple[Array, Array]:
    """Direction (…, 3) of every point on the skull, and how near (…,) to the face's edge its column runs."""
    rear = direction(np.array(np.pi), np.radians(style.whorl_deg))
    end = turn
    if style.face_deg:
        free = np.radians(style.face_deg)
        if style.parting_deg is not None:  # the first half of the columns falls to the parting's +x side
            side = np.where(turn - turn[0, 0] < np.pi, 1.0, -1.0)
            share = np.minimum(turn - turn[0, 0], 2 * np.pi - (turn - turn[0, 0])) / np.pi
            end = side * (free + (np.pi - free) * share**1.15)
    start = np.broadcast_to(rear, (*turn.shape, 3))
    edge = np.zeros_like(turn)
    if style.parting_deg is not None:
        share = np.minimum(turn - turn[0, 0], 2 * np.pi - (turn - turn[0, 0])) / np.pi
        azimuth = np.array(np.radians(style.parting_deg))
        front = direction(azimuth, skull.hairline_at(azimuth) + 0.06)
        start = slerp(np.broadcast_to(front, start.shape), start, np.clip(1.25 * share, 0, 1) ** 0.8)
        edge = np.exp(-((share / 0.16) ** 2))
    lowest = skull.hairline_at(end) - 0.04
    if style.fringe[size]:
        front_share = step(np.abs((end + np.pi) % (2 * np.pi) - np.pi), 1.05, 0.6)
        lowest = lowest - front_share * style.fringe[size] / 11.0
    ragged = (0.030 + 0.03 * (style.fringe[size] > 0)) * value_noise(
        np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=-1) * 3.0, 0.35, 41
    )
    d = slerp(start, direction(end, lowest + ragged), t)
    azimuth, elevation = angles(d)
    line = skull.hairline_at(azimuth)
    wanted = np.minimum(elevation, line + 0.03) if style.parting_deg is not None else elevation
    elevation = elevation + (wanted - elevation) * edge * np.sin(np.pi * t) ** 0.5
    return direction(azimuth, elevation), edge


def _height(style: Style, d: Array, t: Array, edge: Array, size: int) -> Array:
    """(…,) cm over the skull."""
    front, back = np.clip(d[..., 2], 0, 1) ** 2, np.clip(-d[..., 2], 0, 1) ** 2
    side, up = d[..., 0] ** 2, np.clip(d[..., 1], 0, 1) ** 2
    low = 1 - up
    total = up + low * (front + back + side) / np.maximum(front + back + side, 1e-6)
    share = [up, low * front, low * side, low * back]
    height = sum(s * h[size] for s, h in zip(share, (style.crown, style.front, style.side, style.back))) / total
    root = 0.55 + 0.45 * step(t, 0.0, 0.25) if style.parting_deg is not None else 1.0
    hangs = style.hang[size] > 0
    free = step(np.abs(angles(d)[0]), 1.05, 0.6) if style.fringe[size] else 0.0
    tip = 1.0 if hangs else 1 - (1 - 0.35 * free) * step(t, 0.80, 1.0) * (1.0 + 0.2 / np.maximum(height, 0.2))
    return height * root * tip * (1 - 1.15 * edge**24) - 0.05 * edge**24  # the sheet's free edge closes on the skin


def _relief(style: Style, turn: Array, along: Array, size: int) -> Array:
    """Factor (…,) that carves locks: grooves along the columns that wander a little and deepen towards the tips."""
    around = np.stack([np.cos(turn), np.sin(turn), 0.35 * along], axis=-1)
    wander = 0.04 * value_noise(around + np.array([0, 0, 3]), 0.5, 29)[..., None]
    coarse = value_noise((around + wander) * 4.0, 0.55, 31)
    fine = value_noise((around + wander) * 9.0, 0.5, 37)
    return 1 + style.lock * np.minimum(3.0 * along, 0.5 + along) * (coarse + 0.7 * fine)


def _curls(p: Array) -> Array:
    return value_noise(p, 1.7, 3) + 0.7 * value_noise(p, 0.9, 5)


def _hang(style: Style, shell: Array, skull: Skull, landmarks: Array, turn: Array, along: Array, size: int) -> Array:
    """Below the hairline locks fall around ears, jaw and neck to the shoulders."""
    last = int(ON_SKULL * (ROWS - 1))
    result, anchor = shell.copy(), shell[last]
    axis = np.array([0.0, 0.0, skull.centre[2]])
    azimuth = np.arctan2(anchor[:, 0], anchor[:, 2] - axis[2])
    around = np.stack([np.cos(turn[0]), np.sin(turn[0]), 0 * turn[0]], axis=-1) * 5.0
    length = style.hang[size] + 1.1 * value_noise(around, 0.6, 43) + 0.5 * value_noise(around, 0.2, 47)
    bottom = landmarks[8, 1] + 4.5 - length if style.hang[size] > 8 else landmarks[8, 1] + 4.0 - length
    fringe = style.fringe[size] > 0
    if fringe:  # the front ends on the forehead
        stay = step(np.abs(azimuth), np.radians(style.face_deg) + 0.10, np.radians(style.face_deg) - 0.05)
        bottom = bottom * (1 - stay) + (anchor[:, 1] - 0.15) * stay
    volume = 0.5 * (style.side[size] - 1.0)
    ends = np.minimum(np.arange(COLUMNS), np.arange(COLUMNS)[::-1])
    tucked = 1.3 * np.exp(-((ends / 2.5) ** 2)) * (style.parting_deg is not None)
    for row in range(last + 1, ROWS):
        t = (row - last) / (ROWS - 1 - last)
        y = anchor[:, 1] + (bottom - anchor[:, 1]) * t
        height = y - landmarks[27, 1]
        wide, deep = (np.interp(-height, -DROP, table) + volume - tucked for table in (WIDE, DEEP))
        s, c = np.sin(azimuth), np.cos(azimuth)
        ahead = np.where(c > 0, wide * 0.95, deep)
        target = np.stack([wide * s, y, axis[2] + ahead * c], axis=-1)
        fall = np.stack([anchor[:, 0], y, anchor[:, 2]], axis=-1)
        wave = 0.22 * style.lock / 0.3 * np.sin(5 * t + 6 * value_noise(around, 0.8, 53))
        grooves = 0.45 * style.lock * value_noise(around + np.array([0, 0, 0.4 * t]), 0.28, 59) * (0.5 + t)
        outward = np.stack([s, 0 * s, c], axis=-1)
        place = fall + (target - fall) * step(np.asarray(t), 0.0, 0.45)
        if fringe:
            place = (
                place * (1 - stay[:, None])
                + (anchor + outward * 0.05 * t + (0, -1, 0) * np.array(0.2 * t)) * stay[:, None]
            )
        place += outward * (wave + grooves)[:, None]
        if style.curl:
            place += outward * (style.curl * _curls(place))[:, None]
        result[row] = place
    return result


def _clear_ears(points: Array, skull: Skull) -> Array:
    """Push hair sideways out of what surrounds the ears."""
    x, y, z = np.moveaxis(points - skull.centre, -1, 0)
    inside = np.clip(1 - ((y + 3.4) / 5.6) ** 2 - ((z - 0.0) / 4.0) ** 2, 0, 1)
    least = np.where(np.abs(x) > 5.0, 7.5 + 2.7 * np.sqrt(inside), 0.0) * (inside > 0)
    result = points.copy()
    result[..., 0] = np.sign(x) * np.maximum(np.abs(x), least)
    return result


def _knot(style: Style, skull: Skull, size: int) -> Array:
    """A ball of hair at the whorl, drawn out downwards to a tail where there is one; a point in the head without."""
    t, turn = np.meshgrid(np.linspace(0, 1, KNOT_ROWS), np.linspace(0, 2 * np.pi, KNOT_COLUMNS), indexing="ij")
    if not style.knot:
        return np.broadcast_to(skull.centre, (t.size, 3)).copy()
    d = direction(np.array(np.pi), np.radians(style.whorl_deg))
    side = np.array([1.0, 0.0, 0.0])
    up = np.cross(side, d) * -1.0
    radius = style.knot * (0.8 + 0.3 * size)
    swirl = turn + 2.5 * t
    bumps = 1 + 0.10 * value_noise(np.stack([np.cos(swirl), np.sin(swirl), 0.3 * t], -1) * 3, 0.6, 61)
    if style.tail[size]:
        centre = skull.point(d, 0.4)
        length = style.tail[size]
        y = -length * t**1.3 * step(t, 0.0, 0.2)
        out = radius * np.sin(np.pi * np.clip(t * 0.94 + 0.04, 0, 1)) ** 0.55 * bumps
        back = 2.6 * np.sin(np.pi * np.minimum(t * 1.1, 1)) + 0.6
        spine = centre + np.stack([0 * t, y, -back], axis=-1)
        ring = np.stack([out * np.cos(turn), 0 * t, -out * np.sin(turn)], axis=-1)
        return (spine + ring)[:, ::-1].reshape(-1, 3)
    centre = skull.point(d, 0.45 * radius)
    around = np.sin(np.pi * t)[..., None] * (np.cos(turn)[..., None] * side + np.sin(turn)[..., None] * up)
    ball = around + np.cos(np.pi * t)[..., None] * d
    return (centre + radius * bumps[..., None] * ball).reshape(-1, 3)
