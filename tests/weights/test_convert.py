"""Published files are unwrapped, thinned and renamed to what our networks load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reenact_zoo.types import InputError
from reenact_zoo.weights.convert import CONVERSIONS, convert
from reenact_zoo.weights.loading import first_difference
from reenact_zoo.weights.manifest import manifest
from reenact_zoo.weights.place import telltale_difference

ONE = torch.ones(1)


@pytest.mark.parametrize(
    "content",
    [
        {"a.w": ONE},
        {"state_dict": {"a.w": ONE}, "epoch": 3},
        {"model": {"module.a.w": ONE}},
        {"model": {"state_dict": {"a.w": ONE}}, "optimizer": {"state": {}}},
        {"net": {"a.w": ONE}, "model": "resnet50"},
    ],
)
def test_common_wrappers_are_removed(content: dict[str, Any]) -> None:
    assert list(convert("mobilefacenet", content)) == ["a.w"]


def test_a_level_called_model_that_holds_no_tensors_is_no_wrapper() -> None:
    assert list(convert("mobilefacenet", {"model": {"name": "x"}, "a.w": ONE})) == ["a.w"]


def test_deca_gives_its_coarse_encoder_unless_another_part_is_asked_for() -> None:
    content = {"E_flame": {"layers.0.weight": ONE}, "E_detail": {"layers.2.weight": ONE}, "D_detail": {}}
    assert list(convert("deca_model", content)) == ["layers.0.weight"]
    assert list(convert("deca_model", content, "E_detail")) == ["layers.2.weight"]
    with pytest.raises(InputError, match="E_detail"):
        convert("deca_model", content, "E_shape")


def test_a_file_without_the_part_says_what_it_holds() -> None:
    with pytest.raises(InputError, match="epoch"):
        convert("deep3dfacerecon_epoch_20", {"epoch": 3, "net": {"a": ONE}})


def test_a_part_saved_alone_is_taken_as_it_is() -> None:
    assert list(convert("deca_model", {"layers.0.weight": ONE})) == ["layers.0.weight"]


def test_fomm_and_latent_pose_hold_two_networks() -> None:
    content = {"generator": {"g.w": ONE}, "kp_detector": {"k.w": ONE}, "embedder": {"e.w": ONE}, "epoch": 99}
    assert list(convert("fomm_vox", content)) == ["g.w"]
    assert list(convert("fomm_vox", content, "kp_detector")) == ["k.w"]
    assert list(convert("latent_pose", content)) == ["e.w"]
    assert list(convert("latent_pose", content, "generator")) == ["g.w"]


def test_classifiers_of_feature_networks_are_dropped() -> None:
    content = {"features.0.weight": ONE, "classifier.0.weight": ONE}
    for name in ("vgg16_imagenet", "vgg19_imagenet", "alexnet_imagenet"):
        assert list(convert(name, content)) == ["features.0.weight"]


def test_every_conversion_belongs_to_an_entry() -> None:
    assert set(CONVERSIONS) <= set(manifest())


def _official(golden: Path, file: str, prefix: str) -> dict[str, tuple[int, ...]]:
    with np.load(golden / f"{file}.npz") as archive:
        return {key: tuple(shape) for key, shape in json.loads(str(archive[f"{prefix}keys"])).items()}


def test_the_checkpoint_of_3ddfa_becomes_the_keys_of_its_network(golden: Path) -> None:
    stored = _official(golden, "tddfa_v2", "mb05_ckpt_")
    content = {"state_dict": {f"module.{key}": torch.empty(shape) for key, shape in stored.items()}}
    converted = convert("3ddfa_v2_mb05", content)
    assert first_difference(_official(golden, "tddfa_v2", "mb05_"), converted) == ""


OFFICIAL = {
    "hrnet_w18_300w": ("hrnet_w18", ""),
    "hopenet_robust_alpha1": ("hopenet", ""),
    "3ddfa_v2_mb1": ("tddfa_v2", "mb1_"),
    "arcface_r50_ms1mv3": ("arcface_iresnet", "r50_"),
    "arcface_r18_ms1mv3": ("arcface_iresnet", "r18_"),
    "cosface_sphere20": ("cosface", "sphere20_"),
    "deca_model": ("deca_eflame", ""),
    "latent_pose": ("latent_pose", "emb_"),
    "bilayer_identity_embedder": ("bilayer", "identity_embedder_"),
    "bilayer_texture_generator": ("bilayer", "texture_generator_"),
    "bilayer_keypoints_embedder": ("bilayer", "keypoints_embedder_"),
    "bilayer_inference_generator": ("bilayer", "inference_generator_"),
    "bilayer_texture_enhancer": ("bilayer", "texture_enhancer_"),
    "one_shot_encoder": ("osfr_nets", "enc_"),
    "one_shot_decoder": ("osfr_nets", "dec_"),
    "one_shot_generator": ("osfr_nets", "gen_"),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_telltale_keys_of_an_entry_are_official_ones(name: str, golden: Path) -> None:
    official = _official(golden, *OFFICIAL[name])
    keys = manifest()[name].keys
    assert keys
    for key, shape in keys.items():
        assert official[key] == shape, key


def test_the_telltale_keys_tell_the_entries_apart(golden: Path) -> None:
    files = {name: _official(golden, *where) for name, where in OFFICIAL.items()}
    for name in OFFICIAL:
        for other, official in files.items():
            tensors = {key: torch.empty(shape, device="meta") for key, shape in official.items()}
            fits = telltale_difference(manifest()[name], tensors) == ""
            assert fits == (name == other), (name, other)
