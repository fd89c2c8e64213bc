"""Training pairs out of what there is: contour swaps from one image per person, and landmarks less good than the truth.

Zhang et al., "One-shot Face Reenactment" (BMVC 2019), the released data loader: an image with another person's face
contour, warped so, turned, shifted and zoomed a little, is the truth for the image it was made from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reenact_zoo.methods.one_shot.geometry import similarity, stand_ins, warp_to
from reenact_zoo.methods.one_shot.schemes import scheme_named
from reenact_zoo.ops.coordinates import normalised_to_pixel, pixel_to_normalised
from reenact_zoo.ops.warp import transform_points, warp

TURN_DEG = 10.0
SHIFT = 10 / 256  # of the image's side
ZOOM = (0.9, 1.1)
SIMILARITY_SHARE = 0.5  # shift of all landmarks together, in units of the shift of each one
EYES = {"68": ((36, 42), (42, 48)), "98": ((60, 68), (68, 76)), "osfr_146": ((52, 58), (58, 64))}
"""Point ranges of the left and the right eye, for the distance between them."""


def contour_swaps(images: Tensor, landmarks: Tensor, scheme: str = "68") -> tuple[Tensor, Tensor]:
    """From each image a second one of the same person: the next row's contour, then a small similarity.

    Args:
        images: (B, 3, H, W).
        landmarks: (B, N, 2) normalised; all rows usable. A batch of one keeps its contour.
        scheme: key of ``schemes.SCHEMES``.

    Returns:
        Driving images (B, 3, H, W) and their landmarks (B, N, 2). Random numbers come from torch's generator.
    """
    _, points, _ = stand_ins(images, landmarks, landmarks, scheme)
    swapped = _with_contour(points, points.roll(1, 0), images.shape, scheme)
    warped = warp_to(images, points, swapped)
    return _moved(warped, swapped)


def _with_contour(points: Tensor, others: Tensor, shape: torch.Size, scheme: str) -> Tensor:
    """Points (B, N, 2) with the others' contour, brought to their place by all other points.

    The released data are aligned pictures, where contours fit as they are; ours are not.
    """
    layout, size = scheme_named(scheme), (shape[-2], shape[-1])
    inner, contour = list(layout.inner()), list(layout.curves["contour"])
    own_px, other_px = normalised_to_pixel(points, *size), normalised_to_pixel(others, *size)
    brought = transform_points(similarity(other_px[:, inner], own_px[:, inner]), other_px)
    own_px[:, contour] = brought[:, contour]
    return pixel_to_normalised(own_px, *size)


def _moved(images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Images and landmarks under one random rotation, zoom and shift per row; square images, no mirror."""
    count, device = len(images), images.device
    angle = math.radians(TURN_DEG) * _uniform(count, device)
    zoom = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * torch.rand(count, device=device)
    shift = 2 * SHIFT * torch.stack((_uniform(count, device), _uniform(count, device)), -1)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).reshape(-1, 2, 2)
    moved = zoom[:, None, None] * points @ turn.mT + shift[:, None]
    back = turn.mT / zoom[:, None, None]  # the flow asks where a pixel came from
    matrix = torch.cat((back, -back @ shift[..., None]), -1)
    flow = torch.nn.functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return warp(images, flow.to(images.dtype), "border"), moved


def estimated(landmarks: Tensor, noise: float, scheme: str = "68") -> Tensor:
    """Landmarks (B, N, 2) as a detector would find them: each moved on its own, and all together a little.

    Args:
        landmarks: normalised.
        noise: standard deviation of each coordinate in distances between the eyes; 0 gives the same points.
        scheme: key of ``EYES``.
    """
    if noise == 0:
        return landmarks
    left, right = (landmarks[:, begin:stop].mean(1) for begin, stop in EYES[scheme])
    spread = noise * (right - left).norm(dim=-1)[:, None, None]
    centre = landmarks.mean(1, keepdim=True)
    count, device = len(landmarks), landmarks.device
    random = torch.randn(count, 4, device=device)
    angle, growth = (SIMILARITY_SHARE * noise * random[:, i] for i in (0, 1))
    turn = torch.stack((growth + 1, -angle, angle, growth + 1), -1).reshape(-1, 2, 2)
    together = SIMILARITY_SHARE * spread * random[:, None, 2:]
    return (landmarks - centre) @ turn.mT + centre + together + spread * torch.randn_like(landmarks)


def _uniform(count: int, device: torch.device) -> Tensor:
    return 2 * torch.rand(count, device=device) - 1
