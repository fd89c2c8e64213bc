from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from network_stand_ins import OneFile, face_points, node, onnx_model
from torch import Tensor

from reenact_zoo.faces import action_units
from reenact_zoo.faces.action_units import SHAPES_OF_UNIT, ExportedActionUnits, GeometricActionUnits
from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable.base import HeadModel
from reenact_zoo.types import InputError

UNITS = list(SHAPES_OF_UNIT)
PEOPLE = 10


def landmarks(head: HeadModel, expression: Tensor, yaw: float) -> Tensor:
    """Orthographic landmarks (PEOPLE, 68, 2) of different people, half a pixel of noise, faces about 280 px wide."""
    people = head.sample(torch.Generator().manual_seed(1), PEOPLE)
    parts = head.layout.split(people)
    pose = torch.zeros_like(parts["pose"])
    pose[:, 0] = yaw
    points = head.landmarks(head.vertices(parts["shape"], expression, pose), pose)[..., :2]
    points = points * torch.tensor([20.0, -20.0]) + 200  # cm, y up → px, y down
    return points + 0.5 * torch.randn(points.shape, generator=torch.Generator().manual_seed(2))


def measured(head: HeadModel, unit: int | None, yaw: float = 0.0) -> np.ndarray:
    """(PEOPLE, A) strengths where one unit is at 0.8 (None: neutral faces)."""
    expression = torch.zeros(PEOPLE, head.layout.expression)
    for shape in SHAPES_OF_UNIT[unit] if unit else ():
        expression[:, head.expression_names.index(shape)] = 0.8
    points = landmarks(head, expression, yaw)
    return GeometricActionUnits()(torch.zeros(PEOPLE, 3, 8, 8), points).numpy()


@pytest.mark.parametrize("yaw", [0.0, 20.0])
def test_units_are_read_off_the_head_whose_directions_they_are(weights_folder: Path, yaw: float) -> None:
    head = load_head("ict")
    neutral = measured(head, None, yaw)
    assert neutral.mean() < 0.08
    for index, unit in enumerate(UNITS):
        shown = measured(head, unit, yaw)
        assert (shown[:, index] > neutral[:, index]).mean() >= 0.9, unit
        least = 0.15 if unit == 16 else 0.4  # a lowered lip looks much like an opened jaw
        assert shown[:, index].mean() > least, unit
        if unit != 16:
            assert (shown.argmax(1) == index).mean() >= 0.8, unit


def test_units_with_a_clear_outline_are_read_off_a_head_of_another_make() -> None:
    """Not the make's own directions: the procedural head moves brows, lids and lips by other rules."""
    head = load_head("procedural")
    neutral = measured(head, None)
    for unit in (1, 5, 12, 15, 26, 45):
        index, shown = UNITS.index(unit), measured(head, unit)
        assert (shown[:, index] > neutral[:, index] + 0.1).mean() >= 0.9, unit


def test_the_result_depends_neither_on_place_nor_on_size_nor_on_the_image() -> None:
    points = torch.from_numpy(face_points(100, 100, 120))[None]
    tool, image = GeometricActionUnits(), torch.zeros(1, 3, 8, 8)
    first = tool(image, points)
    assert first.shape == (1, tool.size)
    assert bool(((first >= 0) & (first <= 1)).all())
    assert torch.allclose(tool(torch.ones(1, 3, 8, 8), points * 3 - 40), first, atol=1e-3)


def test_further_iterations_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    head = load_head("procedural")
    few = measured(head, 26, yaw=25.0)
    monkeypatch.setattr(action_units, "ITERATIONS", 12)
    assert np.allclose(few, measured(head, 26, yaw=25.0), atol=0.02)


def exported(path: Path, **metadata: str) -> OneFile:
    nodes = [node("GlobalAveragePool", ["face"], ["mean"]), node("Flatten", ["mean"], ["flat"], axis=1)]
    nodes.append(node("Sigmoid", ["flat"], ["units"]))
    data = onnx_model(nodes, {"face": ("n", 3, 224, 224)}, {"units": ("n", 3)}, **metadata)
    path.write_bytes(data)
    return OneFile(path)


def test_an_exported_network_says_which_units_it_knows_and_sees_the_face(tmp_path: Path) -> None:
    tool = ExportedActionUnits(exported(tmp_path / "au.onnx", action_units="1,4,12"))
    assert (tool.units, tool.size) == ((1, 4, 12), 3)
    image = torch.full((1, 3, 128, 128), 0.5)
    image[:, 0] = 0.485 + 0.229  # red one standard deviation above ImageNet's mean
    values = tool(image, torch.from_numpy(face_points())[None])
    assert float(values[0, 0]) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-4)


def test_an_exported_network_without_unit_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say which units"):
        ExportedActionUnits(exported(tmp_path / "au.onnx"))
    tool = ExportedActionUnits(exported(tmp_path / "other.onnx", action_units="1,2"))
    with pytest.raises(InputError, match="declares 2 action units and answers 3"):
        tool(torch.rand(1, 3, 128, 128), torch.from_numpy(face_points())[None])
