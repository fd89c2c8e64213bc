"""The mesh that carries the face, and the flow around it that keeps the picture's frame in place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.landmark_model import Array, Pose, face_model
from reenact_zoo.ops.warp import delaunay

CENTRE = np.array([0.0, 2.0, 3.0])  # cm, middle of the head region; the face turns about it, hair and outline stay
RADII = np.array([10.0, 13.5])  # cm, half axes of the head region: head with hair
MARGIN = 1.06  # the head region reaches at least this far beyond the outermost face point
RING = 28  # points on the outline of the head region
FADE_FROM, FADE_TO = 0.96, 1.08  # radii, 1 on the outline, between which the background takes over
FEATHER_PX = 4.0  # over which it takes over beyond the source's edge
REACH = 2.0  # the motion fades around the head over this many times its own length
NEAR, HEAD_FADE = 1.25, 0.1  # hair may reach to NEAR; how far inward of its own radius a pixel may come from the source
FACING_LIMIT, FACING_FADE = 0.40, 0.30  # cosine to the viewer below which, and over which, the mirrored half is taken
FACING_GAIN = 0.15  # least advantage of the other half; a nearly frontal source needs none of it
RING_NEARNESS = -4.0  # cm; face triangles lie in front of those that end on the outline

LOWER_LIP_AND_JAW = (*range(4, 13), *range(55, 60), *range(65, 68))


@dataclass(frozen=True)
class HeadRegion:
    """Ellipse around the head: centre (B, 2) px y down, half axes (B, 2) px, roll (B,) rad clockwise on the screen."""

    centre: Array
    radii: Array
    roll: Array

    @classmethod
    def of(cls, pose: Pose, growth: Array) -> HeadRegion:
        """Region of a posed head, ``growth`` (B,) times its normal size; ``pose`` has y up."""
        centre, _ = pose.project(np.broadcast_to(CENTRE, (len(pose.scale), 1, 3)))
        return cls(centre[:, 0] * [1, -1], (growth * pose.scale)[:, None] * RADII, -pose.roll)

    def radius(self, points: Array) -> Array:
        """Points (B, N, 2) px → distance from the centre (B, N); 1 on the outline."""
        return np.linalg.norm(_turn(points - self.centre[:, None], -self.roll) / self.radii[:, None], axis=-1)

    def ring(self) -> Array:
        """(B, RING, 2) points on the outline, clockwise on the screen."""
        angles = 2 * np.pi * np.arange(RING) / RING
        circle = np.stack((np.cos(angles), np.sin(angles)), -1)
        return _turn(circle * self.radii[:, None], self.roll) + self.centre[:, None]

    def ellipses(self) -> Array:
        """(B, 6): the centre, and the rows of the matrix that turns offsets from it into units of the outline."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        a, b = self.radii.T
        return np.stack((*self.centre.T, c / a, s / a, -s / b, c / b), -1)

    def to(self, other: HeadRegion) -> Array:
        """Similarities (B, 2, 3) px that lead from this region to another."""
        scale = (other.radii / self.radii).mean(-1)
        angle = other.roll - self.roll
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.stack((np.stack((c, -s), -1), np.stack((s, c), -1)), -2)
        shift = other.centre - (linear @ self.centre[..., None])[..., 0]
        return np.concatenate((linear, shift[..., None]), -1)


def common_growth(source: Pose, target: Pose, source_px: Array, target_px: Array) -> Array:
    """Smallest growth (B,) of the head region, at least 1, that takes in all face points of both images."""
    one = np.ones(len(source_px))
    reach = [HeadRegion.of(pose, one).radius(px).max(-1) for pose, px in ((source, source_px), (target, target_px))]
    return np.maximum(1, MARGIN * np.maximum(*reach))


@cache
def triangles() -> NDArray[np.int64]:
    """(F, 3) over face points, then ring points, turning clockwise on the screen; the same for every face.

    Triangulated on the frontal mean face with its mouth opened, so that no triangle joins the lips across the mouth.
    """
    flat = face_model().mean[:, :2] * [1, -1]
    lowered = [*LOWER_LIP_AND_JAW, *(i for i in range(68, len(flat)) if flat[i, 1] > 4.5)]
    flat[lowered, 1] += 2.0
    rest = HeadRegion(CENTRE[None, :2] * [1, -1], RADII[None], np.zeros(1))
    return delaunay(np.concatenate((flat, rest.ring()[0])))


@cache
def mirrored() -> NDArray[np.int64]:
    """(N,) for every mesh point (face, then ring) the one at its place in a mirror."""
    mean = face_model().mean
    distance = np.linalg.norm(mean[:, None] * [-1, 1, 1] - mean, axis=-1)
    ring = len(mean) + (RING // 2 - np.arange(RING)) % RING
    return np.concatenate((distance.argmin(-1), ring))


@cache
def normals() -> Array:
    """(P, 3) outward unit normals of the mean face at its points, area-weighted over the mesh."""
    mean = face_model().mean
    faces = triangles()
    faces = faces[(faces < len(mean)).all(1)]
    a, b, c = (mean[faces[:, k]] for k in range(3))
    across = np.cross(c - a, b - a)  # the triangles turn clockwise on the screen
    total = np.zeros_like(mean)
    for k in range(3):
        np.add.at(total, faces[:, k], across)
    return total / np.linalg.norm(total, axis=-1, keepdims=True)


def mirrored_share(source: Pose, target: Pose) -> Array:
    """(B, N) in [0, 1]: how far each mesh point is to be taken from the other half of the source's face.

    Above 0 where the source turns a point away, the target turns it to the viewer, and the source shows the other half
    better. Only jaw, cheeks, temples and brows: gaze, nostrils and a crooked mouth must not be mirrored.
    """
    before, after = ((pose.rotation[:, 2:] @ normals().T)[:, 0] for pose in (source, target))
    other = before[:, mirrored()[: before.shape[1]]]
    weight = np.clip((FACING_LIMIT - before) / FACING_FADE, 0, 1)
    for advantage in (other - before, after - before):
        weight *= np.clip((advantage - FACING_GAIN) / FACING_FADE, 0, 1)
    weight[:, 27:68] = 0
    return np.concatenate((weight, np.zeros((len(weight), RING))), 1)


def surroundings(
    region: HeadRegion, source: HeadRegion, size: tuple[int, int], source_size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where every pixel around the face comes from.

    Inside the target's head region the head's similarity; outside, the motion of the nearest outline point fades over
    a band, and towards the left, right and upper edge of the image, which stay where they are. The lower edge may slide
    sideways, for the shoulders follow the head.

    Returns:
        Flow (B, H, W, 2), normalised, and the weight (B, H, W) in [0, 1] of the background guessed behind the head:
        above 0 outside the head where the flow leaves the source image or meets the source's head.
    """
    flow = np.empty((len(region.centre), *size, 2), np.float32)
    behind = np.empty((len(region.centre), *size), np.float32)
    back = region.to(source)
    target, origin = region.ellipses(), source.ellipses()
    for i in range(len(flow)):
        _surround(flow[i], behind[i], target[i], origin[i], back[i], source_size[0], source_size[1])
    return flow, behind


@numba.njit(cache=True, nogil=True, fastmath=True)
def _surround(
    flow: NDArray[np.float32],
    behind: NDArray[np.float32],
    target: Array,
    source: Array,
    back: Array,
    source_height: int,
    source_width: int,
) -> None:
    """``target`` and ``source`` as from ``HeadRegion.ellipses``, ``back`` (2, 3) px."""
    height, width = behind.shape
    for y in range(height):
        for x in range(width):
            radius = _ellipse_radius(target, x, y)
            shrink = 1 / max(radius, 1.0)
            dx, dy = x - target[0], y - target[1]
            px, py = target[0] + dx * shrink, target[1] + dy * shrink
            move_x = back[0, 0] * px + back[0, 1] * py + back[0, 2] - px
            move_y = back[1, 0] * px + back[1, 1] * py + back[1, 2] - py
            away = (1 - shrink) * np.sqrt(dx * dx + dy * dy)
            # wide enough not to fold (slope at most 1.5 / REACH), and wider below, where shoulders should not break off
            reach = REACH * np.sqrt(move_x * move_x + move_y * move_y) + FEATHER_PX + max(0.0, py - target[1])
            rest = max(1 - away / reach, 0.0)
            rest = rest * rest * (3 - 2 * rest)
            side = max(min(x + 0.5, width - 0.5 - x, y + 0.5), 1e-3)
            edge = max(min(side, height - 0.5 - y), 1e-3)
            from_x = x + move_x * rest * side / (side + away)
            from_y = y + move_y * rest * edge / (edge + away)
            flow[y, x, 0] = (2 * from_x + 1) / source_width - 1
            flow[y, x, 1] = (2 * from_y + 1) / source_height - 1
            weight = 0.0
            if radius > FADE_FROM:
                beyond = max(-0.5 - from_x, from_x - source_width + 0.5, -0.5 - from_y) / FEATHER_PX
                if radius > 1 and dy < 0:  # beside and above the target's head should not be the source's
                    beyond = max(
                        beyond,
                        (min(radius, NEAR) - HEAD_FADE / 2 - _ellipse_radius(source, from_x, from_y)) / HEAD_FADE,
                    )
                weight = min(max(beyond, 0.0), 1.0) * min((radius - FADE_FROM) / (FADE_TO - FADE_FROM), 1.0)
            behind[y, x] = weight


@numba.njit(cache=True, nogil=True, fastmath=True)
def _ellipse_radius(ellipse: Array, x: float, y: float) -> float:
    dx, dy = x - ellipse[0], y - ellipse[1]
    along, down = ellipse[2] * dx + ellipse[3] * dy, ellipse[4] * dx + ellipse[5] * dy
    return float(np.sqrt(along * along + down * down))


def _turn(points: Array, angle: Array) -> Array:
    """Rotate points (B, N, 2) or (N, 2) by angles (B,), from +x to +y."""
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack((c * x - s * y, s * x + c * y), -1)
