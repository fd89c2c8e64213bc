"""Which face of a picture is meant, and which square around it the method sees."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reenact_zoo.faces.align import CropPolicy, SquareBox, crop, to_crop, to_normalised
from reenact_zoo.faces.detect import Detection, FaceDetector, default_detector
from reenact_zoo.faces.landmarks import LandmarkDetector, default_landmarks
from reenact_zoo.faces.track import FaceTracker
from reenact_zoo.ops.hulls import unlikeness
from reenact_zoo.types import InputError
from reenact_zoo.video.read import FrameSource

# The square rests while the face stays near its middle, as a camera man would do it: one that follows every frame would
# cancel the head's motion and pass the landmarks' jitter on to the whole picture.
START_SHIFT, STOP_SHIFT, CUT_SHIFT = 0.12, 0.03, 0.6  # distance from the middle, as a share of the side
START_ZOOM, STOP_ZOOM, CUT_ZOOM = 1.3, 1.06, 2.0  # ratio of the sides
FOLLOW = 0.9  # share of the old square that is kept per frame while it moves

MIN_LANDMARK_SCORE = 0.6  # OpenSeeFace gives 0.75 to 0.9 on faces, up to 0.5 on clothes that HOG takes for a face


@dataclass(frozen=True)
class Instruments:
    """Face detector and landmarks; None: the defaults."""

    detector: FaceDetector
    landmarks: LandmarkDetector

    @classmethod
    def default(cls) -> Instruments:
        """The best ones whose weights are at hand."""
        return cls(default_detector(), default_landmarks())


@dataclass(frozen=True)
class FaceCrop:
    """A face in its square: image (S, S, 3), landmarks (68, 2) normalised in it, and the square in the picture."""

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    square: SquareBox


class ChosenFace:
    """A detector that puts the wanted face first, and tells once when there was a choice.

    Where it finds several, only those count on which the landmarks settle: HOG alone sees three in the portrait of an
    astronaut, two of them in the space suit.

    Args:
        instruments: the real ones.
        face: 0 the largest …; None the largest, with a note on stderr. A picture with one face shows that one.
        where: the file, for messages.
    """

    def __init__(self, instruments: Instruments, face: int | None, where: Path) -> None:
        self._instruments, self._face, self._where = instruments, face, where
        self.name, self.min_face_px = instruments.detector.name, instruments.detector.min_face_px
        self._told = False

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """As the real one, with the wanted face first.

        Raises:
            InputError: more than one face, but none with this number.
        """
        found = self._instruments.detector.detect(image)
        if len(found) > 1:
            found = self._confirmed(image, found) or found
        if len(found) < 2:
            return found
        if self._face is None:
            self._tell(len(found))
            return found
        if self._face >= len(found):
            raise InputError(
                f"'{self._where}' shows {len(found)} faces, numbered 0 (largest) to {len(found) - 1}; "
                f"there is no face {self._face}"
            )
        return [found[self._face], *(d for i, d in enumerate(found) if i != self._face)]

    def _confirmed(self, image: NDArray[np.uint8], found: list[Detection]) -> list[Detection]:
        _, scores = self._instruments.landmarks.detect_scored(image, [d.box for d in found])
        return [d for d, score in zip(found, scores) if not score < MIN_LANDMARK_SCORE]  # NaN: no opinion

    def _tell(self, count: int) -> None:
        if not self._told:
            print(
                f"note: {count} faces in '{self._where}'; the largest is used, --face INDEX takes another",
                file=sys.stderr,
            )
        self._told = True


class SteadySquare:
    """The square around a moving face: rests, then follows smoothly, and jumps at a cut."""

    def __init__(self, policy: CropPolicy) -> None:
        self._policy = replace(policy, smoothing=FOLLOW)
        self._square: SquareBox | None = None
        self._moving = False

    def update(self, landmarks_px: NDArray[np.float32]) -> SquareBox:
        """Square for the next frame, from its landmarks (68, 2) px."""
        wanted = self._policy.square(landmarks_px)
        if self._square is None:
            self._square = wanted
            return wanted
        shift = max(abs(wanted.x - self._square.x), abs(wanted.y - self._square.y)) / self._square.side
        zoom = max(wanted.side / self._square.side, self._square.side / wanted.side)
        if shift > CUT_SHIFT or zoom > CUT_ZOOM:
            self._square, self._moving = wanted, False
        elif self._moving or shift > START_SHIFT or zoom > START_ZOOM:
            self._square = self._policy.blend(self._square, wanted)
            self._moving = shift > STOP_SHIFT or zoom > STOP_ZOOM
        return self._square


class DrivingFaces:
    """Finds and crops the driving face, frame after frame; detection runs only where tracking lost it.

    ``whole``: the crop is the largest centred square of the frame, wherever the face is.
    """

    def __init__(
        self, instruments: Instruments, policy: CropPolicy, face: int | None, where: Path, whole: bool = False
    ) -> None:
        detector = ChosenFace(instruments, face, where)
        self._tracker = FaceTracker(detector, instruments.landmarks)
        self._steady, self._size, self._whole = SteadySquare(policy), policy.size, whole

    def crop(self, image: NDArray[np.uint8]) -> FaceCrop | None:
        """The face in the next frame; None where there is none."""
        tracked = self._tracker.track(image)
        if tracked is None:
            return None
        square = SquareBox.of_image(*image.shape[:2]) if self._whole else self._steady.update(tracked.landmarks_px)
        return _face_crop(image, tracked.landmarks_px, square, self._size)


def most_alike(frames: FrameSource, faces: DrivingFaces, landmarks: NDArray[np.float32]) -> FaceCrop | None:
    """The driving face whose landmarks lie most like the given (68, 2), place and size set aside; None without one."""
    wanted, found, least = torch.from_numpy(landmarks), None, np.inf
    for frame in frames:
        face = faces.crop(frame.image)
        if face is None:
            continue
        distance = float(unlikeness(wanted, torch.from_numpy(face.landmarks)[None])[0])
        if distance < least:
            found, least = face, distance
    return found


def source_face(
    image: NDArray[np.uint8],
    instruments: Instruments,
    policy: CropPolicy,
    face: int | None,
    where: Path,
    whole: bool = False,
) -> FaceCrop:
    """The face of the source picture; ``whole``: in the largest centred square of it.

    Raises:
        InputError: no face; the message says what was tried.
    """
    detector = ChosenFace(instruments, face, where)
    tracked = FaceTracker(detector, instruments.landmarks).track(image)
    if tracked is None:
        height, width = image.shape[:2]
        raise InputError(
            f"no face found in the source '{where}' ({width}x{height} pixels; tried: detector {detector.name}, "
            f"landmarks {instruments.landmarks.name}); give a sharp, upright, mostly frontal portrait whose face is at "
            f"least {detector.min_face_px} pixels wide"
        )
    square = SquareBox.of_image(*image.shape[:2]) if whole else policy.square(tracked.landmarks_px)
    return _face_crop(image, tracked.landmarks_px, square, policy.size)


def _face_crop(image: NDArray[np.uint8], landmarks_px: NDArray[np.float32], square: SquareBox, size: int) -> FaceCrop:
    inside = to_normalised(to_crop(landmarks_px, square, size), size, size)
    return FaceCrop(crop(image, square, size), inside, square)
