from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reenact_zoo.nn.backbones import FeaturePyramid, alex, vgg
from reenact_zoo.nn.lpips import CHANNELS, HEADS, Lpips, LpipsHeads
from reenact_zoo.weights.store import WeightsMissing, WeightStore


def toy() -> FeaturePyramid:
    torch.manual_seed(3)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()
    )
    return FeaturePyramid("toy", layers, {1: "a", 4: "b"}, ("a", "b"))


def toy_lpips() -> Lpips:
    heads = LpipsHeads((4, 6))
    for parameter in heads.parameters():
        nn.init.uniform_(parameter, 0, 1)
    return Lpips(toy(), heads)


def by_numpy(maps_a: list[NDArray[np.float64]], maps_b: list[NDArray[np.float64]], heads: list[NDArray]) -> float:
    """The paper's equation (1), loop by loop."""
    total = 0.0
    for a, b, w in zip(maps_a, maps_b, heads):
        _, height, width = a.shape
        layer = 0.0
        for y in range(height):
            for x in range(width):
                u = a[:, y, x] / (np.linalg.norm(a[:, y, x]) + 1e-10)
                v = b[:, y, x] / (np.linalg.norm(b[:, y, x]) + 1e-10)
                layer += float((w * (u - v) ** 2).sum())
        total += layer / (height * width)
    return total


def test_the_distance_is_the_papers_equation() -> None:
    tool = toy_lpips()
    a, b = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    values = tool(a, b)
    heads = [p.detach().double().numpy().reshape(-1) for p in tool.heads.parameters()]
    for i in range(2):
        maps = [
            [m[0].detach().double().numpy() for m in tool.backbone(x[i : i + 1]).values()] for x in (a, b)
        ]  # each image alone: no value depends on its neighbours
        assert float(values[i]) == pytest.approx(by_numpy(maps[0], maps[1], heads), rel=1e-5)


def test_equal_images_are_0_apart_and_order_does_not_matter() -> None:
    tool = toy_lpips()
    a, b = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    assert float(tool(a, a)) == 0
    assert float(tool(a, b)) > 0
    assert torch.allclose(tool(a, b), tool(b, a))


def test_gradients_are_finite_even_where_a_map_is_zero() -> None:
    tool = toy_lpips()
    with torch.no_grad():
        tool.backbone.features[0].bias.fill_(-100.0)  # every map of layer a is zero
    a = torch.rand(1, 3, 8, 8, requires_grad=True)
    tool(a, torch.rand(1, 3, 8, 8)).sum().backward()
    assert a.grad is not None
    assert bool(a.grad.isfinite().all())


def test_it_stays_in_evaluation_mode_inside_a_training_module() -> None:
    outer = nn.Sequential(toy_lpips()).train()
    assert not outer[0].training
    assert not any(module.training for module in outer[0].modules())


@pytest.mark.parametrize("network", ["alex", "vgg16"])
def test_the_released_heads_fit_and_are_not_negative(network: str, weights_folder: object) -> None:
    heads = LpipsHeads(CHANNELS[network])
    WeightStore().load_into(heads, HEADS[network])
    weights = [p.detach().flatten() for p in heads.parameters()]
    assert [len(w) for w in weights] == list(CHANNELS[network])
    assert all(float(w.min()) >= 0 for w in weights)
    assert all(float(w.max()) > 0 for w in weights)
    backbone = alex() if network == "alex" else vgg(16, ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"))
    value = Lpips(backbone, heads)(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert value.shape == (1,)
    assert float(value) > 0


class HeadsOnly(WeightStore):
    """Whatever the machine holds, the ImageNet weights are absent."""

    def load_into(self, module: nn.Module, name: str, part: str = "") -> None:
        if name.endswith("_imagenet"):
            raise WeightsMissing(f"weights '{name}' are not at hand")
        for tensor in module.state_dict().values():
            tensor.copy_(Tensor([0.5]).expand_as(tensor))


def test_without_the_backbones_file_nothing_is_built_with_random_weights() -> None:
    with pytest.raises(WeightsMissing, match="alexnet_imagenet"):
        Lpips.from_store("alex", HeadsOnly())
