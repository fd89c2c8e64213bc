"""Alignment of the source with the driving face: similarity of the inner points, then adaptation of the contour."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.methods.one_shot.schemes import scheme_named
from reenact_zoo.ops.coordinates import normalised_to_pixel, pixel_to_normalised
from reenact_zoo.ops.warp import Padding, piecewise_affine_grid, similarity, transform_points, warp
from reenact_zoo.types import InputError

CORNERS = ((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0))
MIN_SPREAD = 0.02  # standard deviation across the landmarks' main direction, in half image sizes
MIN_FLATNESS = 0.1  # and as a share of that along it
MIN_INSIDE = 0.25  # share of the landmarks inside the image

__all__ = ["align_source", "inverse", "similarity", "usable", "warp_to"]


def usable(landmarks: Tensor) -> Tensor:
    """Which samples' landmarks (B, N, 2) can be warped: finite, spanning an area, and not all outside the image.

    Returns:
        (B,) bool.
    """
    finite = landmarks.isfinite().all(-1).all(-1)
    points = landmarks.detach().float().masked_fill(~finite[:, None, None], 0.0)
    centred = points - points.mean(1, keepdim=True)
    a, d = centred.square().mean(1).unbind(-1)
    b = centred.prod(-1).mean(1)
    middle, radius = (a + d) / 2, (((a - d) / 2).square() + b.square()).sqrt()  # eigenvalues of the covariance
    wide, narrow = (middle + radius).sqrt(), (middle - radius).clamp(min=0).sqrt()
    inside = (points.abs() <= 1).all(-1).float().mean(1) >= MIN_INSIDE
    return finite & inside & (narrow >= MIN_SPREAD) & (narrow >= MIN_FLATNESS * wide)


def align_source(
    images: Tensor,
    source_landmarks: Tensor,
    driving_landmarks: Tensor,
    scheme: str = "68",
    border: Padding = "border",
    official: bool = False,
) -> tuple[Tensor, Tensor]:
    """Bring the source's face onto the driving one: position, size, roll and contour.

    All points but the contour follow one similarity transform, which takes them onto the driving ones in the
    least-squares sense; the contour's points go to the driving contour; the picture around follows the Delaunay
    triangles of these points and the picture's corners. Sampled once, bilinearly.

    Args:
        images: (B, 3, H, W).
        source_landmarks: (B, N, 2) normalised.
        driving_landmarks: (B, N, 2) normalised.
        scheme: key of ``schemes.SCHEMES``.
        border: what lies outside of the source.
        official: the authors' released form instead: two samplings, grey (155) border, whole-pixel triangles.

    Returns:
        Aligned images (B, 3, H, W) and landmarks (B, N, 2); NaN for samples that are not ``usable``. No gradient.
    """
    found, source, driving = stand_ins(images, source_landmarks, driving_landmarks, scheme)
    size = (images.shape[-2], images.shape[-1])
    if official:
        from reenact_zoo.methods.one_shot.official_raster import align_batch

        aligned, points = align_batch(images, source, driving, scheme)
        return blanked(aligned, found), blanked(points, found)
    layout = scheme_named(scheme)
    inner, contour = list(layout.inner()), list(layout.curves["contour"])
    source_px, driving_px = normalised_to_pixel(source, *size), normalised_to_pixel(driving, *size)
    matrix = similarity(source_px[:, inner], driving_px[:, inner])
    points_px = transform_points(matrix, source_px)
    points_px[:, contour] = driving_px[:, contour]
    points = pixel_to_normalised(points_px, *size)
    corners = normalised_to_pixel(points.new_tensor(CORNERS).expand(len(points), -1, -1), *size)
    came_from = pixel_to_normalised(transform_points(inverse(matrix), corners), *size)
    aligned = warp_to(images, source, points, came_from, border)
    return blanked(aligned, found), blanked(points, found)


def warp_to(
    images: Tensor, from_points: Tensor, to_points: Tensor, corners: Tensor | None = None, border: Padding = "border"
) -> Tensor:
    """Warp images (B, C, H, W) by the Delaunay triangles of ``to_points`` (B, N, 2) and the picture's corners.

    Args:
        images: (B, C, H, W).
        from_points: (B, N, 2) normalised.
        to_points: (B, N, 2) normalised, finite.
        corners: (B, 4, 2) where the corners come from; default: they stay.
        border: what lies outside of the image.
    """
    fixed = to_points.new_tensor(CORNERS).expand(len(to_points), -1, -1)
    values = torch.cat((from_points, fixed if corners is None else corners), 1)
    size = (images.shape[-2], images.shape[-1])
    flow = piecewise_affine_grid(values, torch.cat((to_points, fixed), 1), size)
    return warp(images, flow.to(images.dtype), border)


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of affine maps (B, 2, 3); a map that shrinks everything to a point gives zeros."""
    linear, shift = matrix[..., :2], matrix[..., 2:]
    (a, b), (c, d) = linear[..., 0, :].unbind(-1), linear[..., 1, :].unbind(-1)
    determinant = a * d - b * c
    factor = torch.where(determinant.abs() < 1e-12, 0.0, 1 / determinant)[..., None, None]
    back = factor * torch.stack((torch.stack((d, -b), -1), torch.stack((-c, a), -1)), -2)
    return torch.cat((back, -back @ shift), -1)


def stand_ins(
    images: Tensor, source_landmarks: Tensor, driving_landmarks: Tensor, scheme: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Usable samples (B,) and both landmark sets, float32, with harmless points in the rows that are not usable.

    Raises:
        InputError: shapes do not fit the scheme or each other.
    """
    layout = scheme_named(scheme)
    expected = (len(images), layout.points, 2)
    for key, landmarks in (("source_landmarks", source_landmarks), ("driving_landmarks", driving_landmarks)):
        if tuple(landmarks.shape) != expected:
            raise InputError(
                f"{key} has shape {tuple(landmarks.shape)}, but {len(images)} images and landmark scheme {scheme!r} "
                f"need {expected}; choose the scheme of your landmark detector"
            )
    found = usable(source_landmarks) & usable(driving_landmarks)
    angle = torch.arange(layout.points, device=source_landmarks.device) * 2.4  # a spiral: no two points alike
    spiral = torch.stack((angle.cos(), angle.sin()), -1) * (angle / angle[-1] * 0.5 + 0.1)[:, None]
    source, driving = (
        torch.where(found[:, None, None], points.detach().float(), spiral)
        for points in (source_landmarks, driving_landmarks)
    )
    return found, source, driving


def blanked(values: Tensor, found: Tensor) -> Tensor:
    """NaN where a sample was not usable."""
    return values.masked_fill(~found.view(-1, *(1,) * (values.ndim - 1)), float("nan"))
