"""dlib's 68-landmark predictor, trained on renders.

It is an ensemble of regression trees (Kazemi and Sullivan, CVPR 2014) trained by dlib on renders
of synthetic heads, so that a machine without any weight file can still find landmarks. It knows no real face.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig
from reenact_zoo.faces.detect import HogDetector

NAME = "synthetic_landmarks_68"
FRAMES_PER_PERSON = 6  # many people matter more than many frames of each
RENDERED, WORKING = 128, 256  # pixels; painted skin is cheap at 128, and dlib rounds points to whole pixels, so enlarge


class Example(NamedTuple):
    """One training picture with its true points and the detector's box."""

    image: NDArray[np.uint8]  # (H, W, 3)
    points_px: NDArray[np.float32]  # (68, 2)
    box: tuple[float, float, float, float] | None  # left, top, right, bottom in pixels; None: not detected


@dataclass(frozen=True)
class TreeSettings:
    """dlib's options; depth 3 and 48 trees a stage keep the file under 3 MB (2**3 leaves of 136 numbers each)."""

    cascade_depth: int = 9
    tree_depth: int = 3
    num_trees_per_cascade_level: int = 48
    nu: float = 0.1
    oversampling_amount: int = 8
    oversampling_translation_jitter: float = 0.08
    feature_pool_size: int = 500
    lambda_param: float = 0.1


def examples(dataset: Synthetic, count: int, seed: int) -> Iterator[Example]:
    """Random frames, equally many of every clip, at random picture quality, with the HOG detector's box."""
    rng = np.random.default_rng(seed)
    detector = HogDetector()
    for number in range(count):
        clip = dataset.clips[number * len(dataset.clips) // count]  # clip after clip: a person is painted once
        ref = FrameRef(clip.name, int(rng.integers(clip.num_frames)))
        image = degrade(dataset.frame(ref), rng)
        landmarks = dataset.render(ref).landmarks[0].numpy()  # annotations would also draw the parsing
        found = detector.detect(image)
        points = ((landmarks + 1) * WORKING - 1) / 2
        yield Example(image, points.astype(np.float32), found[0].box if found else None)


def degrade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Low resolution, blur, noise and gamma as in real clips and in the benchmark's 64-pixel pictures."""
    small = int(rng.choice([64, 96, RENDERED]))
    out = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    out = cv2.resize(out, (WORKING, WORKING), interpolation=cv2.INTER_CUBIC)
    value = (out / 255.0) ** rng.uniform(0.7, 1.4) + rng.normal(0, rng.uniform(0, 0.03), out.shape)
    return (np.clip(value, 0, 1) * 255).astype(np.uint8)


def box_relation(found: list[Example]) -> NDArray[np.float64]:
    """Median of the detector's box in units of the landmarks' box: (left, top, right, bottom) offsets."""
    rows = []
    for example in found:
        if example.box is not None:
            low, span = _extent(example.points_px)
            rows.append((np.array(example.box).reshape(2, 2) - low) / span)
    return np.median(np.stack(rows), axis=0)


def _extent(points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low = points.min(axis=0)
    return low, points.max(axis=0) - low


def boxed(example: Example, relation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The detector's box, or where it found none the box it would typically give for these landmarks."""
    if example.box is not None:
        return example.box
    low, span = _extent(example.points_px)
    (left, top), (right, bottom) = low + relation * span
    return float(left), float(top), float(right), float(bottom)


def fit_trees(found: list[Example], settings: TreeSettings, seed: int, threads: int) -> Any:
    """dlib.shape_predictor fitted to the examples."""
    import dlib

    relation = box_relation(found)
    detections = []
    for example in found:
        points = [dlib.point(round(float(x)), round(float(y))) for x, y in example.points_px]
        rectangle = dlib.rectangle(*(round(v) for v in boxed(example, relation)))
        detections.append([dlib.full_object_detection(rectangle, points)])
    options = dlib.shape_predictor_training_options()
    for key, value in asdict(settings).items():
        setattr(options, key, value)
    options.random_seed, options.num_threads, options.be_verbose = str(seed), threads, False
    return dlib.train_shape_predictor([e.image for e in found], detections, options)


def held_out_error(predictor: Any, found: list[Example], relation: NDArray[np.float64]) -> dict[str, float]:
    """Median and 95th percentile of the mean point error in % of the inter-ocular distance |p36 - p45|."""
    import dlib

    errors = []
    for example in found:
        rectangle = dlib.rectangle(*(round(v) for v in boxed(example, relation)))
        parts = predictor(example.image, rectangle).parts()
        points = np.array([(p.x, p.y) for p in parts])
        eyes = np.linalg.norm(example.points_px[36] - example.points_px[45])
        errors.append(100 * np.linalg.norm(points - example.points_px, axis=1).mean() / max(float(eyes), 1.0))
    return {"median_percent": float(np.median(errors)), "p95_percent": float(np.percentile(errors, 95))}


def train_landmarks(
    out: Path, head: str, count: int, held_out: int, seed: int, threads: int, command: str
) -> dict[str, Any]:
    """Train, measure on test identities, and write the predictor with its card; returns the card."""
    people = max(1, count // FRAMES_PER_PERSON)
    train = Synthetic(SyntheticConfig(head=head, image_size=RENDERED, split="train", train_identities=people))
    test = Synthetic(SyntheticConfig(head=head, image_size=RENDERED, split="test"))
    started = time.monotonic()
    learn = list(track(examples(train, count, seed), "rendering", count))
    judge = list(track(examples(test, held_out, seed + 1), "held out", held_out))
    settings = TreeSettings()
    predictor = fit_trees(learn, settings, seed, threads)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        temporary = Path(folder) / f"{NAME}.dat"
        predictor.save(str(temporary))
        digest, size = sha256(temporary.read_bytes()).hexdigest(), temporary.stat().st_size
        temporary.replace(out / temporary.name)
    relation = box_relation(learn)
    card = {
        "name": NAME,
        "command": command,
        "trained_on": f"{count} renders of train identities, head model '{head}'; no real face",
        "settings": asdict(settings),
        "held_out": {"identities": "test", "pictures": held_out, **held_out_error(predictor, judge, relation)},
        "detected_share": float(np.mean([e.box is not None for e in judge])),
        "bytes": size,
        "sha256": digest,
        "seconds": round(time.monotonic() - started),
    }
    (out / f"{NAME}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card
