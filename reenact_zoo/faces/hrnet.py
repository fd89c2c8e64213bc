"""Landmarks from HRNet's heat maps: 68 points of 300W, or 98 of WFLW read as 68."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.align import warp_crop
from reenact_zoo.faces.face_input import IMAGENET, FaceInput, upright_square
from reenact_zoo.faces.landmarks import Box, landmark_box
from reenact_zoo.faces.networks.hrnet import HRNet
from reenact_zoo.weights.store import WeightStore

# Row i of the 68 points is row FROM_98[i] of WFLW's: every second point of the jaw line, the upper edges of the brows,
# the six lid points of iBUG out of eight, nose and lips unchanged.
FROM_98 = np.array(
    [
        *range(0, 33, 2),
        *range(33, 38),
        *range(42, 47),
        *range(51, 60),
        *(60, 61, 63, 64, 65, 67),
        *(68, 69, 71, 72, 73, 75),
        *range(76, 96),
    ]
)
CELL_PX = 4  # crop pixels per cell of the heat maps


def decode(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Heat maps (B, N, h, w) → peaks (B, N, 2) in cells, x before y, and their heights (B, N).

    The peak moves a quarter of a cell towards the higher neighbour unless it lies on the rim (authors' decoding; paper
    section 3.3). Points whose map has no positive value are at the first cell's corner, (-1/2, -1/2).
    """
    height, width = heat.shape[2:]
    score, index = heat.flatten(2).max(-1)
    x, y = index % width, index.div(width, rounding_mode="floor")
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    flat = heat.flatten(2)

    def at(dx: int, dy: int) -> Tensor:
        place = (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1)
        return flat.gather(2, place[..., None])[..., 0]

    slope = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], -1)
    points = torch.stack([x, y], -1) + 0.25 * slope.sign() * inside[..., None]
    return torch.where((score > 0)[..., None], points, points.new_tensor(-0.5)), score


def hrnet_region(box: Box) -> NDArray[np.float64]:
    """Square of 1.25 times the longer side around the landmarks' box → (2, 3), 256 px."""
    left, top, right, bottom = box
    side = 1.25 * max(right - left, bottom - top, 2.0)
    return upright_square((left + right) / 2, (top + bottom) / 2, side, HRNetLandmarks.SIZE)


class HRNetLandmarks:
    """HRNetV2-W18 in the 68-point layout.

    The crop is a square of 1.25 times the longer side of the landmarks' box, 256 x 256, RGB, ImageNet mean and std. A
    detector's box is only the start: the network runs a second time on the box of its own points.

    Args:
        store: where the weights lie.
        device: where the network runs.
        points: 68 (hrnet_w18_300w) or 98 (hrnet_w18_wflw).

    Raises:
        WeightsMissing: the file is not at hand.
    """

    SIZE = 256
    min_score = 0.2  # not measured: trained peaks are Gaussians of height 1, and no weights were at hand

    def __init__(
        self,
        store: WeightStore | None = None,
        device: str | torch.device = "cpu",
        points: Literal[68, 98] = 68,
    ) -> None:
        self.name = "hrnet_w18_300w" if points == 68 else "hrnet_w18_wflw"
        self.weights = (self.name,)
        network = HRNet(points)
        (store or WeightStore()).load_into(network, self.name)
        self._network = network.to(device).eval().requires_grad_(False)
        self._device, self._points = torch.device(device), points
        self._colours = FaceInput(lambda row: hrnet_region(landmark_box(row)), self.SIZE, *IMAGENET)

    def detect(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.float32]:
        """(H, W, 3) RGB and N detector boxes → (N, 68, 2) pixels."""
        return self.detect_scored(image, boxes)[0]

    def detect_scored(
        self, image: NDArray[np.uint8], boxes: Sequence[Box], *, around_landmarks: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (N, 68, 2) and mean height of the peaks (N,), clipped to [0, 1]."""
        if len(boxes) == 0:
            return np.zeros((0, 68, 2), np.float32), np.zeros(0, np.float32)
        picture = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1)[None].float() / 255
        points, scores = self._pass(picture, boxes)
        if not around_landmarks:
            points, scores = self._pass(picture, [landmark_box(p) for p in points])
        return points[:, FROM_98] if self._points == 98 else points, scores

    @torch.inference_mode()
    def _pass(self, picture: Tensor, boxes: Sequence[Box]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        matrices = torch.from_numpy(np.stack([hrnet_region(box) for box in boxes])).to(picture)
        crops = warp_crop(picture.expand(len(boxes), -1, -1, -1), matrices, self.SIZE)
        cells, scores = decode(self._network(self._colours.normalised(crops)))
        points = (cells + 0.5) * CELL_PX - 0.5 - matrices[:, None, :, 2]
        points = points @ torch.linalg.inv(matrices[:, :, :2]).mT
        return points.float().cpu().numpy(), scores.mean(1).clamp(0, 1).float().cpu().numpy()
