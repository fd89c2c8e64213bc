"""Files laid out as the authors publish them go through import, store and conversion into our networks, strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reenact_zoo.faces.networks.arcface import IResNet
from reenact_zoo.faces.networks.bisenet import BiSeNet
from reenact_zoo.faces.networks.cosface import Sphere20
from reenact_zoo.faces.networks.deca import DecaEncoder
from reenact_zoo.faces.networks.hopenet import Hopenet
from reenact_zoo.faces.networks.hrnet import HRNet
from reenact_zoo.faces.networks.mobilenet_v1 import MobileNetV1
from reenact_zoo.types import InputError
from reenact_zoo.weights.convert import convert
from reenact_zoo.weights.loading import load_into
from reenact_zoo.weights.place import import_file
from reenact_zoo.weights.store import WeightStore

State = dict[str, Tensor]


def _old(state: State) -> State:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def _parallel(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


# entry: golden file, prefix of its key list, our network, what surrounds the tensors in the published file
PUBLISHED: dict[str, tuple[str, str, Callable[[], nn.Module], Callable[[State], dict[str, Any]]]] = {
    "arcface_r50_ms1mv3": ("arcface_iresnet", "r50_", lambda: IResNet("r50"), dict),
    "arcface_r18_ms1mv3": ("arcface_iresnet", "r18_", lambda: IResNet("r18"), dict),
    "cosface_sphere20": ("cosface", "sphere20_", Sphere20, dict),
    "hopenet_robust_alpha1": ("hopenet", "", Hopenet, _old),
    "hrnet_w18_300w": ("hrnet_w18", "", lambda: HRNet(points=68), _parallel),
    "3ddfa_v2_mb1": (
        "tddfa_v2",
        "mb1_",
        lambda: MobileNetV1(width=1.0),
        lambda state: {
            "epoch": 50,
            "state_dict": _parallel({key.replace("fc.", "fc_param."): value for key, value in state.items()})
            | {"module.fc_lm.bias": torch.zeros(136)},
        },
    ),
    "deca_model": ("deca_eflame", "", DecaEncoder, lambda state: {"E_flame": state, "E_detail": {}, "D_detail": {}}),
}


def _published(golden: Path, name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Our network without memory, and the file's content its tensors one stored number each."""
    file, prefix, network, around = PUBLISHED[name]
    with np.load(golden / f"{file}.npz") as archive:
        shapes = json.loads(str(archive[f"{prefix}keys"]))
    with torch.device("meta"):
        module = network()
    return module, around({key: torch.zeros(()).expand(tuple(shape)) for key, shape in shapes.items()})


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_is_imported_and_loaded(name: str, golden: Path, tmp_path: Path) -> None:
    module, content = _published(golden, name)
    torch.save(content, tmp_path / "downloaded", _use_new_zipfile_serialization=False)  # as in the years of these files
    import_file(tmp_path / "downloaded", name)
    WeightStore(licence="research").load_into(module, name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_of_another_network_is_refused(name: str, golden: Path, tmp_path: Path) -> None:
    other = next(candidate for candidate in PUBLISHED if candidate != name)
    _, content = _published(golden, other)
    torch.save(content, tmp_path / "downloaded")
    with pytest.raises(InputError, match=name):
        import_file(tmp_path / "downloaded", name)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_bisenet_of_the_public_release_loads(golden: Path) -> None:
    """Its sha256 is known, so that made-up numbers cannot be imported; conversion and loading are the same."""
    with np.load(golden / "bisenet.npz") as archive:
        shapes = json.loads(str(archive["keys"]))
    with torch.device("meta"):
        module = BiSeNet()
    content = {key: torch.zeros(()).expand(tuple(shape)) for key, shape in shapes.items()}
    load_into(module, convert("bisenet_celebamask_hq", content), "bisenet_celebamask_hq")
