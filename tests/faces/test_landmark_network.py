"""The synthetic landmark network as an instrument: crops, the second pass, its place among the others."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stand_ins import picture, untrained_weights
from torch import Tensor, nn

from reenact_zoo.faces.landmarks import DEFAULT_ORDER, DlibLandmarks, SyntheticLandmarks, default_landmarks
from reenact_zoo.faces.networks.synthetic_landmarks import Located
from reenact_zoo.weights.store import WeightStore


class FindsBright(nn.Module):
    """68 points on the rim of the bright part of each crop; sure where there is any."""

    def __init__(self) -> None:
        super().__init__()
        self.crops: list[Tensor] = []

    def forward(self, crops: Tensor) -> Located:
        self.crops.append(crops)
        angle = torch.linspace(0, 2 * torch.pi, 68)
        circle = torch.stack([angle.cos(), angle.sin()], -1)
        points, certain = [], []
        for crop in crops:
            rows, columns = (crop[0] > 0.6).nonzero(as_tuple=True)
            certain.append(float(len(rows) > 0))
            low, high = (torch.tensor([f(columns).item(), f(rows).item()]) for f in (torch.amin, torch.amax))
            points.append((2 * ((low + high) / 2 + circle * (high - low) / 2) + 1) / 64 - 1)
        return Located(torch.stack(points), torch.tensor(certain))


@pytest.fixture
def tool(tmp_path: Path) -> SyntheticLandmarks:
    made = SyntheticLandmarks(untrained_weights(tmp_path / "w", entries=("synthetic_landmarks",)))
    made._network = FindsBright()  # type: ignore[assignment]
    return made


def extent(points: NDArray[np.float32]) -> list[float]:
    return [*points.min(0).tolist(), *points.max(0).tolist()]


@pytest.mark.parametrize("box", [(60, 80, 120, 140), (50, 68, 124, 142)])  # exact, and as loose as detectors draw
def test_points_are_found_where_they_are(tool: SyntheticLandmarks, box: tuple[float, ...]) -> None:
    image = picture(60, 80, side=60, size=240)
    points, scores = tool.detect_scored(image, [box])
    assert points.shape == (1, 68, 2)
    assert extent(points[0]) == pytest.approx([60, 80, 119, 139], abs=1.2)  # a crop pixel is 1.5 px wide
    assert scores.tolist() == [1]


def test_the_second_pass_makes_the_result_independent_of_the_box(tool: SyntheticLandmarks) -> None:
    image = picture(60, 80, side=60, size=240)
    first, second = (tool.detect(image, [box])[0] for box in ((58, 74, 122, 138), (66, 84, 122, 150)))
    assert np.abs(first - second).max() < 1.5  # a pixel of the crop, by which this network rounds
    crops = tool._network.crops
    assert len(crops) == 4
    for crop in crops[1::2]:  # whatever the box was, the second crop has the face in its middle
        bright = (crop[0, 0] > 0.6).nonzero().float()
        assert ((bright.amin(0) + bright.amax(0)) / 2).tolist() == pytest.approx([31.5, 31.5], abs=1)
    tool.detect_scored(image, [(60, 80, 119, 139)], around_landmarks=True)
    assert len(crops) == 5, "tracked points need no search"


def test_several_boxes_and_none(tool: SyntheticLandmarks) -> None:
    image = picture(20, 30, side=50, size=300)
    image[180:230, 200:250] = 250
    points, scores = tool.detect_scored(image, [(20, 30, 70, 80), (200, 180, 250, 230)])
    assert points[1].mean(0) - points[0].mean(0) == pytest.approx([180, 150], abs=1.5)
    assert scores.shape == (2,)
    assert tool.detect(image, []).shape == (0, 68, 2)


def test_the_real_network_runs_and_can_be_pickled(tmp_path: Path) -> None:
    tool = SyntheticLandmarks(untrained_weights(tmp_path / "w", entries=("synthetic_landmarks",)))
    image = picture(60, 80, side=60, size=240)
    points, scores = tool.detect_scored(image, [(60, 80, 120, 140)])
    assert points.shape == (1, 68, 2)
    assert points.dtype == np.float32
    assert 0 <= scores[0] <= 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tool)).detect(image, [(60, 80, 120, 140)]), points)


def test_the_network_is_taken_before_the_bundled_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    with_network = untrained_weights(tmp_path / "w", entries=("synthetic_landmarks",))
    assert isinstance(default_landmarks(with_network), SyntheticLandmarks)
    monkeypatch.setattr(WeightStore, "available", lambda self, name: name == "synthetic_landmarks_68")
    assert isinstance(default_landmarks(), DlibLandmarks)
    assert DEFAULT_ORDER.index("openseeface_lm0") == 0
