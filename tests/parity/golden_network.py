"""What every parity test does: weights by the golden rule, strict official keys, stored slices of the outputs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reenact_zoo.weights.store import WeightStore

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class Golden:
    """One npz of the golden folder, and the rules by which its weights and inputs are made."""

    def __init__(self, folder: Path, name: str) -> None:
        spec = importlib.util.spec_from_file_location("golden_rule", folder / "golden_rule.py")
        assert spec is not None
        assert spec.loader is not None
        self.rule: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.rule)
        with np.load(folder / f"{name}.npz", allow_pickle=False) as data:
            self.data = {key: data[key] for key in data.files}

    def keys(self, prefix: str = "") -> dict[str, tuple[int, ...]]:
        """Official key → shape, in the official order."""
        return {key: tuple(shape) for key, shape in json.loads(str(self.data[f"{prefix}keys"])).items()}

    def weights(self, prefix: str = "") -> dict[str, Tensor]:
        """Official state dict by the rule; counters, which the rule leaves alone, are zero."""
        kept = set(json.loads(str(self.data[f"{prefix}kept"])))
        state = {}
        for key, shape in self.keys(prefix).items():
            values = None if key in kept else self.rule.rule(key, shape)
            assert (values is None) == (key in kept), key
            state[key] = torch.zeros(shape, dtype=torch.int64) if values is None else torch.from_numpy(values)
        return state

    def loaded(self, network: nn.Module, prefix: str = "") -> nn.Module:
        """The network in evaluation mode with these weights, every key used and none left over."""
        network.load_state_dict(self.weights(prefix), strict=True)
        return network.eval().requires_grad_(False)

    def images(self, *seeds: int, size: tuple[int, int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """(len(seeds), 3, H, W) by the input rule."""
        return torch.from_numpy(np.stack([self.rule.image(seed, 3, *size, low, high) for seed in seeds]))

    def compare(self, name: str, full: Tensor, noise: float) -> None:
        """``full`` against the stored slice and whole-tensor statistics; ``noise``: allowed absolute difference."""
        values = full.detach().numpy()
        if f"{name}__shape" in self.data:
            assert values.shape == tuple(self.data[f"{name}__shape"])
        part = self.rule.sliced(values, str(self.data[f"{name}__slice"])) if f"{name}__slice" in self.data else values
        stored = self.data[name]
        np.testing.assert_allclose(part[: len(stored)], stored, rtol=1e-4, atol=noise, err_msg=name)
        if f"{name}__stats" in self.data:
            whole = values.astype(np.float64)
            mine = np.array([whole.mean(), whole.std(), whole.min(), whole.max()])
            np.testing.assert_allclose(
                mine, self.data[f"{name}__stats"], rtol=1e-4, atol=noise, err_msg=f"{name} stats"
            )


class GoldenStore(WeightStore):
    """Hands these weights to whatever network asks."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._weights = weights

    def load_into(self, module: nn.Module, name: str, part: str = "") -> None:
        module.load_state_dict(self._weights)


def landmarks(*points: tuple[float, float]) -> Tensor:
    """(1, 68, 2): five points (eyes, nose tip, mouth corners), or the two corners of the landmarks' box."""
    rows = torch.tensor(points).mean(0).repeat(68, 1)
    if len(points) == 2:
        rows[0], rows[1] = torch.tensor(points)
    else:
        rows[36:42], rows[42:48] = torch.tensor(points[0]), torch.tensor(points[1])
        rows[[30, 48, 54]] = torch.tensor(points[2:])
    return rows[None]


def taps(network: nn.Module, **names: str) -> dict[str, Any]:
    """Outputs of inner modules, filled when the network runs: label → dotted module name."""
    seen: dict[str, Any] = {}

    def remember(label: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[label] = output

        return hook

    for label, name in names.items():
        network.get_submodule(name).register_forward_hook(remember(label))
    return seen
