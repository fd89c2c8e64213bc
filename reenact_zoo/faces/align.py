"""Square crops with an inverse, and the five-point alignment that identity networks want.

Pixel coordinates count pixel centres 0 … W-1; a square of side W centred at (W-1)/2 is the image itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

# Where ArcFace wants eyes, nose tip and mouth corners in a 112x112 image (Deng et al., CVPR 2019), px.
ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
ARCFACE_SIZE = 112


@dataclass(frozen=True)
class SquareBox:
    """Square region of an image in pixels; may reach beyond the image."""

    x: float  # centre
    y: float  # centre
    side: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        half = self.side / 2
        return self.x - half, self.y - half, self.x + half, self.y + half

    @classmethod
    def of_image(cls, height: int, width: int) -> SquareBox:
        """The largest centred square inside an image."""
        return cls((width - 1) / 2, (height - 1) / 2, float(min(height, width)))


@dataclass(frozen=True)
class CropPolicy:
    """How a face becomes a square crop.

    Attributes:
        scale: side of the square as a multiple of the longer side of the face box.
        shift_y: centre's offset as a share of that longer side, positive downwards; the default takes in hair and chin.
        smoothing: share of the previous square that is kept from frame to frame, [0, 1); 0 follows every frame.
        size: side of the crop in pixels.
    """

    scale: float = 2.2
    shift_y: float = -0.15
    smoothing: float = 0.0
    size: int = 256

    def square(self, face: Sequence[float] | NDArray[np.float32], previous: SquareBox | None = None) -> SquareBox:
        """Square around a face: a box (left, top, right, bottom), or landmarks (N, 2), whose bounds are taken."""
        points = np.asarray(face, np.float64).reshape(-1, 2)  # a box is two corners
        (left, top), (right, bottom) = points.min(0), points.max(0)
        longer = float(max(right - left, bottom - top))
        current = SquareBox(
            float(left + right) / 2, float(top + bottom) / 2 + self.shift_y * longer, self.scale * longer
        )
        return current if previous is None else self.blend(previous, current)

    def blend(self, previous: SquareBox, current: SquareBox) -> SquareBox:
        """``smoothing`` of the previous square, the rest of the current one."""
        keep = self.smoothing
        return SquareBox(*(keep * p + (1 - keep) * c for p, c in zip(_numbers(previous), _numbers(current))))


def _numbers(box: SquareBox) -> tuple[float, float, float]:
    return box.x, box.y, box.side


def to_crop(points_px: NDArray[np.float32], box: SquareBox, size: int) -> NDArray[np.float32]:
    """Points (…, 2) px of the image → px of the crop."""
    left, top, _, _ = box.edges
    return ((points_px - np.array([left, top])) * (size / box.side) - 0.5).astype(np.float32)


def from_crop(points_px: NDArray[np.float32], box: SquareBox, size: int) -> NDArray[np.float32]:
    """Inverse of ``to_crop``."""
    left, top, _, _ = box.edges
    return ((points_px + 0.5) * (box.side / size) + np.array([left, top])).astype(np.float32)


def to_normalised(points_px: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Points (…, 2) px → [-1, 1], x before y, align_corners=False."""
    return ((2 * points_px + 1) / np.array([width, height]) - 1).astype(np.float32)


def from_normalised(points: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Inverse of ``to_normalised``."""
    return (((points + 1) * np.array([width, height]) - 1) / 2).astype(np.float32)


def crop(image: NDArray[np.uint8], box: SquareBox, size: int) -> NDArray[np.uint8]:
    """Square region (H, W, 3) → (size, size, 3), bilinear, averaged where it shrinks; repeats the border outside."""
    import cv2

    finer = int(np.clip(np.ceil(box.side / size - 0.01), 1, 16))  # samples per crop pixel in each direction
    fine = size * finer
    left, top, _, _ = box.edges
    step = box.side / fine
    # destination pixel i lies at left + (i + 1/2) step
    back = np.array([[step, 0, left + step / 2], [0, step, top + step / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    result = cv2.warpAffine(image, back, (fine, fine), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return result if finer == 1 else cv2.resize(result, (size, size), interpolation=cv2.INTER_AREA)  # type: ignore


def paste_back(
    frame: NDArray[np.uint8], reenacted: NDArray[np.uint8], box: SquareBox, feather: float = 0.1
) -> NDArray[np.uint8]:
    """Frame (H, W, 3) with the crop (S, S, 3) back in its place; the rim fades over ``feather`` of the side."""
    import cv2

    size = reenacted.shape[0]
    left, top, right, bottom = box.edges
    height, width = frame.shape[:2]
    x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x1, y1 = min(width, int(np.ceil(right)) + 1), min(height, int(np.ceil(bottom)) + 1)
    result = frame.copy()
    if x0 >= x1 or y0 >= y1:
        return result
    scale = size / box.side
    # frame pixel j lies at crop pixel (j - left) scale - 1/2
    back = np.array([[scale, 0, (x0 - left) * scale - 0.5], [0, scale, (y0 - top) * scale - 0.5]])
    target, flags = (x1 - x0, y1 - y0), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(reenacted, back, target, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    share = _ramp(np.arange(y0, y1), top, bottom, feather)[:, None] * _ramp(np.arange(x0, x1), left, right, feather)
    share = share[..., None]
    region = result[y0:y1, x0:x1].astype(np.float32)
    result[y0:y1, x0:x1] = np.rint(share * patch + (1 - share) * region).astype(np.uint8)
    return result


def _ramp(positions: NDArray[np.int64], low: float, high: float, feather: float) -> NDArray[np.float32]:
    """1 inside [low, high], falling to 0 at the edges over ``feather`` of the length; 0 outside."""
    inside = np.minimum(positions - low, high - positions)
    width = max(feather * (high - low), 1e-6)
    return np.clip(inside / width, 0, 1).astype(np.float32)


# --- five points ----------------------------------------------------------------------------------------------------


def five_points(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(…, 68, 2) → (…, 5, 2): eye centres (image left first), nose tip, outer mouth corners."""
    eyes = [landmarks[..., first : first + 6, :].mean(-2) for first in (36, 42)]
    return np.stack([*eyes, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], -2)


def similarity(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Least-squares similarity (2, 3) that takes points (N, 2) to points (N, 2), without reflection (Umeyama, 1991)."""
    a = np.asarray(source, np.float64) @ np.array([1, 1j])
    b = np.asarray(target, np.float64) @ np.array([1, 1j])
    a_mean, b_mean = a.mean(), b.mean()
    turn = np.vdot(a - a_mean, b - b_mean) / max(float(np.vdot(a - a_mean, a - a_mean).real), 1e-12)
    shift = b_mean - turn * a_mean
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def arcface_matrix(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """(68, 2) px → (2, 3) similarity from image px to the 112x112 ArcFace frame."""
    return similarity(five_points(landmarks), ARCFACE_TEMPLATE)


def warp_crop(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Affine crops, differentiable: (B, C, H, W), (B, 2, 3) px of the image → px of the crop, → (B, C, size, size).

    Bilinear; each crop pixel averages n x n samples, n = the shrinkage rounded up (at most 8), so that large faces do
    not alias. Outside the image reads the border.
    """
    matrices = matrices.to(images)
    shrinkage = 1 / matrices[:, :, :2].det().abs().sqrt().clamp(min=1e-6)
    finer = (shrinkage - 0.01).ceil().clamp(1, 8).long()  # of each image, so that no result depends on its neighbours
    crops = [_warp_crop(images[i : i + 1], matrices[i : i + 1], size, int(n)) for i, n in enumerate(finer)]
    return torch.cat(crops)


def _warp_crop(images: Tensor, matrices: Tensor, size: int, finer: int) -> Tensor:
    height, width = images.shape[2:]
    centres = (torch.arange(size * finer, device=images.device, dtype=images.dtype) + 0.5) / finer - 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    inverse = torch.linalg.inv(matrices[:, :, :2])
    points = torch.stack([x, y], -1).reshape(1, -1, 2) - matrices[:, None, :, 2]
    points = points @ inverse.transpose(1, 2)
    grid = (2 * points + 1) / torch.tensor([width, height], device=images.device, dtype=images.dtype) - 1
    grid = grid.reshape(len(images), size * finer, size * finer, 2)
    result = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return result if finer == 1 else F.avg_pool2d(result, finer)
