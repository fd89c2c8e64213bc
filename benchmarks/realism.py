"""How real the synthetic people look to instruments that were trained on real faces alone.

    REENACT_ZOO_WEIGHTS=folder python benchmarks/realism.py [--identities 60] [--frames 5] [--json realism.json]

Frames of random test people at 256 pixels. OpenSeeFace starts from the box of the true landmarks and then refines its
own box; 3DDFA_V2 and MobileFaceNet read the frame through OpenSeeFace's points, so that no truth reaches them. Printed:

- head rotation: 3DDFA_V2 against the truth (correlation, bias, mean absolute error);
- landmarks: OpenSeeFace against the true 68, mean point error of a frame in % of the distance between the outer eye
  corners (true, frontal: measured in the head, so that a turned head is not flattered); per region also the mean
  offset along the head's own axes, which a different definition of a point shows as;
- identity: MobileFaceNet cosines within and between people, accuracy at the best threshold, equal error rate;
- detection rates of MTCNN and dlib's HOG detector by yaw.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import VERSION, Synthetic, SyntheticConfig
from reenact_zoo.faces.detect import FaceDetector, HogDetector, MtcnnDetector, iou
from reenact_zoo.faces.head_pose import pose_from_tddfa
from reenact_zoo.faces.identity import MobileFaceNetIdentity
from reenact_zoo.faces.landmarks import OpenSeeFaceLandmarks, landmark_box
from reenact_zoo.faces.tddfa import Tddfa

SIZE = 256
ANGLES = ("yaw", "pitch", "roll")
YAW_BINS = ((0, 15), (15, 30), (30, 45), (45, 90))
REGIONS = {
    "contour": range(17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "outer lips": range(48, 60),
    "inner lips": range(60, 68),
}
OVERLAP = 0.3  # of a detection with the box of the true landmarks, to count as a hit
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """What is true of N frames and what the instruments say."""

    identity: NDArray[np.str_]  # (N,)
    rotation: Array  # (N, 3) degrees, true
    tddfa: Array  # (N, 3) degrees
    truth: Array  # (N, 68, 2) px
    openseeface: Array  # (N, 68, 2) px
    eye_distance: Array  # (N,) px between the outer eye corners, as seen from the front
    embedding: Array  # (N, 128) unit length
    found: dict[str, NDArray[np.bool_]]  # (N,) per detector


def frames(dataset: Synthetic, per_identity: int, seed: int) -> list[FrameRef]:
    """Random frames, as many of every identity, spread over its clips."""
    rng = np.random.default_rng(seed)
    refs = []
    for identity in dict.fromkeys(clip.identity for clip in dataset.clips):
        clips = [clip for clip in dataset.clips if clip.identity == identity]
        for k in range(per_identity):
            clip = clips[k % len(clips)]
            refs.append(FrameRef(clip.name, int(rng.integers(clip.num_frames))))
    return refs


def read(dataset: Synthetic, refs: list[FrameRef]) -> Readings:
    """Render every frame and ask every instrument."""
    points, tddfa, identity = OpenSeeFaceLandmarks(), Tddfa(), MobileFaceNetIdentity()
    detectors: dict[str, FaceDetector] = {"mtcnn": MtcnnDetector(), "dlib_hog": HogDetector()}
    rows: list[dict[str, Any]] = []
    for ref in track(refs, "frames"):
        image, render = dataset.frame(ref), dataset.render(ref)
        truth = ((render.landmarks[0].double().numpy() + 1) * SIZE - 1) / 2
        box = landmark_box(truth.astype(np.float32))
        seen = points.detect(image, [box])
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        where = torch.from_numpy(seen)
        with torch.no_grad():
            angles = pose_from_tddfa(tddfa.parameters(tddfa.whitened(pixels, where)))[0]
            embedding = identity(pixels, where)[0]
        rows.append(
            {
                "identity": dataset.clip(ref.clip).identity,
                "rotation": dataset.rotation_deg(ref),
                "tddfa": angles.numpy(),
                "truth": truth,
                "openseeface": seen[0],
                "eye_distance": eye_distance_px(dataset, ref),
                "embedding": embedding.numpy(),
                "found": [any(iou(d.box, box) > OVERLAP for d in v.detect(image)) for v in detectors.values()],
            }
        )
    stacked = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found = {name: stacked["found"][:, k] for k, name in enumerate(detectors)}
    numbers = {name: stacked[name].astype(np.float64) for name in rows[0] if name not in ("identity", "found")}
    return Readings(identity=stacked["identity"], found=found, **numbers)


def eye_distance_px(dataset: Synthetic, ref: FrameRef) -> float:
    """Pixels between the outer eye corners if the head faced the camera."""
    head = dataset.head
    parts = head.layout.split(dataset.coefficients(ref.clip)[ref.index][None])
    corners = head.landmarks(head.vertices(parts["shape"], parts["expression"], parts["pose"]), parts["pose"])[0]
    camera = dataset.render(ref)._renderer.camera
    scale = float(parts["camera"][0, 0].exp()) / camera.half_frame_cm * SIZE / 2
    return float((corners[45] - corners[36]).norm()) * scale


def pose_figures(r: Readings) -> dict[str, Any]:
    """Per angle: correlation with the truth, mean error, mean absolute error in degrees."""
    error = (r.tddfa - r.rotation + 180) % 360 - 180
    return {
        name: {
            "correlation": float(np.corrcoef(r.tddfa[:, k], r.rotation[:, k])[0, 1]),
            "bias_deg": float(error[:, k].mean()),
            "mae_deg": float(np.abs(error[:, k]).mean()),
        }
        for k, name in enumerate(ANGLES)
    }


def landmark_figures(r: Readings) -> dict[str, Any]:
    """Errors in % of the eye distance: median over frames of the mean over points; offsets along the eye line, down."""
    difference = r.openseeface - r.truth
    error = 100 * np.linalg.norm(difference, axis=2) / r.eye_distance[:, None]
    roll = np.radians(r.rotation[:, 2])  # positive: the top of the head tilts to image left
    across, down = difference[..., 0], difference[..., 1]
    upright = np.stack(
        [
            np.cos(roll)[:, None] * across - np.sin(roll)[:, None] * down,
            np.sin(roll)[:, None] * across + np.cos(roll)[:, None] * down,
        ],
        axis=2,
    )
    offset = 100 * upright / r.eye_distance[:, None, None]
    near = np.abs(r.rotation[:, 0]) < 30
    regions = {}
    for name, index in REGIONS.items():
        points = list(index)
        regions[name] = {
            "median_percent": float(np.median(error[:, points].mean(axis=1))),
            "median_percent_yaw_below_30": float(np.median(error[near][:, points].mean(axis=1))),
            "down_percent": float(np.median(offset[:, points, 1])),
        }
    inner = [k for name, index in REGIONS.items() if name != "contour" for k in index]
    return {
        "median_percent": float(np.median(error.mean(axis=1))),
        "median_percent_without_contour": float(np.median(error[:, inner].mean(axis=1))),
        "regions": regions,
    }


def identity_figures(r: Readings) -> dict[str, Any]:
    """Cosines of all pairs of frames; accuracy with both kinds of pairs weighted alike."""
    cosine = r.embedding @ r.embedding.T
    same = r.identity[:, None] == r.identity[None]
    above = np.triu(np.ones_like(same), 1)
    within, between = cosine[same & above], cosine[~same & above]
    thresholds = np.unique(np.concatenate([within, between]))
    missed = np.searchsorted(np.sort(within), thresholds) / len(within)
    admitted = 1 - np.searchsorted(np.sort(between), thresholds) / len(between)
    accuracy = 1 - (missed + admitted) / 2
    crossing = int(np.abs(missed - admitted).argmin())
    return {
        "within": _distribution(within),
        "between": _distribution(between),
        "threshold": float(thresholds[accuracy.argmax()]),
        "accuracy": float(accuracy.max()),
        "equal_error_rate": float((missed[crossing] + admitted[crossing]) / 2),
    }


def _distribution(values: Array) -> dict[str, float]:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return {
        "pairs": len(values),
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "p05": float(low),
        "median": float(middle),
        "p95": float(high),
    }


def detection_figures(r: Readings) -> dict[str, Any]:
    """Share of frames with a face where it is, per detector and bin of |yaw|."""
    yaw = np.abs(r.rotation[:, 0])
    chosen = {f"{low}-{high}": (yaw >= low) & (yaw < high) for low, high in YAW_BINS}
    return {
        name: {
            "all": float(hits.mean()),
            **{label: float(hits[rows].mean()) for label, rows in chosen.items() if rows.any()},
        }
        for name, hits in r.found.items()
    } | {"frames": {"all": len(yaw), **{label: int(rows.sum()) for label, rows in chosen.items() if rows.any()}}}


def show(figures: dict[str, Any], console: Console) -> None:
    """The figures as tables."""
    for title in ("head rotation", "landmarks", "identity", "detection"):
        table = Table("", "", title=title, title_justify="left")
        for path, value in _leaves(figures[title]):
            table.add_row(path, f"{value:.3f}" if isinstance(value, float) else str(value))
        console.print(table)


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in tree.items():
        rows += _leaves(value, f"{prefix}{name} ") if isinstance(value, dict) else [(prefix + name, value)]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", default="ict", choices=["ict", "procedural"])
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--identities", type=int, default=60)
    parser.add_argument("--frames", type=int, default=5, help="per identity")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of frames")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    people = {f"{given.split}_identities": given.identities}
    dataset = Synthetic(
        SyntheticConfig(head=given.head, image_size=SIZE, split=given.split, clips=2, frames=75, **people)
    )
    start = time.time()
    readings = read(dataset, frames(dataset, given.frames, given.seed))
    figures = {
        "dataset": {"head": given.head, "version": VERSION, "split": given.split, "identities": given.identities},
        "head rotation": pose_figures(readings),
        "landmarks": landmark_figures(readings),
        "identity": identity_figures(readings),
        "detection": detection_figures(readings),
        "seconds": round(time.time() - start, 1),
    }
    show(figures, Console())
    if given.json:
        temporary = given.json.with_suffix(".part")
        temporary.write_text(json.dumps(figures, indent=1) + "\n")
        temporary.replace(given.json)


if __name__ == "__main__":
    main()
