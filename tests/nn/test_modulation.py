from __future__ import annotations

import pytest
import torch
from torch import nn

from reenact_zoo.nn.modulation import InstanceNorm, Spade, instance_norm, map_pyramid


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [2, 7])
def test_instance_norm_agrees_with_pytorchs(side: int, memory_format: torch.memory_format) -> None:
    x = (3 + 5 * torch.randn(2, 4, side, side)).to(memory_format=memory_format).requires_grad_()
    other = x.detach().clone().requires_grad_()
    weights = torch.randn_like(x)
    mine, theirs = InstanceNorm()(x), nn.InstanceNorm2d(4)(other)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    (mine * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_a_map_of_one_pixel_keeps_its_value_and_gradient() -> None:
    x = torch.randn(3, 4, 1, 1, requires_grad=True)
    y = instance_norm(x)
    y.sum().backward()
    assert torch.equal(y, x)
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize(
    ("channels", "group", "groups"), [(32, 16, 2), (24, 16, 1), (144, 16, 9), (56, 16, 1), (6, 1, 6)]
)
def test_neighbouring_channels_are_normalised_together(channels: int, group: int, groups: int) -> None:
    x = torch.randn(2, channels, 2, 2)
    torch.testing.assert_close(instance_norm(x, group), nn.GroupNorm(groups, channels, affine=False)(x))
    torch.testing.assert_close(InstanceNorm(group)(x), instance_norm(x, group))
    torch.testing.assert_close(Spade(channels, 1, group=group)(x, torch.zeros(2, 1, 2, 2)), instance_norm(x, group))


def test_a_group_keeps_the_brightness_of_one_map_against_another() -> None:
    dark_and_bright = torch.stack([torch.full((2, 2), 1.0), torch.full((2, 2), 5.0)])[None]
    assert not instance_norm(dark_and_bright).any()
    torch.testing.assert_close(instance_norm(dark_and_bright, 2).mean((0, 2, 3)), torch.tensor([-1.0, 1.0]))


def test_a_constant_map_gives_zeros_and_a_finite_gradient() -> None:
    x = torch.full((1, 2, 2, 2), 7.0, requires_grad=True)
    y = instance_norm(x)
    y.square().sum().backward()
    assert not y.any()
    assert torch.isfinite(x.grad).all()


def test_norms_stay_in_single_precision_under_autocast() -> None:
    x = (1000 + torch.randn(1, 2, 8, 8)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert instance_norm(x).dtype == torch.float32
        assert Spade(2, 3)(x, torch.rand(1, 3, 8, 8)).isfinite().all()


def test_instance_norm_can_be_differentiated_twice() -> None:  # a gradient penalty needs it
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    mean = x.mean((2, 3), keepdim=True)
    by_hand = (x - mean) * (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).rsqrt()

    def penalty(y: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x, retain_graph=True)[0]

    torch.testing.assert_close(penalty(instance_norm(x)), penalty(by_hand), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_fresh_spade_only_normalises_where_its_maps_are_empty(hidden: int) -> None:
    spade, x = Spade(4, 3, hidden), torch.randn(2, 4, 6, 6)
    if hidden:
        nn.init.zeros_(spade.read[0].bias)
    torch.testing.assert_close(spade(x, torch.zeros(2, 3, 6, 6)), instance_norm(x))


def test_spade_scales_and_shifts_where_the_maps_say_so() -> None:
    spade = Spade(1, 2)
    weight = spade.read[-1].weight
    nn.init.zeros_(weight)
    with torch.no_grad():
        weight[0, 0, 1, 1], weight[1, 1, 1, 1] = 2.0, 5.0  # the first map scales, the second shifts
    x, maps = torch.randn(1, 1, 4, 4), torch.zeros(1, 2, 4, 4)
    maps[0, 0, 0, 0] = maps[0, 1, 3, 3] = 1.0
    expected = instance_norm(x)
    expected[0, 0, 0, 0] *= 3.0
    expected[0, 0, 3, 3] += 5.0
    torch.testing.assert_close(spade(x, maps), expected)


def test_a_pyramid_takes_even_pixels_or_means() -> None:
    maps = torch.arange(64.0).reshape(1, 1, 8, 8)
    nearest, area = map_pyramid(maps, 3), map_pyramid(maps, 3, "area")
    assert [picture.shape[-1] for picture in nearest] == [4, 2, 1]
    for picture, step in zip(nearest, (2, 4, 8)):
        assert torch.equal(picture, maps[..., ::step, ::step])
        same = torch.nn.functional.interpolate(maps, scale_factor=1 / step, mode="nearest")
        assert torch.equal(picture, same)
    assert area[-1].item() == maps.mean().item()
