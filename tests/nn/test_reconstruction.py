"""The reconstruction losses: what they measure, what a weight of zero switches off, and which features they take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights, reconstruction_loss
from reenact_zoo.weights.store import WeightStore


class Brightness(nn.Module):
    """A feature network of one map."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images.mean(1, keepdim=True)]


def test_a_uniform_difference_is_seen_by_colours_alone() -> None:
    loss = ReconstructionLoss(ReconstructionWeights(2.0, 3.0, 0.0))
    parts = loss.parts(torch.full((2, 3, 64, 64), 0.75), torch.full((2, 3, 64, 64), 0.5))
    assert parts["colour"].item() == pytest.approx(2.0 * 0.25)
    assert parts["gradient"].item() == pytest.approx(0.0, abs=1e-7)


def test_stripes_are_seen_by_gradients_at_the_finest_size_only() -> None:
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 0.5
    parts = ReconstructionLoss(ReconstructionWeights(1.0, 1.0, 0.0)).parts(stripes, torch.full_like(stripes, 0.25))
    assert parts["gradient"].item() == pytest.approx(0.5 / 3, rel=1e-4)  # halved pictures are even
    assert parts["colour"].item() == pytest.approx(0.25 / 3, rel=1e-4)


def test_the_pixel_weight_chooses_where_differences_count() -> None:
    loss = ReconstructionLoss(ReconstructionWeights(1.0, 1.0, 0.0))
    images, target = torch.rand(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    images[..., 16:] = 0
    left, right = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    left[..., :16], right[..., 20:] = 1, 1
    assert loss(images, target, left) > 0.1
    assert loss(images, target, right) == 0


def test_a_weight_of_zero_leaves_its_part_out() -> None:
    picture = torch.rand(1, 3, 32, 32)
    for name in ("colour", "gradient"):
        weights = ReconstructionWeights(**{"colour": 0.0, "gradient": 0.0, "perceptual": 0.0, name: 1.0})
        assert list(ReconstructionLoss(weights).parts(picture, picture)) == [name]
    assert ReconstructionLoss(ReconstructionWeights(0, 0, 0))(picture, picture) == 0


def test_the_fallback_takes_the_place_of_vgg(tmp_path: Path) -> None:
    loss = reconstruction_loss(ReconstructionWeights(0, 0, 1), Brightness, "bright", WeightStore(tmp_path))
    assert loss.backbone_name == "bright"
    assert loss(torch.full((1, 3, 32, 32), 0.75), torch.full((1, 3, 32, 32), 0.5)).item() == pytest.approx(0.25)


def test_no_gradient_reaches_the_target() -> None:
    target = torch.rand(1, 3, 32, 32, requires_grad=True)
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    ReconstructionLoss(ReconstructionWeights(1, 1, 0))(images, target).backward()
    assert target.grad is None
    assert images.grad is not None
