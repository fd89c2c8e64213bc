"""Alignment of the synthetic motion, identity and feature networks; what they learnt is in their model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import untrained_weights
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.align import ARCFACE_TEMPLATE
from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.faces.identity import SyntheticIdentity
from reenact_zoo.faces.motion import ANGLES, EXPRESSION, SyntheticMotion
from reenact_zoo.weights.store import WeightsMissing, WeightStore

KINDS = [(SyntheticMotion, "judge"), (SyntheticMotion, "train"), (SyntheticIdentity, "judge")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightStore:
    return untrained_weights(tmp_path_factory.mktemp("weights") / "w")


def face(side: int = 200) -> tuple[Tensor, Tensor]:
    """Smooth random picture (1, 3, side, side) and the 68 points of an upright face in its middle, 56 px wide."""
    generator = torch.Generator().manual_seed(3)
    image = F.interpolate(torch.rand(1, 3, 12, 12, generator=generator), (side, side), mode="bicubic").clamp(0, 1)
    angle = np.linspace(0, 2 * np.pi, 68)
    points = side / 2 + 28 * np.stack([np.cos(angle), np.sin(angle)], 1)
    eye_left, eye_right, nose, *mouth = side / 2 - 28 + ARCFACE_TEMPLATE / 2
    points[36:42], points[42:48], points[30], points[[48, 54]] = eye_left, eye_right, nose, mouth
    return image, torch.from_numpy(points[None]).float()


@pytest.mark.parametrize(("kind", "role"), KINDS)
def test_a_reading_does_not_depend_on_where_the_face_lies(store: WeightStore, kind: Any, role: str) -> None:
    tool = kind(role, store)
    image, points = face()
    moved = F.pad(image, (37, 5, 11, 20), value=0.3)
    reading = tool(image, points)
    assert reading.shape == (1, tool.size)
    torch.testing.assert_close(tool(moved, points + torch.tensor([37.0, 11.0])), reading, atol=2e-3, rtol=1e-3)
    assert (tool(image, points + 20) - reading).abs().max() > 1e-3, "it does depend on where the points are"


@pytest.mark.parametrize(("kind", "role"), KINDS)
def test_a_reading_depends_on_neither_the_neighbours_nor_the_gradient(store: WeightStore, kind: Any, role: str) -> None:
    tool = kind(role, store)
    image, points = face()
    other = image.flip(3)
    together = tool(torch.cat([image, other]), torch.cat([points, points]))
    torch.testing.assert_close(together[1:], tool(other, points), atol=1e-4, rtol=1e-4)
    image.requires_grad_()
    tool(image, points)[0, 5].backward()
    assert image.grad is not None
    assert image.grad[0, :, 70:110, 70:110].abs().sum() > 0
    assert image.grad[0, :, :20].abs().sum() == 0, "nothing far from the face is read"


def test_roles_are_different_networks_with_different_files(store: WeightStore) -> None:
    image, points = face()
    for kind in (SyntheticMotion, SyntheticIdentity):
        judge, train = kind("judge", store), kind("train", store)
        assert not set(judge.weights) & set(train.weights)
        assert "synthetic" in judge.name
        assert not torch.allclose(judge(image, points), train(image, points), atol=1e-2)


def test_angles_are_angles_and_embeddings_have_unit_length(store: WeightStore) -> None:
    image, points = face()
    reading = SyntheticMotion("judge", store)(image, points)
    assert reading[:, ANGLES].abs().max() <= 180
    assert reading[:, EXPRESSION].shape == (1, 20)
    assert float(SyntheticIdentity("train", store)(image, points).norm()) == pytest.approx(1, abs=1e-5)


def test_features_are_a_pyramid_with_gradients(store: WeightStore) -> None:
    image, _ = face(64)
    tool = SyntheticFeatures(store)
    maps = tool(image.requires_grad_())
    assert [tuple(m.shape[1:]) for m in maps] == [(c, 64 // n, 64 // n) for c, n in zip(tool.channels, (1, 2, 4, 8))]
    maps[-1].square().mean().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in tool.network.parameters())


def test_without_the_file_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("reenact_zoo.weights.folders._bundled_folder", lambda: tmp_path / "nothing", raising=False)
    monkeypatch.setattr("reenact_zoo.weights.store._bundled_folder", lambda: tmp_path / "nothing", raising=False)
    with pytest.raises(WeightsMissing, match=r"synthetic_motion_judge\.safetensors"):
        SyntheticMotion("judge", WeightStore(tmp_path))
