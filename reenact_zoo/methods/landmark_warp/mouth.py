"""What shows when a mouth opens that is closed in the source: nothing in the source says, so it is painted.

A dark, reddened hollow with a row of upper teeth below the upper lip, in the source's own light and colours, no matter
what this person's teeth look like. Where the source's mouth is open, its own teeth and tongue are stretched instead.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.landmark_model import Array

UPPER = (60, 61, 62, 63, 64)  # inner lips from corner to corner
LOWER = (60, 67, 66, 65, 64)
GAPS = ((61, 67), (62, 66), (63, 65))  # upper and lower inner lip, opposite one another
STRETCH = 2.0  # the source's own interior serves up to this many times its opening
ONSET_CM, FULL_CM = 0.2, 0.6  # further opening at which the paint begins to show and is opaque
HOLLOW = np.array([0.30, 0.15, 0.15])  # of the skin's colour: little light returns from inside, and it is reddened
TEETH = 1.0  # of the skin's brightness in the middle
TEETH_CM, TEETH_SHARE = 0.75, 0.45  # visible height of the upper teeth: at most this, and this share of the opening


def paint(
    reenacted: Tensor, source: Tensor, source_px: Array, aim_px: Array, source_scale: Array, scale: Array
) -> Tensor:
    """Paint the inside of the inner lips of reenacted (B, 3, H, W), as far as they open beyond the source's.

    Landmarks (B, 68, 2) are in pixels, y down, of the source and of the reenacted image; scales (B,) in px per cm.
    """
    opening = gap(aim_px) / scale - STRETCH * gap(source_px) / source_scale
    strength = np.clip((opening - ONSET_CM) / (FULL_CM - ONSET_CM), 0, 1)
    if not (strength > 0).any():
        return reenacted
    result = reenacted.clone()
    for i in np.flatnonzero(strength > 0):
        skin = skin_colour(source[i], source_px[i])
        left, top, colour, mask = interior(aim_px[i], float(scale[i]), skin, tuple(result.shape[-2:]))
        part = result[i, :, top : top + mask.shape[0], left : left + mask.shape[1]]
        weight = torch.from_numpy(mask * np.float32(strength[i])).to(result)
        part.lerp_(torch.from_numpy(colour).to(result).permute(2, 0, 1), weight)
    return result


def gap(landmarks_px: Array) -> Array:
    """Mean opening of the inner lips (B,) px."""
    upper, lower = (landmarks_px[:, [pair[k] for pair in GAPS]] for k in (0, 1))
    opening: Array = np.linalg.norm(lower - upper, axis=-1).mean(-1)
    return opening


def interior(
    landmarks_px: Array, scale: float, skin: Array, size: tuple[int, ...]
) -> tuple[int, int, NDArray[np.float32], NDArray[np.float32]]:
    """Left and top of a patch, its colours (h, w, 3) and its soft mask (h, w); landmarks (68, 2) px, y down.

    In the frame of the mouth's corners the height between the upper (0) and the lower (1) lip says where teeth end.
    """
    corner, other = landmarks_px[60], landmarks_px[64]
    width = max(float(np.linalg.norm(other - corner)), 1.0)
    along = (other - corner) / width
    axes = np.stack((along, [-along[1], along[0]]))  # rows: along the mouth, down
    upper, lower = ((landmarks_px[list(lip)] - corner) @ axes.T for lip in (UPPER, LOWER))
    x, y, left, top = _patch(landmarks_px[60:68], size)
    if not x.size:  # the mouth lies outside the image
        return left, top, np.zeros((*x.shape, 3), np.float32), np.zeros(x.shape, np.float32)
    across, down = (np.stack((x, y), -1) - corner) @ axes[0], (np.stack((x, y), -1) - corner) @ axes[1]
    ceiling, floor = (np.interp(across, lip[:, 0], lip[:, 1]) for lip in (upper, lower))
    open_px = np.maximum(floor - ceiling, 1e-3)
    feather = max(0.6, 0.06 * float(open_px.max()))
    inside = np.minimum(down - ceiling, floor - down) / feather + 0.5
    inside[(across < 0) | (across > width)] = 0
    teeth_px = np.minimum(TEETH_CM * scale, TEETH_SHARE * open_px)
    middle = 1 - (2 * across / width - 1) ** 2  # 1 in the middle, 0 at the corners, which lie in shadow
    teeth = np.clip((teeth_px - (down - ceiling)) / (2 * feather) + 0.5, 0, 1) * np.clip(2.5 * middle, 0, 1)
    white = TEETH * skin.mean() * np.array([1.04, 1.0, 0.93]) * (0.6 + 0.4 * middle[..., None])
    colour = HOLLOW * skin * (1 - teeth[..., None]) + white * teeth[..., None]
    return left, top, colour.astype(np.float32), np.clip(inside, 0, 1).astype(np.float32)


def _patch(polygon_px: Array, size: tuple[int, ...]) -> tuple[Array, Array, int, int]:
    """Pixel coordinates x, y (h, w) around a polygon within the image, and the patch's left and top."""
    low, high = np.floor(polygon_px.min(0)) - 2, np.ceil(polygon_px.max(0)) + 3
    left, top = (int(np.clip(v, 0, n)) for v, n in zip(low, (size[1], size[0])))
    right, bottom = (int(np.clip(v, 0, n)) for v, n in zip(high, (size[1], size[0])))
    y, x = np.mgrid[top : max(top, bottom), left : max(left, right)].astype(np.float64)
    return x, y, left, top


def skin_colour(image: Tensor, landmarks_px: Array) -> Array:
    """Mean colour (3,) of image (3, H, W) on nose and cheeks, halfway from the nose's wings to the jaw."""
    height, width = image.shape[-2:]
    places = np.concatenate((landmarks_px[27:31], (landmarks_px[[31, 35]] + landmarks_px[[3, 13]]) / 2))
    x, y = np.round(places).astype(np.int64).T
    sampled = image[:, y.clip(0, height - 1), x.clip(0, width - 1)].median(-1).values
    return sampled.double().cpu().numpy()
