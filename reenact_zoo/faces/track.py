"""Follows one face through the frames of a video, so that the detector need not run on every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.detect import Detection, FaceDetector, default_detector, iou
from reenact_zoo.faces.landmarks import LandmarkDetector, default_landmarks, landmark_box

UNSURE = 0.2


@dataclass(frozen=True)
class TrackedFace:
    """The followed face in one frame.

    Attributes:
        box: bounds of the landmarks (left, top, right, bottom), px.
        landmarks_px: (68, 2).
        score: certainty of the landmarks in [0, 1]; NaN where the instrument has none.
        was_detected: the detector ran on this frame and this face comes from it.
    """

    box: tuple[float, float, float, float]
    landmarks_px: NDArray[np.float32]
    score: float
    was_detected: bool


class FaceTracker:
    """Tracks by overlap: the landmarks' box of the last frame is the search region of the next.

    The face is lost, and the detector asked, when the landmarks' certainty falls below ``min_score`` or when their box
    jumps (IoU below ``min_iou``). Every ``redetect_every`` frames the detector checks that there still is a face.
    State is one face; ``reset`` forgets it.

    Args:
        detector, landmarks: instruments; None: the defaults.
        redetect_every: frames between two checks; 1 detects on every frame, 0 only when the face is lost.
        face_index: which face, 0 being the largest of the frame where it is first seen.
        min_score: see above; on real clips OpenSeeFace gave 0.68 to 0.87 on faces (0.68 behind a hand) and 0.24 to 0.64
            on background. A face that the detector has just found may have ``UNSURE`` less.
        min_iou: see above.
    """

    def __init__(
        self,
        detector: FaceDetector | None = None,
        landmarks: LandmarkDetector | None = None,
        redetect_every: int = 100,
        face_index: int = 0,
        min_score: float = 0.6,
        min_iou: float = 0.4,
    ) -> None:
        self._detector = detector or default_detector()
        self._landmarks = landmarks or default_landmarks()
        self._redetect_every, self._face_index = redetect_every, face_index
        self._min_score, self._min_iou = min_score, min_iou
        self.reset()

    def reset(self) -> None:
        """Forget the face, as at a cut."""
        self._last: TrackedFace | None = None
        self._since_detection = 0
        self.num_faces = 0
        """Faces that the detector found when it last ran: more than one is worth a note to the user."""

    def track(self, image: NDArray[np.uint8]) -> TrackedFace | None:
        """The face in the next frame (H, W, 3) RGB; None where there is none."""
        face = self._follow(image)
        self._since_detection += 1
        if face is None or 0 < self._redetect_every <= self._since_detection:
            face = self._detect(image, face)
        self._last = face
        return face

    def _follow(self, image: NDArray[np.uint8]) -> TrackedFace | None:
        if self._last is None:
            return None
        face = self._locate(image, self._last.box, around_landmarks=True)
        if face is None or iou(face.box, self._last.box) < self._min_iou:
            return None
        return face

    def _detect(self, image: NDArray[np.uint8], followed: TrackedFace | None) -> TrackedFace | None:
        """Ask the detector; a followed face that it confirms, or that it alone misses, is kept."""
        self._since_detection = 0
        found = self._detector.detect(image)
        self.num_faces = len(found)
        if followed is not None and (not found or any(_same(followed.box, d.box) for d in found)):
            return followed
        chosen = self._choose(found)
        return None if chosen is None else self._locate(image, chosen.box, around_landmarks=False)

    def _choose(self, found: list[Detection]) -> Detection | None:
        if self._last is not None:  # the face was lost a moment ago: take the one at its place
            near = [d for d in found if _same(self._last.box, d.box)]
            if near:
                return max(near, key=lambda d: iou(self._last.box, d.box))  # type: ignore[union-attr]
        return found[self._face_index] if self._face_index < len(found) else None

    def _locate(
        self, image: NDArray[np.uint8], box: tuple[float, float, float, float], *, around_landmarks: bool
    ) -> TrackedFace | None:
        points, scores = self._landmarks.detect_scored(image, [box], around_landmarks=around_landmarks)
        score = float(scores[0])
        needed = self._min_score if around_landmarks else self._min_score - UNSURE
        if score < needed or not _plausible(points[0], image.shape):  # NaN passes: no opinion
            return None
        return TrackedFace(landmark_box(points[0]), points[0], score, was_detected=not around_landmarks)


def _same(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Two instruments' boxes of one face overlap by more than this, boxes of neighbours by less."""
    return iou(a, b) > 0.25


def _plausible(points: NDArray[np.float32], shape: tuple[int, ...]) -> bool:
    """Finite, not collapsed, and its middle inside the image."""
    if not np.isfinite(points).all():
        return False
    left, top, right, bottom = landmark_box(points)
    x, y = (left + right) / 2, (top + bottom) / 2
    return min(right - left, bottom - top) >= 4 and 0 <= x < shape[1] and 0 <= y < shape[0]
