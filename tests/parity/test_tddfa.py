"""3DDFA_V2 against outputs of the authors' network (golden/spec_3ddfa_v2.md)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reenact_zoo.faces.networks.mobilenet_v1 import MobileNetV1
from reenact_zoo.faces.tddfa import Tddfa, official_keys
from reenact_zoo.weights.store import WeightStore

SEEDS = (71, 72, 73)


@pytest.fixture
def rule(golden: Path) -> Any:
    spec = importlib.util.spec_from_file_location("golden_rule", golden / "golden_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs(rule: Any) -> torch.Tensor:
    pictures = np.stack([np.round(rule.image(seed, 3, 120, 120, 0, 255)) for seed in SEEDS])
    return (torch.from_numpy(pictures).float() - 127.5) / 128


def with_rule_weights(rule: Any, width: float) -> MobileNetV1:
    network = MobileNetV1(width).eval()
    state = {
        key: torch.from_numpy(np.asarray(rule.rule(key, tuple(value.shape)))) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize(("name", "width"), [("mb05", 0.5), ("mb1", 1.0)])
def test_pseudo_random_weights_give_the_authors_output(golden: Path, rule: Any, name: str, width: float) -> None:
    stored = np.load(golden / "tddfa_v2.npz")
    network = with_rule_weights(rule, width)
    keys = {key: tuple(shape) for key, shape in json.loads(str(stored[f"{name}_keys"])).items()}
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == keys
    with torch.inference_mode():
        output = network(inputs(rule)).numpy()
    # std of the output is 0.09, the authors' float32 noise 5e-8 (golden/README.md)
    np.testing.assert_allclose(output, stored[f"{name}_rule_out"], rtol=1e-4, atol=2e-6)


def test_the_released_weights_give_the_authors_parameters(golden: Path, rule: Any, weights_folder: Path) -> None:
    stored = np.load(golden / "tddfa_v2.npz")
    store = WeightStore()
    network = MobileNetV1(0.5).eval()
    network.load_state_dict(official_keys(store.load_state_dict("3ddfa_v2_mb05")))
    with torch.inference_mode():
        output = network(inputs(rule))
    np.testing.assert_allclose(output.numpy(), stored["mb05_real_out"], rtol=1e-4, atol=1e-5)
    parameters = Tddfa(store).parameters(output)
    np.testing.assert_allclose(parameters.numpy(), stored["mb05_real_param"], rtol=1e-4, atol=1e-3)


def test_an_rgb_image_reaches_the_network_as_the_authors_cut_it(golden: Path, rule: Any, weights_folder: Path) -> None:
    stored = np.load(golden / "tddfa_v2.npz")
    pictures = np.stack([np.round(rule.image(seed, 3, 120, 120, 0, 255)) for seed in SEEDS])
    rgb = torch.from_numpy(pictures).float().flip(1) / 255  # the stored inputs are BGR
    half = 60 / 2**0.5  # landmarks whose square is exactly the image
    landmarks = torch.full((3, 68, 2), 59.5)
    landmarks[:, 0], landmarks[:, 1] = 59.5 - half, 59.5 + half
    output = Tddfa().whitened(rgb, landmarks)
    np.testing.assert_allclose(output.detach().numpy(), stored["mb05_real_out"], rtol=1e-3, atol=1e-4)
