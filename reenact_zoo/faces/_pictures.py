"""A batch of images as instruments want them: content hashes, small ones enlarged, bytes for detectors."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Array = NDArray[np.float32]

MIN_SIDE_PX = 256  # smaller images are enlarged to this shorter side (bicubic) before any instrument sees them


class Pictures:
    """Images (B, 3, H, W) RGB in [0, 1] on the CPU.

    Attributes:
        size: H, W.
        finite: of each image, whether all its numbers are.
        keys: of each image, sha256 of its shape and float bytes.
    """

    def __init__(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected images (B, 3, H, W), got {tuple(images.shape)}")
        self._images = images.detach().float().cpu()
        self.size = (images.shape[2], images.shape[3])
        self.finite: list[bool] = self._images.isfinite().flatten(1).all(1).tolist()
        self.keys = [_key(image.contiguous().numpy()) for image in self._images]
        self._scale = max(1.0, MIN_SIDE_PX / min(self.size))
        self._uint8: dict[int, NDArray[np.uint8]] = {}

    def as_given(self, indices: list[int]) -> Tensor:
        """(n, 3, H, W)."""
        return self._images[indices]

    def enlarged(self, indices: list[int]) -> Tensor:
        """(n, 3, H', W') with the shorter side at least ``MIN_SIDE_PX``."""
        images = self._images[indices]
        if self._scale == 1.0:
            return images
        height, width = (round(side * self._scale) for side in self.size)
        return F.interpolate(images, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)

    def uint8(self, index: int) -> NDArray[np.uint8]:
        """(H', W', 3) enlarged image as detectors want it."""
        if index not in self._uint8:
            picture = (self.enlarged([index])[0].clamp(0, 1) * 255).round().byte()
            self._uint8[index] = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
        return self._uint8[index]

    def _factors(self) -> Array:
        height, width = (round(side * self._scale) for side in self.size)
        return np.array([width / self.size[1], height / self.size[0]], np.float32)

    def to_enlarged(self, points_px: Array) -> Array:
        """Points (…, 2) px of the image → px of the enlarged one (pixel centres, align_corners=False)."""
        return ((points_px + 0.5) * self._factors() - 0.5).astype(np.float32)

    def from_enlarged(self, points_px: Array) -> Array:
        """Inverse of ``to_enlarged``."""
        return ((points_px + 0.5) / self._factors() - 0.5).astype(np.float32)


def _key(image: NDArray[np.float32]) -> str:
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
