"""A face detector from the bundled landmark network: it looks at squares all over the image. Needs no download.

Slower and less sure than a real detector, so it is asked last; it finds the turned faces that dlib's HOG misses.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.detect import Detection, largest_first, resize
from reenact_zoo.faces.networks.synthetic_landmarks import SyntheticLandmarks
from reenact_zoo.faces.synthetic_crop import BOX_SHIFT, face_crop, points_to_image, sample, square_matrices
from reenact_zoo.weights.store import WeightStore

ENTRY = "synthetic_landmarks"
SHARES = (1.0, 0.72, 0.5)
"""Sides of the squares, of the image's shorter side."""
STEP = 0.3  # of a square's side; nothing lies farther than half of it from a centre, and training went up to 0.1
MOST = 6  # squares that are looked at again
MAX_SIDE = 320  # of the searched image
PROMISING, SURE = 0.5, 0.95
"""Least confidence of a square, and of the crop around the points that were found in it. The 28 benchmark frames that
HOG misses reach 0.952 to 0.9997."""
LEAST = 0.3
"""Smallest face, of the image's shorter side: corners of faces, cups and rockets look like smaller ones."""
STILL = 0.1  # a face's centre moves less than this share of its size from one look to the next
BATCH = 64


class SweepDetector:
    """Finds faces of about a third to the whole of the image's shorter side.

    Args:
        store: where the landmark network lies; ``WeightsMissing`` is raised at the first image.
        device: where it runs.
    """

    name = "synthetic_landmarks_sweep"
    min_face_px = 20

    def __init__(self, store: WeightStore | None = None, device: str = "cpu") -> None:
        self._store, self._device = store or WeightStore(), torch.device(device)
        self._network: SyntheticLandmarks | None = None

    @torch.inference_mode()
    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """(H, W, 3) RGB → faces, the largest first."""
        scale = min(1.0, MAX_SIDE / max(image.shape[:2]))
        pixels = resize(image, scale)
        picture = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(self._device).float()[None] / 255
        centres, sides = _squares(picture.shape[2], picture.shape[3])
        points, confidence = self._look(picture, square_matrices(centres, sides))
        best = confidence.argsort(descending=True, stable=True)[:MOST]
        promising = best[confidence[best] > PROMISING]
        if len(promising) == 0:
            return []
        return _without_repeats(*self._settled(picture, points[promising]), scale)

    def _settled(self, picture: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Two more looks, each around the points of the last; those that are sure and no longer move."""
        for _ in range(2):
            before = points
            matrices = face_crop(picture.expand(len(points), -1, -1, -1), points)[1]
            points, confidence = self._look(picture, matrices)
        moved = (points.mean(1) - before.mean(1)).norm(dim=1)
        size = (points.amax(1) - points.amin(1)).amax(1)
        height, width = picture.shape[2:]
        middle = points.mean(1)
        inside = ((middle > 0) & (middle < middle.new_tensor([width, height]))).all(1)
        kept = (confidence > SURE) & (moved < STILL * size) & (size > LEAST * min(height, width)) & inside
        return points[kept], confidence[kept]

    def _look(self, picture: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices (N, 2, 3) of crops → points (N, 68, 2) px of the picture, and confidence (N,)."""
        if self._network is None:
            network = SyntheticLandmarks()
            self._store.load_into(network, ENTRY)
            self._network = network.to(self._device).eval()
        matrices = matrices.to(self._device)
        found = [self._network(sample(picture.expand(len(m), -1, -1, -1), m)) for m in matrices.split(BATCH)]
        points = points_to_image(torch.cat([f.points for f in found]), matrices)
        return points, torch.cat([f.confidence for f in found])


def _squares(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres (N, 2) px, x before y, and sides (N,) px of all squares."""
    centres, sides = [], []
    for share in SHARES:
        side = share * min(height, width)
        for y in _places(height, side):
            for x in _places(width, side):
                centres.append((x, y))
                sides.append(side)
    return torch.tensor(centres), torch.tensor(sides)


def _places(length: int, side: float) -> list[float]:
    """Centres along one edge, from one end of the image to the other; squares may stand out by a quarter."""
    low, high = 0.25 * side, length - 0.25 * side
    count = max(1, round((high - low) / (STEP * side)) + 1)
    return [float(v) for v in np.linspace(low, high, count)] if count > 1 else [length / 2]


def _without_repeats(points: Tensor, confidence: Tensor, scale: float) -> list[Detection]:
    """Points (N, 68, 2) → one box a face, drawn as high as other detectors draw theirs; the surest of a heap stays."""
    kept: list[Detection] = []
    for row in confidence.argsort(descending=True, stable=True).tolist():
        (left, top), (right, bottom) = points[row].amin(0).tolist(), points[row].amax(0).tolist()
        up = BOX_SHIFT * max(right - left, bottom - top)
        box = (left / scale, (top - up) / scale, right / scale, (bottom - up) / scale)
        if not any(_holds(other.box, box) for other in kept):
            kept.append(Detection(box, float(confidence[row])))
    return largest_first(kept)


def _holds(box: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Whether the other box's centre lies in the box: an eye may look like a small face."""
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return box[0] < x < box[2] and box[1] < y < box[3]
