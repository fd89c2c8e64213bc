"""Do the instruments tell people apart, see mirrored heads mirrored, and agree with each other on real faces?

    python benchmarks/instruments_real_clips_evidence.py folder/of/clips [--frames 10] [--json evidence.json]

Each clip of the folder shows one person. Of every clip ten frames are taken, evenly spaced; where something covers the
face (``UNCOVERED``), the nearest later or earlier frame without it. Three questions, each with its own verdict:

1. Identity (MobileFaceNet): is every cosine within a clip above every cosine between clips? Exceptions are listed.
2. Pose (3DDFA_V2): do yaw and roll change their sign, and pitch not, when the picture is mirrored and face and
   landmarks are searched anew?
3. Landmarks: how far are OpenSeeFace's eye centres, nose tip and mouth corners from MTCNN's, in shares of the distance
   between the eye centres? Median at most 5 %; the 95th percentile is reported.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from reenact_zoo.faces.align import five_points
from reenact_zoo.faces.detect import MtcnnDetector
from reenact_zoo.faces.expression import TddfaFace
from reenact_zoo.faces.identity import MobileFaceNetIdentity
from reenact_zoo.faces.landmarks import OpenSeeFaceLandmarks
from reenact_zoo.types import InputError
from reenact_zoo.video.read import RandomAccessVideo

# Mean height of OpenSeeFace's heat maps. On 30 frames of a clip in which a hand comes before the face, all 11 frames
# with the hand on the face lay below it and the 19 others above; it also leaves out a few uncovered frames elsewhere.
UNCOVERED = 0.80
CLEAR_DEG = 3.0  # smaller angles may have either sign: the error of the instrument
POINTS = ("eye at image left", "eye at image right", "nose tip", "mouth at image left", "mouth at image right")


@dataclass(frozen=True)
class Face:
    """One frame's face.

    Attributes:
        index: frame number.
        image: (H, W, 3) uint8.
        landmarks: OpenSeeFace's (68, 2) px.
        five: MTCNN's (5, 2) px.
        score: OpenSeeFace's certainty.
    """

    index: int
    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    five: NDArray[np.float32]
    score: float


class Finder:
    """MTCNN for the box and five points, OpenSeeFace for 68."""

    def __init__(self) -> None:
        self._detector, self._landmarks = MtcnnDetector(min_face_px=40), OpenSeeFaceLandmarks()

    def find(self, image: NDArray[np.uint8], index: int = 0) -> Face | None:
        """Largest face, or None."""
        found = self._detector.detect(image)
        if not found or found[0].five_points is None:
            return None
        points, scores = self._landmarks.detect_scored(image, [found[0].box])
        return Face(index, image, points[0], found[0].five_points, float(scores[0]))


def chosen(path: Path, count: int, finder: Finder) -> tuple[list[Face], list[Face]]:
    """Evenly spaced faces as they come, and the uncovered ones nearest to them."""
    plain, clear = [], []
    with RandomAccessVideo(path) as video:
        wanted = np.linspace(0, len(video) - 1, count).round().astype(int).tolist()
        for place in wanted:
            for index in _around(place, len(video)):
                face = finder.find(video.frame(index), index)
                if face is not None and index == place:
                    plain.append(face)
                taken = any(index == other.index for other in clear)
                if face is not None and face.score >= UNCOVERED and not taken:
                    clear.append(face)
                    break
    return plain, clear


def _around(place: int, length: int) -> Iterator[int]:
    """The place itself, then later and earlier ones, ever further away, four frames at a time."""
    yield place
    for step in range(4, length, 4):
        yield from (index for index in (place + step, place - step) if 0 <= index < length)


def as_batch(face: Face) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (1, 3, H, W) in [0, 1] and landmarks (1, 68, 2)."""
    image = torch.from_numpy(np.ascontiguousarray(face.image.transpose(2, 0, 1)))[None].float() / 255
    return image, torch.from_numpy(face.landmarks)[None]


def identity(clips: dict[str, list[Face]]) -> dict[str, object]:
    """Cosines of all pairs of frames, within and between clips."""
    tool = MobileFaceNetIdentity()
    names = [name for name, faces in clips.items() for _ in faces]
    frames = [face.index for faces in clips.values() for face in faces]
    with torch.inference_mode():
        rows = torch.cat([tool(*as_batch(face)) for faces in clips.values() for face in faces])
    cosines = (rows @ rows.T).numpy()
    first, second = np.triu_indices(len(rows), 1)
    same = np.array([names[i] == names[j] for i, j in zip(first, second)])
    values = cosines[first, second]
    highest = values[~same].max()
    low = [k for k in np.flatnonzero(same) if values[k] <= highest]
    exceptions = [f"{names[first[k]]} frames {frames[first[k]]}, {frames[second[k]]}: {values[k]:.3f}" for k in low]
    return {
        "within": _summary(values[same]),
        "between": _summary(values[~same]),
        "exceptions": exceptions,
        "passed": not exceptions,
    }


def mirror(clips: dict[str, list[Face]], finder: Finder) -> dict[str, object]:
    """Yaw, pitch and roll of every frame and of its mirror image, searched anew."""
    tool = TddfaFace()
    straight, mirrored = [], []
    with torch.inference_mode():
        for face in (face for faces in clips.values() for face in faces):
            other = finder.find(np.ascontiguousarray(face.image[:, ::-1]))
            if other is None:
                continue
            straight.append(tool(*as_batch(face))[0, -3:].numpy())
            mirrored.append(tool(*as_batch(other))[0, -3:].numpy())
    a, b = np.array(straight), np.array(mirrored)
    result: dict[str, object] = {"frames": len(a), "passed": True}
    for axis, (name, sign) in enumerate((("yaw", -1), ("pitch", 1), ("roll", -1))):
        clear = np.abs(a[:, axis]) >= CLEAR_DEG
        right = np.sign(b[clear, axis]) == sign * np.sign(a[clear, axis])
        error = np.abs(b[:, axis] - sign * a[:, axis])
        result[name] = {
            "clear_frames": int(clear.sum()),
            "sign_as_expected": int(right.sum()),
            "mean_error_deg": float(error.mean()),
            "max_error_deg": float(error.max()),
        }
        result["passed"] = bool(result["passed"]) and (name == "pitch" or bool(right.all()))
    return result


def agreement(faces: list[Face]) -> dict[str, object]:
    """Distances of OpenSeeFace's five points from MTCNN's in shares of OpenSeeFace's inter-ocular distance."""
    mine = np.stack([five_points(face.landmarks) for face in faces])
    theirs = np.stack([face.five for face in faces])
    eyes = np.linalg.norm(mine[:, 0] - mine[:, 1], axis=-1)
    distance = np.linalg.norm(mine - theirs, axis=-1) / eyes[:, None]
    return {
        "frames": len(faces),
        "median": float(np.median(distance)),
        "percentile_95": float(np.quantile(distance, 0.95)),
        "median_of_each_point": {name: float(np.median(d)) for name, d in zip(POINTS, distance.T)},
        "passed": bool(np.median(distance) <= 0.05),
    }


def _summary(values: NDArray[np.float32]) -> dict[str, float]:
    return {
        "pairs": len(values),
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of videos, one person each")
    parser.add_argument("--frames", type=int, default=10, help="of each clip")
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    files = sorted(p for p in arguments.clips.iterdir() if p.suffix in (".mp4", ".mkv", ".mov", ".avi", ".webm"))
    if len(files) < 2:
        raise InputError(f"'{arguments.clips}' holds {len(files)} videos; two or more people are needed")
    finder, plain, clear = Finder(), [], {}
    for path in files:
        evenly, uncovered = chosen(path, arguments.frames, finder)
        plain += evenly
        clear[path.stem] = uncovered
    moved = {name: sum(f.index not in {p.index for p in plain} for f in faces) for name, faces in clear.items()}
    evidence = {
        "frames": {name: [face.index for face in faces] for name, faces in clear.items()},
        "moved_to_an_uncovered_frame": {name: count for name, count in moved.items() if count},
        "identity": identity(clear),
        "mirror": mirror(clear, finder),
        "landmarks": agreement([face for faces in clear.values() for face in faces]),
        "landmarks_on_all_evenly_spaced_frames": agreement(plain),
    }
    Console().print_json(json.dumps(evidence))
    if arguments.json:
        arguments.json.write_text(json.dumps(evidence, indent=1), encoding="utf-8")
    if not all(evidence[name]["passed"] for name in ("identity", "mirror", "landmarks")):  # type: ignore[index]
        sys.exit(1)


if __name__ == "__main__":
    main()
