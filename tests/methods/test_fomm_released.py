"""Released checkpoints in fomm: nested or flat, old or damaged, with a discriminator or without."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from reenact_zoo.methods.fomm import official
from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.module import Fomm
from reenact_zoo.types import InputError

GAN: dict[str, Any] = {"lambda_adversarial": 1.0, "discriminator_sees_keypoints": True}


def build(**changes: Any) -> Fomm:
    torch.manual_seed(0)
    return Fomm(dataclasses.replace(Config.tiny(), **changes))


def as_released(method: Fomm) -> dict[str, dict[str, Tensor]]:
    """Its weights in the shape of a released checkpoint."""
    parts: dict[str, nn.Module] = {"kp_detector": method.keypoint_detector, "generator": method.generator}
    if method.discriminator is not None:
        parts["discriminator"] = method.discriminator
    return {
        part: {official.official_key(key): value.clone() for key, value in network.state_dict().items()}
        for part, network in parts.items()
    }


def test_a_released_checkpoint_is_taken_over_nested_or_flat() -> None:
    torch.manual_seed(5)
    other = Fomm(dataclasses.replace(Config.tiny(), preset="official", **GAN))
    parts = as_released(other)
    assert "discs.1.down_blocks.0.conv.weight_orig" in parts["discriminator"]
    assert "discs.1.down_blocks.1.norm.weight" in parts["discriminator"]
    nested = {**parts, "epoch": 99, "optimizer_generator": {}}
    flat = {f"{part}.module.{key}": value for part, state in parts.items() for key, value in state.items()}
    for released in (nested, flat):
        method = build(preset="official", **GAN)
        method.load_official(released)
        for name, value in other.state_dict().items():
            assert torch.equal(method.state_dict()[name], value), name
    assert "vgg19_imagenet" in method.instruments


def test_spectral_norm_means_what_the_released_one_did() -> None:
    method = build(preset="official", **GAN).eval()
    state = as_released(method)["discriminator"]
    stem = "discs.1.down_blocks.1.conv."
    weight, u, v = (state[f"{stem}weight_{name}"] for name in ("orig", "u", "v"))
    sigma = u @ weight.flatten(1) @ v
    assert method.discriminator is not None
    conv = method.discriminator.get_submodule("discs.1.down_blocks.1.conv")
    assert torch.allclose(cast(Tensor, conv.weight), weight / sigma, atol=1e-6)


def test_old_files_may_lack_counters_and_the_blur() -> None:
    method = build(preset="official")
    parts = as_released(method)
    lacking = {
        part: {k: v for k, v in state.items() if not k.endswith(("num_batches_tracked", "down.weight"))}
        for part, state in parts.items()
    }
    build(preset="official").load_official(lacking)


@pytest.mark.parametrize("damage", ["part", "key", "shape", "stranger"])
def test_weights_that_do_not_fit_are_named_and_change_nothing(damage: str) -> None:
    method = build(preset="official")
    torch.manual_seed(7)
    parts: dict[str, Any] = as_released(Fomm(method.config))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    generator = parts["generator"]
    words = {"part": "'generator' is missing", "key": "final.bias", "shape": "final.bias", "stranger": "'decoder'"}
    if damage == "part":
        del parts["generator"]
    elif damage == "key":
        del generator["final.bias"]
    elif damage == "shape":
        generator["final.bias"] = torch.zeros(4)
    else:
        parts["decoder"] = generator
    with pytest.raises(InputError, match=words[damage]):
        method.load_official(parts)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
