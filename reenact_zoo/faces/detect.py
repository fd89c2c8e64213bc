"""Face detectors behind one protocol: boxes in pixels, the largest face first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.weights.store import WeightStore

if TYPE_CHECKING:
    from reenact_zoo.faces.mtcnn import Cascade


@dataclass(frozen=True)
class Detection:
    """One face: box = (left, top, right, bottom) in pixels of the image, not clipped to it; score grows with certainty.

    Scores of different detectors are not comparable. ``five_points`` (5, 2) px: eyes (image left first), nose tip,
    mouth corners (image left first), where the detector gives them.
    """

    box: tuple[float, float, float, float]
    score: float
    five_points: NDArray[np.float32] | None = None

    @property
    def area(self) -> float:
        """Pixels inside the box."""
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)


class FaceDetector(Protocol):
    """Finds faces in one image."""

    name: str
    min_face_px: int
    """Side of the smallest face box that is found reliably, in pixels of the image given."""

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """(H, W, 3) RGB → faces, the largest area first; [] where there is none."""


def largest_first(detections: Sequence[Detection]) -> list[Detection]:
    """Sorted by area, descending; ties by position, so that the order is reproducible."""
    return sorted(detections, key=lambda d: (-d.area, d.box))


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inner = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return float(inner / union)


class HogDetector:
    """dlib's frontal face detector (histograms of oriented gradients, five poses); needs no file.

    Its window is 80 pixels; the image is resized before the search (bicubic up, area down), so that a face of
    ``min_face_px`` fills the window, but to at most ``max_side`` and at most four times its size. Faces turned by more
    than about 40 degrees are missed.

    Args:
        min_face_px: smallest face that matters, in pixels of the image given. None: ``min_face_share`` of the shorter
            side, but at least 20.
        min_face_share: see ``min_face_px``.
        max_side: longest side of the searched image; bounds time and memory on large frames (8K in, 1280 searched).
        threshold: least score. On 72 real frames faces scored 0.32 or more; dlib's own 0 admits false alarms of 0.03.
    """

    name = "dlib_hog"
    window_px = 80

    def __init__(
        self,
        min_face_px: int | None = None,
        max_side: int = 1280,
        threshold: float = 0.15,
        min_face_share: float = 0.15,
    ) -> None:
        self._wanted, self._max_side, self._threshold = min_face_px, max_side, threshold
        self._share = min_face_share
        self.min_face_px = min_face_px or 20
        self._finder: Any = None  # built at the first image: it cannot be pickled into workers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_finder": None}

    def scale(self, height: int, width: int) -> float:
        """Factor by which an image of this size is resized before the search."""
        wanted = self._wanted or max(20, round(min(height, width) * self._share))
        return min(self.window_px / wanted, self._max_side / max(height, width), 4.0)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """(H, W, 3) RGB → faces, the largest first."""
        import dlib

        if self._finder is None:
            self._finder = dlib.get_frontal_face_detector()
        scale = self.scale(*image.shape[:2])
        boxes, scores, _ = self._finder.run(resize(image, scale), 0, self._threshold)
        return largest_first(
            [
                # dlib counts right and bottom inclusively
                Detection(_unscaled((b.left(), b.top(), b.right() + 1, b.bottom() + 1), scale), float(score))
                for b, score in zip(boxes, scores)
            ]
        )


def _unscaled(box: tuple[float, float, float, float], scale: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (edge / scale for edge in box)
    return left, top, right, bottom


def resize(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Image resized by a factor: bicubic up, area averaging down."""
    import cv2

    if scale == 1.0:
        return np.ascontiguousarray(image)
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cv2.resize(image, size, interpolation=how)  # type: ignore[return-value]


class MtcnnDetector:
    """MTCNN (Zhang et al., 2016): boxes and five points; finds turned, small and partly covered faces better than HOG.

    Args:
        store: where mtcnn_pnet, mtcnn_rnet and mtcnn_onet lie; ``WeightsMissing`` is raised at the first image.
        min_face_px: smallest face that is searched, in pixels of the image given.
        max_side: longest side of the searched image.
        device: where the networks run.
    """

    name = "mtcnn"

    def __init__(
        self, store: WeightStore | None = None, min_face_px: int = 24, max_side: int = 1280, device: str = "cpu"
    ) -> None:
        self.min_face_px, self._max_side, self._device = min_face_px, max_side, device
        self._store = store or WeightStore()
        self._cascade: Cascade | None = None

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """(H, W, 3) RGB → faces, the largest first."""
        from reenact_zoo.faces.mtcnn import Cascade

        if self._cascade is None:
            self._cascade = Cascade(self._store, self._device)
        scale = min(1.0, self._max_side / max(image.shape[:2]))
        found = self._cascade.run(resize(image, scale), max(12.0, self.min_face_px * scale))
        return largest_first(
            [Detection(_unscaled(tuple(box), scale), float(score), points / scale) for box, score, points in found]
        )


class FirstThatFinds:
    """Asks detectors in turn and takes the first answer that is not empty."""

    def __init__(self, detectors: Sequence[FaceDetector]) -> None:
        self._detectors = tuple(detectors)
        self.name = "+".join(d.name for d in detectors)
        self.min_face_px = min(d.min_face_px for d in detectors)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """(H, W, 3) RGB → faces of the first detector that finds any."""
        return next((found for d in self._detectors if (found := d.detect(image))), [])


def default_detector(store: WeightStore | None = None, min_face_share: float = 0.15) -> FaceDetector:
    """HOG detector; where it finds nothing MTCNN looks, or without its weights HOG again, for smaller faces, and then
    the bundled landmark network.

    ``min_face_share``: of the image's shorter side, the smallest face of the first search; larger is faster.
    """
    store = store or WeightStore()
    hog = HogDetector(min_face_share=min_face_share)
    if all(store.available(name) for name in ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")):
        return FirstThatFinds([hog, MtcnnDetector(store)])
    further: list[FaceDetector] = [HogDetector(min_face_share=min_face_share / 3)]
    if store.available("synthetic_landmarks"):
        from reenact_zoo.faces.sweep import SweepDetector

        further.append(SweepDetector(store))
    return FirstThatFinds([hog, *further])
