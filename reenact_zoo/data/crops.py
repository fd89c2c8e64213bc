"""The square that is cut out of every frame: the same for training and evaluation, one fixed box per clip.

A fixed box keeps the head's own motion in the picture; a box that followed the face would hide it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.datasets.base import ClipDataset, FrameRef
from reenact_zoo.faces.align import CropPolicy, SquareBox, crop
from reenact_zoo.faces.detect import FaceDetector, default_detector
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

POLICIES = ("none", "face")
PROBED_FRAMES = 7  # of each clip, evenly spaced, first and last included


@dataclass(frozen=True)
class CropSpec:
    """How frames become square pictures.

    Attributes:
        policy: "none": the largest centred square; "face": around the clip's largest face.
        scale: side of the square as a multiple of the longer side of the detected face box ("face" only).
        shift_y: offset of the centre as a share of that side, positive downwards ("face" only).
        size: side of the pictures in pixels.
    """

    policy: str = "none"
    scale: float = 1.6
    shift_y: float = 0.0
    size: int = 256

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(f"unknown crop policy '{self.policy}'; {nearest(self.policy, POLICIES)}")
        if self.size < 1 or self.scale <= 0:
            raise InputError(f"a crop needs a positive size and scale, not {self.size} and {self.scale}")


class CroppedClips:
    """Frames of a dataset as square pictures.

    Args:
        dataset: where frames come from.
        spec: how they are cropped.
        detector: makes the face detector, once, when a clip is first cropped by its face.

    Attributes:
        boxes: clip → the square cut out of it, for clips asked for so far; for reports.
    """

    def __init__(
        self, dataset: ClipDataset, spec: CropSpec, detector: Callable[[], FaceDetector] = default_detector
    ) -> None:
        self.dataset, self.spec = dataset, spec
        self.boxes: dict[str, SquareBox] = {}
        self._make_detector = detector
        self._detector: FaceDetector | None = None
        self._without_face: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_detector": None}  # every worker process makes its own

    def image(self, ref: FrameRef) -> Tensor:
        """(3, S, S) float32 RGB in [0, 1].

        Raises:
            InputError: the frame cannot be read, or (policy "face") no probed frame of its clip shows a face.
        """
        return torch.from_numpy(self.pixels(ref)).permute(2, 0, 1).float() / 255

    def pixels(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(S, S, 3) RGB; as ``image``."""
        frame = self.dataset.frame(ref)
        box = self.box(ref.clip) if self.spec.policy == "face" else self._centred(ref.clip, frame)
        if frame.shape[:2] == (self.spec.size, self.spec.size) and box == SquareBox.of_image(*frame.shape[:2]):
            return np.array(frame)  # nothing to cut: keep the pixels as they are
        return crop(frame, box, self.spec.size)

    def _centred(self, clip: str, frame: NDArray[np.uint8]) -> SquareBox:
        return self.boxes.setdefault(clip, SquareBox.of_image(frame.shape[0], frame.shape[1]))

    def box(self, clip: str) -> SquareBox:
        """The square of a clip by policy "face": median centre and size of the face boxes in ``PROBED_FRAMES`` frames.

        Raises:
            InputError: no face in any of them.
        """
        if clip in self._without_face:
            raise InputError(self._without_face[clip])
        if clip not in self.boxes:
            self.boxes[clip] = self._detect(clip)
        return self.boxes[clip]

    def _detect(self, clip: str) -> SquareBox:
        if self._detector is None:
            self._detector = self._make_detector()
        last = self.dataset.clip(clip).num_frames - 1
        indices = sorted({round(index) for index in np.linspace(0, last, PROBED_FRAMES)})
        found = [self._detector.detect(self.dataset.frame(FrameRef(clip, index))) for index in indices]
        faces = np.array([faces[0].box for faces in found if faces], dtype=np.float64)
        if not len(faces):
            shown = ", ".join(map(str, indices))
            self._without_face[clip] = (
                f"no face found in clip '{clip}' (frames {shown}, detector {self._detector.name}); "
                "use larger pictures, leave the clip out, or set crop.policy=none"
            )
            raise InputError(self._without_face[clip])
        x, y = np.median((faces[:, 0] + faces[:, 2]) / 2), np.median((faces[:, 1] + faces[:, 3]) / 2)
        half = np.median(np.maximum(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])) / 2
        policy = CropPolicy(scale=self.spec.scale, shift_y=self.spec.shift_y, size=self.spec.size)
        return policy.square((x - half, y - half, x + half, y + half))
