"""The networks of fomm and its relative motion against outputs of the authors' code (golden/spec_fomm.md).

Outputs here vary little (pictures by 0.011), so differences are bounded absolutely.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_network import Golden
from torch import Tensor, nn

from reenact_zoo.methods.fomm import official
from reenact_zoo.methods.fomm.blocks import Shrink
from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.dense_motion import DenseMotion, Motion
from reenact_zoo.methods.fomm.generator import OcclusionAwareGenerator
from reenact_zoo.methods.fomm.keypoints import KeypointDetector
from reenact_zoo.methods.fomm.motion import Keypoints, transfer

SIZE = (256, 256)
CONVENTIONS = {"ac1": "official", "ac0": "official_unaligned"}
MOTION = "dense_motion_network."


def _weights(stored: Golden, prefix: str) -> dict[str, Tensor]:
    """By the rule, with the two exceptions of golden/README.md."""
    state = stored.weights(prefix)
    for key in state:
        if key.endswith("down.weight"):
            state[key] = torch.from_numpy(stored.data["kp_down_weight"])
    if "jacobian.bias" in state:
        state["jacobian.bias"] += torch.eye(2).flatten().repeat(10)
    return state


def _empty(network: type[nn.Module]) -> nn.Module:
    with torch.device("meta"):  # no time for fresh weights that are replaced at once
        made = network(Config.released())
    return made.to_empty(device="cpu").eval().requires_grad_(False)


def _keypoints(stored: Golden, name: str) -> Keypoints:
    values, jacobians = (torch.from_numpy(stored.data[f"{name}_{part}"]) for part in ("value", "jacobian"))
    return Keypoints(values, jacobians)


def _case(stored: Golden, case: str) -> tuple[Keypoints, Keypoints]:
    names = ("in_kpA", "in_kpB") if case == "hand" else ("kp_src", "kp_drv")
    return _keypoints(stored, names[0]), _keypoints(stored, names[1])


def _compare(stored: Golden, name: str, full: Tensor, noise: float) -> None:
    """As ``Golden.compare``, without a relative tolerance."""
    values = full.numpy()
    assert values.shape == tuple(stored.data[f"{name}__shape"])
    part = stored.rule.sliced(values, str(stored.data[f"{name}__slice"])) if f"{name}__slice" in stored.data else values
    np.testing.assert_allclose(part, stored.data[name], rtol=0, atol=noise, err_msg=name)
    whole = values.astype(np.float64)
    mine = np.array([whole.mean(), whole.std(), whole.min(), whole.max()])
    np.testing.assert_allclose(mine, stored.data[f"{name}__stats"], rtol=0, atol=noise, err_msg=f"{name} stats")


def _compare_motion(stored: Golden, tag: str, motion: Motion) -> None:
    # golden/README.md: noise of 32 bits 3e-7 (occlusion) and 3e-5 (sampled pictures); both sides may have it
    _compare(stored, f"{tag}_deformation", motion.flow, 2e-6)
    _compare(stored, f"{tag}_occlusion_map", motion.occlusion, 2e-6)
    _compare(stored, f"{tag}_mask", motion.masks, 2e-6)
    if f"{tag}_sparse_deformed" in stored.data:
        _compare(stored, f"{tag}_sparse_deformed", motion.copies, 6e-5)


@torch.no_grad()
def test_pseudo_random_weights_give_the_authors_keypoints(golden: Path) -> None:
    stored = Golden(golden, "fomm")
    detector = _empty(KeypointDetector)
    weights = _weights(stored, "kp_")
    assert {key: tuple(value.shape) for key, value in detector.state_dict().items()} == stored.keys("kp_")
    detector.load_state_dict(weights)
    images = stored.images(31, 32, 33, size=SIZE)
    fresh = Shrink(4, released=True)
    np.testing.assert_allclose(fresh.weight.numpy(), stored.data["kp_down_weight"], rtol=0, atol=1e-8)
    _compare(stored, "kp_down", fresh(images[:1]), 1e-6)
    _compare(stored, "kp_feat", detector.get_submodule("predictor")(fresh(images[:1])), 2e-5)
    for index, name in enumerate(("src", "drv", "drv0")):
        keypoints, heat = detector(images[index : index + 1])
        _compare(stored, f"kp_{name}_value", keypoints.values, 5e-7)  # noise 6e-8
        _compare(stored, f"kp_{name}_jacobian", keypoints.jacobians, 2e-6)  # noise 2e-7
        assert heat.shape == (1, 10, 58, 58)


def test_relative_motion_is_the_authors(golden: Path) -> None:
    stored = Golden(golden, "fomm")
    source, driving, reference = (_keypoints(stored, f"kp_{name}") for name in ("src", "drv", "drv0"))
    choices = {
        "rel": transfer(source, driving, reference, adapt_scale=False),
        "rel_adapt": transfer(source, driving, reference, adapt_scale=True),
        "rel_nojac": transfer(source, driving, reference, adapt_scale=False, relative_jacobian=False),
        "abs": transfer(source, driving),
    }
    for name, found in choices.items():
        exact = 0.0 if name == "abs" else 2e-7  # a last bit or two of 32
        _compare(stored, f"norm_{name}_value", found.values, exact)
        _compare(stored, f"norm_{name}_jacobian", found.jacobians, 20 * exact)  # products of an inverse up to 5


@torch.no_grad()
def test_pseudo_random_weights_give_the_authors_motion_in_both_samplings(golden: Path) -> None:
    stored = Golden(golden, "fomm")
    network = _empty(DenseMotion)
    weights = _weights(stored, "gen_")
    network.load_state_dict({k.removeprefix(MOTION): v for k, v in weights.items() if k.startswith(MOTION)})
    small = network.get_submodule("down")(stored.images(31, size=SIZE))
    for suffix, preset in CONVENTIONS.items():
        network.convention = Convention(preset)  # type: ignore[assignment]
        for case in ("own", "hand"):
            _compare_motion(stored, f"{case}_{suffix}", network(small, *_case(stored, case)))


# 53 billion multiplications per case: seconds, of which the motion above is a fifteenth
@pytest.mark.slow
@torch.no_grad()
def test_pseudo_random_weights_give_the_authors_pictures_in_both_samplings(golden: Path) -> None:
    stored = Golden(golden, "fomm")
    detector, generator = _empty(KeypointDetector), _empty(OcclusionAwareGenerator)
    assert {key: tuple(value.shape) for key, value in generator.state_dict().items()} == stored.keys("gen_")
    states = {"kp_detector": _weights(stored, "kp_"), "generator": _weights(stored, "gen_"), "epoch": 99}
    official.load_official(states, kp_detector=detector, generator=generator)
    image = stored.images(31, size=SIZE)
    encoded = generator.encode(image)  # type: ignore[operator]
    for suffix, preset in CONVENTIONS.items():
        convention = Convention(preset)
        for module in generator.modules():
            if hasattr(module, "convention"):
                module.convention = convention  # type: ignore[assignment]
        for case in ("own", "hand"):
            tag = f"{case}_{suffix}"
            source, driving = _case(stored, case)
            picture, motion = generator(encoded, source, driving)
            _compare_motion(stored, tag, motion)
            _compare(stored, f"{tag}_prediction", picture, 2e-6)  # noise 2e-7
            warped = convention.sample(image, convention.resized(motion.flow, *SIZE))
            _compare(stored, f"{tag}_deformed", warped, 6e-5)  # noise 3e-5
