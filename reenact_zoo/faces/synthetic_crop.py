"""The crops that the synthetic instruments see: one definition each, for training and for use; differentiable.

Matrices (B, 2, 3) take pixels of the image to pixels of the crop; pixels count centres 0 … W-1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.align import ARCFACE_SIZE, ARCFACE_TEMPLATE

SIZE = 64
FACE_SCALE = 1.6  # side of the face crop in longer sides of the landmarks' box
HEAD_SCALE, HEAD_SHIFT = 2.6, -0.15  # wide enough for hair and shoulders; the centre lies above the box's
BOX_SCALE, BOX_SHIFT = 1.45, 0.12  # detectors draw boxes higher than the landmarks' (dlib: by 0.12, MTCNN: by 0.10)
_WIDER = 0.86  # of ArcFace's template: chin and hairline come into the crop
MOST_SAMPLES = 8  # per crop pixel and direction


def _template() -> Tensor:
    points = (torch.from_numpy(ARCFACE_TEMPLATE) + 0.5) / ARCFACE_SIZE - 0.5
    return (points * _WIDER + 0.5) * SIZE - 0.5


def identity_matrices(landmarks_px: Tensor) -> Tensor:
    """(B, 68, 2) px → least-squares similarities of five points (eyes, nose tip, mouth corners) to the template."""
    eyes = [landmarks_px[:, first : first + 6].mean(1) for first in (36, 42)]
    points = torch.stack([*eyes, *(landmarks_px[:, i] for i in (30, 48, 54))], 1).double()
    target = _template().to(points.device)
    centre, target_centre = points.mean(1), target.mean(0)
    a, b = torch.view_as_complex(points - centre[:, None]), torch.view_as_complex(target - target_centre)
    # Umeyama 1991 in the plane: one complex factor turns and scales
    turn = (a.conj() * b).sum(1) / a.abs().square().sum(1).clamp(min=1e-12)
    return _matrices(turn.real, turn.imag, centre, target_centre.expand_as(centre)).to(landmarks_px.dtype)


def _matrices(real: Tensor, imaginary: Tensor, centre: Tensor, target: Tensor) -> Tensor:
    linear = torch.stack([real, -imaginary, imaginary, real], -1).unflatten(-1, (2, 2))
    shift = target - (linear @ centre[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], -1)


def square_matrices(centres_px: Tensor, sides_px: Tensor, size: int = SIZE) -> Tensor:
    """Centres (B, 2) and sides (B,) of upright squares in px → matrices."""
    scale = size / sides_px.clamp(min=1e-3)
    middle = torch.full_like(centres_px, (size - 1) / 2)
    return _matrices(scale, torch.zeros_like(scale), centres_px, middle)


def face_matrices(landmarks_px: Tensor) -> Tensor:
    """(B, 68, 2) px → upright square around the points' box, ``FACE_SCALE`` times its longer side."""
    return _box_squares(landmarks_px.amin(1), landmarks_px.amax(1), FACE_SCALE, 0.0)


def head_matrices(landmarks_px: Tensor) -> Tensor:
    """(B, 68, 2) px → upright square with hair and shoulders."""
    return _box_squares(landmarks_px.amin(1), landmarks_px.amax(1), HEAD_SCALE, HEAD_SHIFT)


def box_matrices(boxes_px: Tensor) -> Tensor:
    """Boxes of a detector (B, 4: left, top, right, bottom) px → upright squares that a landmark search starts from."""
    return _box_squares(boxes_px[:, :2], boxes_px[:, 2:], BOX_SCALE, BOX_SHIFT)


def _box_squares(low: Tensor, high: Tensor, scale: float, shift: float) -> Tensor:
    longer = (high - low).amax(1)
    down = torch.stack([torch.zeros_like(longer), shift * longer], 1)
    return square_matrices((low + high) / 2 + down, scale * longer)


def identity_crop(images: Tensor, landmarks_px: Tensor) -> Tensor:
    """(B, 3, H, W), (B, 68, 2) px → (B, 3, 64, 64)."""
    return sample(images, identity_matrices(landmarks_px))


def face_crop(images: Tensor, landmarks_px: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W), (B, 68, 2) px → crops (B, 3, 64, 64) and their matrices."""
    matrices = face_matrices(landmarks_px)
    return sample(images, matrices), matrices


def head_crop(images: Tensor, landmarks_px: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W), (B, 68, 2) px → crops (B, 3, 64, 64) and their matrices."""
    matrices = head_matrices(landmarks_px)
    return sample(images, matrices), matrices


def box_crop(images: Tensor, boxes_px: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W), (B, 4) px → crops (B, 3, 64, 64) and their matrices."""
    matrices = box_matrices(boxes_px)
    return sample(images, matrices), matrices


def sample(images: Tensor, matrices: Tensor, size: int = SIZE) -> Tensor:
    """Crops (B, C, size, size), bilinear; every pixel averages n x n samples, n = the shrinkage rounded up (at most 8).

    Outside the image reads the border. No crop depends on its neighbours in the batch.
    """
    matrices = matrices.to(images)
    shrinkage = 1 / matrices[:, :, :2].det().abs().sqrt().clamp(min=1e-6)
    finer = (shrinkage - 0.01).ceil().clamp(1, MOST_SAMPLES).long()
    crops = images.new_empty(len(images), images.shape[1], size, size)
    for n in finer.unique().tolist():
        rows = (finer == n).nonzero()[:, 0]
        crops = crops.index_copy(0, rows, _sampled(images[rows], matrices[rows], size, n))
    return crops


def _sampled(images: Tensor, matrices: Tensor, size: int, finer: int) -> Tensor:
    height, width = images.shape[2:]
    centres = (torch.arange(size * finer, device=images.device, dtype=images.dtype) + 0.5) / finer - 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    points = torch.stack([x, y], -1).reshape(1, -1, 2) - matrices[:, None, :, 2]
    points = points @ torch.linalg.inv(matrices[:, :, :2]).mT
    grid = (2 * points + 1) / points.new_tensor([width, height]) - 1
    grid = grid.reshape(len(images), size * finer, size * finer, 2)
    result = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return result if finer == 1 else F.avg_pool2d(result, finer)


# --- the way back ---------------------------------------------------------------------------------------------------


def points_to_image(points: Tensor, matrices: Tensor, size: int = SIZE) -> Tensor:
    """Points (B, N, 2) in [-1, 1] of the crop → px of the image."""
    points_px = ((points + 1) * size - 1) / 2 - matrices[:, None, :, 2]
    return points_px @ torch.linalg.inv(matrices[:, :, :2]).mT


def points_to_crop(points_px: Tensor, matrices: Tensor, size: int = SIZE) -> Tensor:
    """Inverse of ``points_to_image``."""
    return (2 * (points_px @ matrices[:, :, :2].mT + matrices[:, None, :, 2]) + 1) / size - 1


def maps_to_image(maps: Tensor, matrices: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, S, S) of upright crops → (B, C, height, width) of the image; outside the crop reads the border."""
    size = maps.shape[-1]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(1, -1, 2).to(maps).expand(len(maps), -1, -1)
    grid = points_to_crop(pixels, matrices.to(maps), size).unflatten(1, (height, width))
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def camera_to_frame(camera: Tensor, matrices: Tensor, frame: int, size: int = SIZE) -> Tensor:
    """Renderer's camera (B, 3: log scale, x, y in half frames, y up) of a crop → of the square frame around it."""
    scale, shift = _half_frames(matrices, frame, size)
    return torch.cat([camera[:, :1] - scale.log(), (camera[:, 1:] - shift) / scale], 1)


def camera_to_crop(camera: Tensor, matrices: Tensor, frame: int, size: int = SIZE) -> Tensor:
    """Inverse of ``camera_to_frame``; matrices of upright crops only."""
    scale, shift = _half_frames(matrices, frame, size)
    return torch.cat([camera[:, :1] + scale.log(), scale * camera[:, 1:] + shift], 1)


def _half_frames(matrices: Tensor, frame: int, size: int) -> tuple[Tensor, Tensor]:
    """Scale (B, 1) and shift (B, 2; y up) that take half frames of the frame to half frames of the crop."""
    corner = points_to_crop(matrices.new_full((len(matrices), 1, 2), (frame - 1) / 2), matrices, size)[:, 0]
    scale = matrices[:, 0, :1] * frame / size
    return scale, corner * corner.new_tensor([1.0, -1.0])
