"""68 landmarks in the iBUG order behind one protocol: OpenSeeFace's network, one trained on renders, dlib's trees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.networks import synthetic_landmarks
from reenact_zoo.faces.synthetic_crop import box_crop, face_crop, points_to_image
from reenact_zoo.weights.store import WeightsMissing, WeightStore

Box = Sequence[float]  # left, top, right, bottom in pixels

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


class LandmarkDetector(Protocol):
    """Finds 68 points for every given face box of one image. Index 0-16 jaw (image left to right), 17-26 brows,
    27-35 nose, 36-41 eye at image left, 42-47 eye at image right, 48-59 outer lips, 60-67 inner lips.
    """

    name: str

    def detect(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.float32]:
        """(H, W, 3) RGB and N boxes of a face detector → (N, 68, 2) pixels."""

    def detect_scored(
        self, image: NDArray[np.uint8], boxes: Sequence[Box], *, around_landmarks: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As ``detect``, with a certainty in [0, 1] per face (NaN where the instrument has none).

        ``around_landmarks``: the boxes bound the face's landmarks (of the last frame), not what a detector draws.
        """


def landmark_box(points: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """(68, 2) → smallest box (left, top, right, bottom) around the points."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return float(left), float(top), float(right), float(bottom)


# --- OpenSeeFace ----------------------------------------------------------------------------------------------------

# Row i of the 68 points is row FROM_66[i] of OpenSeeFace's 66. Its points 0-47 are iBUG's. It has one point at each
# mouth corner (58 at image left, 62 at image right) where iBUG has an outer (48, 54) and an inner one (60, 64);
# pictures show it on the outer corner. Its 48-52 are iBUG 49-53, 53-57 are 55-59, 59-61 are 61-63, 63-65 are 65-67.
FROM_66 = np.array([*range(48), 58, *range(48, 53), 62, *range(53, 58), 58, *range(59, 62), 62, *range(63, 66)])

# How far the inner corner lies from the outer one towards the middle of its two inner-lip neighbours, as a share of
# that distance. Measured on the neutral head of ICT-FaceKit (MIT).
INNER_CORNER_SHARE = 0.20


def to_68(points66: NDArray[np.float32]) -> NDArray[np.float32]:
    """OpenSeeFace's (…, 66, 2) → (…, 68, 2); the two inner mouth corners, which it lacks, are derived."""
    points = points66[..., FROM_66, :]
    for corner, upper, lower in ((60, 61, 67), (64, 63, 65)):
        middle = (points[..., upper, :] + points[..., lower, :]) / 2
        points[..., corner, :] += INNER_CORNER_SHARE * (middle - points[..., corner, :])
    return points


class OpenSeeFaceLandmarks:
    """The 66-point network of OpenSeeFace (BSD-2-Clause), in the 68-point layout.

    The crop is the landmarks' box widened by 10 % on the left and right and 12.5 % above and below, stretched to
    224x224, normalised by the ImageNet mean and std. A detector's box is only the start: the network runs a second time
    on the box of its own points, so that the result hardly depends on the detector.

    Args:
        store: where openseeface_lm0 lies.
        threads: of onnxruntime; 1 and 2 give equal results.

    Raises:
        WeightsMissing: the file is not at hand.
    """

    name = "openseeface_lm0"
    min_score = 0.4  # its median on background; on real faces it is above 0.65
    SIZE, CELLS, POINTS = 224, 28, 66
    MARGIN = (0.10, 0.125)  # of width, of height; authors' tracker
    LOGIT_FACTOR = 16.0  # offsets are sigmoid-coded; authors' tracker

    def __init__(self, store: WeightStore | None = None, threads: int = 1) -> None:
        self._path = (store or WeightStore()).path(self.name)
        self._threads = threads
        self._session: Any = None  # built at the first image: a session cannot be pickled into workers

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def detect(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.float32]:
        """(H, W, 3) RGB and N detector boxes → (N, 68, 2) pixels."""
        return self.detect_scored(image, boxes)[0]

    def detect_scored(
        self, image: NDArray[np.uint8], boxes: Sequence[Box], *, around_landmarks: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (N, 68, 2) and mean peak of the heat maps (N,)."""
        if len(boxes) == 0:
            return np.zeros((0, 68, 2), np.float32), np.zeros(0, np.float32)
        points, scores = self._pass(image, boxes)
        if not around_landmarks:
            points, scores = self._pass(image, [landmark_box(p) for p in points])
        return to_68(points), scores

    def _pass(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        regions = np.array([self._region(box) for box in boxes], np.float32)  # (N, 4): left, top, width, height
        crops = np.stack([_stretched(image, region, self.SIZE) for region in regions])
        maps = self._run(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        points, scores = self._decode(maps)
        return (regions[:, None, :2] + points * regions[:, None, 2:] / self.SIZE).astype(np.float32), scores

    def _region(self, box: Box) -> tuple[float, float, float, float]:
        left, top, right, bottom = box
        width, height = max(right - left, 2.0), max(bottom - top, 2.0)
        across, up = self.MARGIN
        return left - across * width, top - up * height, (1 + 2 * across) * width, (1 + 2 * up) * height

    def _run(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        # one image per run: a batch gives other rounding, and results must not depend on the neighbours
        return np.concatenate([self._session.run(None, {"input": crop[None]})[0] for crop in crops])

    def _decode(self, maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, 198, 28, 28) → points (N, 66, 2) in crop pixels and scores (N,)."""
        heat, down, across = maps.reshape(-1, 3, self.POINTS, self.CELLS**2).transpose(1, 0, 2, 3)
        peak = heat.argmax(-1)[..., None]
        row, column = np.divmod(peak[..., 0], self.CELLS)
        cell = (self.SIZE - 1) / (self.CELLS - 1)  # peaks sit on a grid from the first to the last pixel
        x = column * cell + self._offset(np.take_along_axis(across, peak, -1)[..., 0])
        y = row * cell + self._offset(np.take_along_axis(down, peak, -1)[..., 0])
        scores = np.take_along_axis(heat, peak, -1)[..., 0].mean(-1)
        return np.stack([x, y], -1).astype(np.float32), scores.astype(np.float32)

    def _offset(self, coded: NDArray[np.float32]) -> NDArray[np.float32]:
        p = np.clip(coded, 1e-7, 1 - 1e-7)
        return (self.SIZE - 1) * np.log(p / (1 - p)) / self.LOGIT_FACTOR


def _stretched(image: NDArray[np.uint8], region: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Region (left, top, width, height) of an image as normalised (size, size, 3); black outside the image."""
    import cv2

    left, top, width, height = region.tolist()
    # Bilinear sampling skips pixels when it shrinks by more than two: sample finer, then average.
    finer = int(np.clip(np.ceil(min(width, height) / size / 2), 1, 8))
    scale_x, scale_y = size * finer / width, size * finer / height
    matrix = np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y]])
    if finer > 1:  # the average of a block lies half a block further
        matrix[:, 2] += (finer - 1) / 2
    crop = cv2.warpAffine(image, matrix, (size * finer, size * finer), flags=cv2.INTER_LINEAR)
    if finer > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return crop * (1 / (255 * IMAGENET_STD)) - IMAGENET_MEAN / IMAGENET_STD


# --- dlib -----------------------------------------------------------------------------------------------------------


class DlibLandmarks:
    """A dlib shape predictor with 68 points.

    Args:
        name: manifest entry: "dlib_68" (the user's own copy of shape_predictor_68_face_landmarks.dat) or
            "synthetic_landmarks_68".
        store: where the file lies.

    Raises:
        WeightsMissing: the file is not at hand.
    """

    def __init__(self, name: str = "dlib_68", store: WeightStore | None = None) -> None:
        self.name = name
        self._path = (store or WeightStore()).path(name)
        self._predictor: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_predictor": None}

    def detect(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.float32]:
        """(H, W, 3) RGB and N detector boxes → (N, 68, 2) pixels."""
        return self.detect_scored(image, boxes)[0]

    def detect_scored(
        self, image: NDArray[np.uint8], boxes: Sequence[Box], *, around_landmarks: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (N, 68, 2); the scores are NaN, because the predictor has no opinion."""
        import dlib

        if self._predictor is None:
            self._predictor = dlib.shape_predictor(str(self._path))
        image = np.ascontiguousarray(image)
        points = np.zeros((len(boxes), 68, 2), np.float32)
        for row, box in zip(points, boxes):
            edges = hog_like_box(box) if around_landmarks else box
            left, top, right, bottom = (round(edge) for edge in edges)
            shape = self._predictor(image, dlib.rectangle(left, top, right - 1, bottom - 1))
            row[:] = [(part.x, part.y) for part in shape.parts()]
        return points, np.full(len(boxes), np.nan, np.float32)


def hog_like_box(box: Box) -> tuple[float, float, float, float]:
    """The square that dlib's face detector would draw around a face whose landmarks fill ``box``.

    It has the side of the longer edge and lies 12 % of it higher (measured on real frames); shape predictors are
    trained on such squares.
    """
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2 - 0.12 * side
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


# --- the synthetic network -------------------------------------------------------------------------------------------


class SyntheticLandmarks:
    """The 68-point network trained on renders of synthetic people; it knows no real face.

    A detector's box is only the start: the network runs a second time on the face crop around its own points.

    Args:
        store: where synthetic_landmarks lies.
        device: where the network runs.

    Raises:
        WeightsMissing: the file is not at hand.
    """

    name = "synthetic_landmarks"
    min_score = 0.5

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self._network = synthetic_landmarks.SyntheticLandmarks()
        (store or WeightStore()).load_into(self._network, self.name)
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def detect(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.float32]:
        """(H, W, 3) RGB and N detector boxes → (N, 68, 2) pixels."""
        return self.detect_scored(image, boxes)[0]

    @torch.inference_mode()
    def detect_scored(
        self, image: NDArray[np.uint8], boxes: Sequence[Box], *, around_landmarks: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (N, 68, 2) and the network's confidence (N,) that the last crop shows a face."""
        if len(boxes) == 0:
            return np.zeros((0, 68, 2), np.float32), np.zeros(0, np.float32)
        picture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device).float() / 255
        pictures = picture.expand(len(boxes), -1, -1, -1)
        edges = torch.tensor([list(box) for box in boxes], dtype=torch.float32, device=self._device)
        if around_landmarks:
            points = edges.unflatten(1, (2, 2))  # two corners bound the points as well as the points themselves
        else:
            points = self._located(*box_crop(pictures, edges))[0]
        points, confidence = self._located(*face_crop(pictures, points))
        return points.cpu().numpy(), confidence.cpu().numpy()

    def _located(self, crops: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
        found = self._network(crops)
        return points_to_image(found.points, matrices), found.confidence


DEFAULT_ORDER = ("openseeface_lm0", "dlib_68", "synthetic_landmarks", "synthetic_landmarks_68")
"""Manifest entries, best first; any one of them gives landmarks."""
_BY_NETWORK: dict[str, Callable[[WeightStore], LandmarkDetector]] = {
    "openseeface_lm0": OpenSeeFaceLandmarks,
    "synthetic_landmarks": SyntheticLandmarks,
}


def default_landmarks(store: WeightStore | None = None) -> LandmarkDetector:
    """The first of ``DEFAULT_ORDER`` that is at hand.

    Raises:
        WeightsMissing: none is at hand; the text names them all.
    """
    store = store or WeightStore()
    for name in DEFAULT_ORDER:
        if store.available(name):
            return _BY_NETWORK[name](store) if name in _BY_NETWORK else DlibLandmarks(name, store)
    needs = " | or ".join(store.missing(name) or "" for name in DEFAULT_ORDER)
    raise WeightsMissing(f"no landmark weights are at hand; one of these is needed, best first: {needs}")
