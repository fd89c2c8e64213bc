from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reenact_zoo.nn.backbones import FeaturePyramid
from reenact_zoo.nn.perceptual import GradientLoss, PerceptualLoss, perceptual_loss
from reenact_zoo.weights.store import WeightStore


class Pixels(nn.Module):
    """The image, and its mean colour: a backbone whose loss can be worked out by hand."""

    name = "pixels"

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"image": images, "mean": images.mean((2, 3))}


def test_the_loss_is_the_weighted_sum_of_mean_differences() -> None:
    loss = PerceptualLoss(Pixels(), weights={"image": 2.0, "mean": 10.0})
    a, b = torch.full((2, 3, 32, 32), 0.5), torch.full((2, 3, 32, 32), 0.25)
    b[1] = 0.5
    parts = loss.parts(a, b)
    assert parts["image@1"].tolist() == [0.5, 0.0]
    assert parts["mean@1"].tolist() == [2.5, 0.0]
    assert float(loss(a, b)) == pytest.approx(1.5)  # (0.5 + 2.5 + 0 + 0) / 2
    assert loss.backbone_name == "pixels"


def test_scales_compare_smaller_images_and_tiny_ones_are_left_out() -> None:
    loss = PerceptualLoss(Pixels(), weights={"image": 1.0}, scales=(1.0, 0.5, 0.25, 0.125))
    image = torch.rand(1, 3, 64, 64)
    assert list(loss.parts(image, image)) == ["image@1", "image@0.5", "image@0.25"]
    checker = torch.tensor([0.0, 1.0]).repeat(32)[None, :] != torch.tensor([0.0, 1.0]).repeat(32)[:, None]
    a = checker.float().expand(1, 3, 64, 64)
    parts = loss.parts(a, 1 - a)
    assert float(parts["image@1"]) == pytest.approx(1.0)
    assert float(parts["image@0.5"]) < 0.2  # antialiased: a fine pattern is grey from afar


def test_gradient_reaches_the_image_but_neither_target_nor_network() -> None:
    network = FeaturePyramid("toy", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), {1: "r"}, ("r",))
    loss = PerceptualLoss(network).train()
    a, b = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16, requires_grad=True)
    loss(a, b).backward()
    assert a.grad is not None
    assert float(a.grad.abs().sum()) > 0
    assert b.grad is None
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert not network.training


def test_the_gradient_loss_ignores_brightness_and_sees_edges() -> None:
    loss = GradientLoss(levels=2)
    ramp = torch.linspace(0, 0.5, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    assert float(loss(ramp, ramp + 0.3)) == pytest.approx(0, abs=1e-6)
    flat = torch.zeros(1, 3, 32, 32)
    # horizontal steps of 0.5 / 31 at full size, twice that at half size
    assert float(loss(ramp, flat)) == pytest.approx(0.5 / 31 + 1 / 31, rel=1e-4)
    assert loss.backbone_name == "multiscale_gradient"


class Shelf(WeightStore):
    """Holds what its test says, filled with ones; remembers what was asked."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, []

    def available(self, name: str) -> bool:
        return name in self.names

    def load_into(self, module: nn.Module, name: str, part: str = "") -> None:
        self.asked.append(name)


@pytest.mark.parametrize(
    ("names", "fallback", "used"),
    [
        (("vgg16_imagenet", "vgg19_imagenet"), Pixels(), "vgg19_imagenet"),
        (("vgg16_imagenet",), Pixels(), "vgg16_imagenet"),
        ((), Pixels(), "synthetic_features"),
        ((), None, "multiscale_gradient"),
    ],
)
def test_the_best_one_at_hand_is_used_and_named(names: tuple[str, ...], fallback: Any, used: str) -> None:
    shelf = Shelf(*names)
    loss = perceptual_loss(shelf, ("vgg19", "vgg16"), fallback)
    assert loss.backbone_name == used
    assert shelf.asked == ([used] if used.endswith("_imagenet") else [])
    assert torch.isfinite(loss(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)))


def test_a_network_that_returns_a_list_is_compared_layer_by_layer() -> None:
    class Listed(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return [images, images[:, :, ::2, ::2]]

    parts = PerceptualLoss(Listed(), "listed").parts(torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16))
    assert {name: float(value) for name, value in parts.items()} == {"0@1": 1.0, "1@1": 1.0}
