"""Instruments and methods whose answers are known, and clips for them: a face is a red rectangle on grey."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.faces.detect import Detection, largest_first
from reenact_zoo.serving.animate import Instruments
from reenact_zoo.video.write import VideoWriter, write_image

SIDE = (96, 72)  # width, height of the clips

METHODS = '''
from dataclasses import dataclass

import torch
from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.types import ReenactmentOutput


class Echo(ReenactmentModule):
    """Returns the driving crop and remembers what it was given."""

    trainable = False
    requires = frozenset({"source_landmarks", "driving_landmarks"})
    calls = []
    interrupt_at = None
    nan_at = ()

    def phases(self):
        return []

    def encode_source(self, batch):
        self.calls.append(("encode", dict(batch)))
        return {"source": batch["source"]}

    def drive(self, state, batch):
        number = sum(kind == "drive" for kind, _ in self.calls)
        self.calls.append(("drive", dict(batch)))
        if number == self.interrupt_at:
            raise KeyboardInterrupt
        image = batch["driving"].clone()
        return ReenactmentOutput(image * float("nan") if number in self.nan_at else image)


class Trained(Echo):
    trainable = True


@dataclass
class SeveralConfig:
    sources: int = 1


class Several(Echo):
    """Takes more than one picture of a person."""

    Config = SeveralConfig

    def encode_source(self, batch):
        return {**super().encode_source(batch), "extra_sources": batch["extra_sources"]}


class NoFriend(Echo):
    requires = frozenset({"driving_coefficients_window"})


class Plain(ReenactmentModule):
    """Keeps nothing."""

    trainable = False

    def phases(self):
        return []

    def reenact(self, batch):
        return ReenactmentOutput(batch["driving"])
'''


class RedDetector:
    """Finds the connected red rectangles."""

    name, min_face_px = "red", 4

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        from skimage.measure import label, regionprops

        self.calls += 1
        red = (image[..., 0] > 180) & (image[..., 1] < 90)
        boxes = [r.bbox for r in regionprops(label(red)) if r.area > 30]
        return largest_first([Detection((float(x0), float(y0), float(x1), float(y1)), 1.0) for y0, x0, y1, x1 in boxes])


class RedLandmarks:
    """68 points on an ellipse inside the red rectangle nearest to the box; score 0 where there is no red."""

    name = "ellipse"

    def detect_scored(
        self, image: NDArray[np.uint8], boxes: Sequence[Any], *, around_landmarks: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        points = np.zeros((len(boxes), 68, 2), np.float32)
        scores = np.zeros(len(boxes), np.float32)
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        for row, box in enumerate(boxes):
            found = RedDetector().detect(image)
            if found:
                middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
                near = min(found, key=lambda d: abs(d.box[0] + d.box[2] - 2 * middle[0]))
                x0, y0, x1, y1 = near.box
                points[row, :, 0] = (x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(angle)
                points[row, :, 1] = (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(angle)
                scores[row] = 1.0
        return points, scores

    def detect(self, image: NDArray[np.uint8], boxes: Sequence[Any]) -> NDArray[np.float32]:
        return self.detect_scored(image, boxes)[0]


def picture(level: int, faces: Sequence[tuple[int, int, int, int]] = ((36, 24, 24, 24),)) -> NDArray[np.uint8]:
    """Grey of ``level`` with red rectangles (x, y, width, height); the second one has more blue in it."""
    image = np.full((SIDE[1], SIDE[0], 3), level, np.uint8)
    for number, (x, y, width, height) in enumerate(faces):
        image[y : y + height, x : x + width] = (230, 30, 30 + 80 * number)
    return image


class Stage:
    """The test's own folder with a source, clips, fake instruments and the methods above as module ``zoo_methods``."""

    picture = staticmethod(picture)

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stage"
        self.folder.mkdir()
        self.out = folder / "out"
        self.out.mkdir()
        self.detector = RedDetector()
        self.instruments = Instruments(self.detector, RedLandmarks())
        self.source = self.folder / "source.png"
        write_image(self.source, picture(100))
        (folder / "zoo_methods.py").write_text(METHODS)
        self.methods = types.ModuleType("zoo_methods")
        exec(compile(METHODS, "zoo_methods.py", "exec", dont_inherit=True), self.methods.__dict__)

    def clip(
        self,
        frames: int = 12,
        without_face: Sequence[int] = (),
        rate: Fraction = Fraction(30),
        times: Sequence[Fraction] | None = None,
        name: str = "driving.mp4",
        faces: Sequence[tuple[int, int, int, int]] = ((36, 24, 24, 24),),
    ) -> Path:
        """Frame i is grey of level 10 i (modulo 200); the faces are left out where told."""
        path = self.folder / name
        base = Fraction(1, 90000) if times else None
        with VideoWriter(path, rate, SIDE, time_base=base, crf=4) as writer:
            for index in range(frames):
                shown = () if index in without_face else faces
                writer.write(picture(10 * index % 200, shown), times[index] if times else None)
        return path

    def files(self) -> list[str]:
        """What lies in the output folder."""
        return sorted(path.name for path in self.out.iterdir())

    def levels(self, images: Any) -> list[int]:
        """Background levels of images in steps of 10, read at the upper left corner."""
        return [round(float(image[2:6, 2:6].mean()) / 10) * 10 for image in images]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage whose methods can be named "zoo_methods:Echo"."""
    made = Stage(tmp_path)
    monkeypatch.setitem(sys.modules, "zoo_methods", made.methods)
    return made
