"""The traditional warp: every part of the source's face is put where the driving one has it; and the fixed fusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.methods.one_shot.geometry import blanked, stand_ins, warp_to
from reenact_zoo.methods.one_shot.regions import CHANNELS, REFERENCE_PX, region_maps
from reenact_zoo.methods.one_shot.schemes import PARTS, scheme_named
from reenact_zoo.ops.coordinates import normalised_to_pixel, pixel_to_normalised
from reenact_zoo.ops.warp import Padding, similarity, transform_points

RATIO = 0.1  # share of the generated image left inside the mask
ERODE_PX, BLUR_PX, BLUR_SIGMA = 7, 7, 7**0.5  # of the skin mask, at REFERENCE_PX
NOT_SKIN = tuple(CHANNELS.index(name) for name in ("eyes", "gaze", "nose", "upper_lip", "lower_lip", "teeth"))


def warp_parts(
    images: Tensor,
    source_landmarks: Tensor,
    driving_landmarks: Tensor,
    scheme: str = "68",
    border: Padding = "border",
) -> tuple[Tensor, Tensor]:
    """Warp the whole face so that brows, eyes, nose and lips each lie on the driving ones.

    Each part moves by its own least-squares similarity, so it keeps its shape; the contour becomes the driving one; the
    picture between follows the Delaunay triangles, and its corners stay where they are.

    Args:
        images: (B, 3, H, W) sources.
        source_landmarks: (B, N, 2) normalised.
        driving_landmarks: (B, N, 2) normalised.
        scheme: key of ``schemes.SCHEMES``.
        border: what lies outside of the source.

    Returns:
        R (B, 3, H, W) and its landmarks (B, N, 2); NaN for samples that are not ``geometry.usable``. No gradient.
    """
    found, source, driving = stand_ins(images, source_landmarks, driving_landmarks, scheme)
    points = moved_parts(source, driving, (images.shape[-2], images.shape[-1]), scheme)
    return blanked(warp_to(images, source, points, border=border), found), blanked(points, found)


def moved_parts(source: Tensor, driving: Tensor, size: tuple[int, int], scheme: str = "68") -> Tensor:
    """Source landmarks (B, N, 2) with every part moved onto the driving ones; points of no part follow the face."""
    layout = scheme_named(scheme)
    source_px, driving_px = normalised_to_pixel(source, *size), normalised_to_pixel(driving, *size)
    inner, contour = list(layout.inner()), list(layout.curves["contour"])
    moved = transform_points(similarity(source_px[:, inner], driving_px[:, inner]), source_px)
    for name in PARTS:
        index = list(layout.part(name))
        matrix = similarity(source_px[:, index], driving_px[:, index])
        moved[:, index] = transform_points(matrix, source_px[:, index])
    moved[:, contour] = driving_px[:, contour]
    return pixel_to_normalised(moved, *size)


def fixed_mask(parts_landmarks: Tensor, driving_landmarks: Tensor, size: tuple[int, int], scheme: str = "68") -> Tensor:
    """Where skin and brows are in R and in the generated image: (B, 1, H, W) in [0, 1], smooth, inside both faces."""
    return skin(region_maps(parts_landmarks, size, scheme)) * skin(region_maps(driving_landmarks, size, scheme))


def skin(maps: Tensor) -> Tensor:
    """Region maps (B, 9, H, W) → skin with brows (B, 1, H, W): the face less eyes, nose and mouth, eroded, blurred."""
    mask = (maps[:, :1] - maps[:, list(NOT_SKIN)].amax(1, keepdim=True)).clamp(min=0)
    scale = maps.shape[-2] / REFERENCE_PX
    side = max(1, round(ERODE_PX * scale) // 2)
    mask = -F.max_pool2d(-mask, 2 * side + 1, stride=1, padding=side)
    place = torch.arange(-side, side + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-((place / (BLUR_SIGMA * scale)) ** 2) / 2)
    kernel = kernel / kernel.sum()
    mask = F.pad(mask, (side,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(mask, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)).clamp(0, 1)


def fixed_fusion(
    generated: Tensor,
    warped: Tensor,
    parts_landmarks: Tensor,
    driving_landmarks: Tensor,
    scheme: str = "68",
    ratio: float = RATIO,
) -> tuple[Tensor, Tensor]:
    """The released code's blend: inside the skin mask m almost all of R, elsewhere G.

    Args:
        generated: G (B, 3, H, W).
        warped: R (B, 3, H, W) of ``warp_parts``.
        parts_landmarks: (B, N, 2) of ``warp_parts``.
        driving_landmarks: (B, N, 2).
        scheme: key of ``schemes.SCHEMES``.
        ratio: share of G inside the mask.

    Returns:
        G (1 - m) + m (ratio G + (1 - ratio) R), and m (B, 1, H, W); NaN rows stay NaN.
    """
    size = (generated.shape[-2], generated.shape[-1])
    mask = fixed_mask(parts_landmarks, driving_landmarks, size, scheme).to(generated.dtype)
    return torch.lerp(generated, warped, mask * (1 - ratio)), mask
