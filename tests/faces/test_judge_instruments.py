"""Instruments that only metrics read: 3DDFA of full width, and the user's action units by FACS number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from network_stand_ins import OneFile, PseudoStore, face_points, node, onnx_model

from reenact_zoo.faces.action_units import ExportedActionUnitTable
from reenact_zoo.faces.quantities import INSTRUMENTS, QUANTITIES
from reenact_zoo.faces.tddfa import TddfaWhitened, crops


@pytest.mark.parametrize(("row", "entry"), [("tddfa_v1", "3ddfa_v1"), ("tddfa_v2_mb1", "3ddfa_v2_mb1")])
def test_each_3ddfa_asks_for_its_own_file_and_reads_the_crop_in_bgr(row: str, entry: str) -> None:
    store = PseudoStore()
    tool = INSTRUMENTS[row].load(store)
    assert isinstance(tool, TddfaWhitened)
    assert (tool.name, tool.weights, store.asked) == (row, (entry,), [entry])
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    points = torch.from_numpy(face_points())[None]
    values = tool(images, points)
    assert values.shape == (1, 62)
    swapped = tool(images.flip(1), points)
    assert not torch.allclose(values, swapped)
    seen = crops(torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 128, 128), points)
    assert seen[0, :, 60, 60].tolist() == pytest.approx([-127.5 / 128, 0, 127.5 / 128], abs=1e-5)


def test_expressions_of_both_3ddfa_are_the_last_ten_numbers_of_their_own_rows() -> None:
    for name, row in (("expression_3ddfa_v1", "tddfa_v1"), ("expression_3ddfa_v2_mb1", "tddfa_v2_mb1")):
        quantity = QUANTITIES[name]
        assert (quantity.row, quantity.start, quantity.shape) == (row, 52, (10,))


def test_the_users_units_lie_at_their_facs_numbers_and_the_others_are_unknown(tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", ["face"], ["mean"]), node("Flatten", ["mean"], ["flat"], axis=1)]
    nodes.append(node("Sigmoid", ["flat"], ["units"]))
    path = tmp_path / "au.onnx"
    path.write_bytes(onnx_model(nodes, {"face": ("n", 3, 224, 224)}, {"units": ("n", 3)}, action_units="12,4,70"))
    image = torch.full((1, 3, 128, 128), 0.5)
    image[:, 0] = 0.485 + 0.229  # red one standard deviation above ImageNet's mean
    values = ExportedActionUnitTable(OneFile(path))(image, torch.from_numpy(face_points())[None])
    assert values.shape == (1, 64)
    assert values.isfinite().nonzero()[:, 1].tolist() == [3, 11], "unit 70 has no place"
    assert float(values[0, 11]) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-4)
