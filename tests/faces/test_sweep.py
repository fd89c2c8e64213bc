from __future__ import annotations

import numpy as np
import pytest
import torch

from reenact_zoo.datasets._scenes import scene
from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.evaluation.runner import build_dataset
from reenact_zoo.faces.detect import FirstThatFinds, HogDetector, default_detector
from reenact_zoo.faces.sweep import SweepDetector, _places, _squares


@pytest.fixture(scope="module")
def detector() -> SweepDetector:
    return SweepDetector()


def test_it_finds_turned_faces_that_hog_misses(detector: SweepDetector) -> None:
    protocol = load_protocol("synthetic_cross_64")
    dataset = build_dataset(protocol, None)
    pairs = sorted(protocol.select_pairs(dataset), key=lambda pair: -pair.bins["delta_yaw_deg"])
    hog = FirstThatFinds([HogDetector(), HogDetector(min_face_share=0.05)])
    missed = [ref for pair in pairs[:16] for ref in (pair.driving, pair.source) if not hog.detect(dataset.frame(ref))]
    assert len(missed) >= 2
    for ref in missed[:3]:
        (left, top, right, bottom) = detector.detect(dataset.frame(ref))[0].box
        points = ((dataset.annotations(ref)["landmarks"] + 1) * 64 - 1) / 2
        (x, y), size = (points.min(0) + points.max(0)) / 2, np.ptp(points[:, 1])
        assert abs((left + right) / 2 - x) < 0.2 * size
        assert abs((top + bottom) / 2 - y) < 0.25 * size


def test_scenes_without_a_face_hold_none(detector: SweepDetector) -> None:
    for number in range(4):
        picture = (scene(np.random.SeedSequence([5, number]), 64) * 255).astype(np.uint8)
        assert detector.detect(picture) == []
    assert detector.detect(np.full((64, 48, 3), 90, np.uint8)) == []


def test_the_default_detector_asks_it_last_where_mtcnn_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)
    name = default_detector().name
    assert name.endswith("synthetic_landmarks_sweep") or "mtcnn" in name


def test_squares_cover_the_whole_image() -> None:
    centres, sides = _squares(60, 100)
    shown = torch.zeros(60, 100)
    for (x, y), side in zip(centres.tolist(), sides.tolist(), strict=True):
        if side == sides.min():
            shown[
                max(0, int(y - side / 2)) : int(y + side / 2) + 1, max(0, int(x - side / 2)) : int(x + side / 2) + 1
            ] = 1
    assert shown.min() == 1
    assert _places(10, 30.0) == [5.0]
