"""Latent pose descriptors against outputs of the authors' networks (golden/spec_latent_pose.md)."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from golden_network import Golden
from torch import Tensor
from torch.nn.utils import parametrizations

from reenact_zoo.methods.latent_pose.embedder import Embedder, released_embedder
from reenact_zoo.methods.latent_pose.generator import Generator
from reenact_zoo.methods.latent_pose.official import load_official, official_key, official_state

CASES = {"two_id_frames": ((111, 112), 113), "one_id_frame": ((112,), 114)}  # seeds of source and driving images
NOISE = 5e-6  # golden/README.md: 1e-6 of the authors' own; the outputs' deviations are 0.58, 0.13, 0.06 and 0.015
SIZE = (256, 256)


@cache
def _outlines() -> tuple[Embedder, Generator]:
    """The released networks without content: there is no time for fresh weights of 64 million numbers."""
    # power iterations are slow even without numbers
    with torch.device("meta"), patch.object(parametrizations._SpectralNorm, "_power_method"):
        return released_embedder(), Generator()


def _embedder() -> Embedder:
    return copy.deepcopy(_outlines()[0]).to_empty(device="cpu").eval()


def _generator() -> Generator:
    return copy.deepcopy(_outlines()[1]).to_empty(device="cpu").eval()


def _generator_weights(stored: Golden, start: str = "") -> dict[str, Tensor]:
    """Released tensors by the rule; u and v of a spectral norm follow from its weight."""
    state: dict[str, Tensor] = {}
    for key, shape in stored.keys("gen_").items():
        if not key.startswith(start) or key.endswith(("weight_u", "weight_v")):
            continue
        state[key] = torch.from_numpy(stored.rule.rule(key, shape))
        if key.endswith("weight_orig"):
            base = key.removesuffix("weight_orig")
            u, v = stored.rule.spectral_vectors(base, state[key].numpy())
            state |= {f"{base}weight_u": torch.from_numpy(u), f"{base}weight_v": torch.from_numpy(v)}
    return state


def test_the_released_names_and_shapes_are_ours(golden: Path) -> None:
    stored, (embedder, generator) = Golden(golden, "latent_pose"), _outlines()
    assert {key: tuple(value.shape) for key, value in official_state(generator).items()} == stored.keys("gen_")
    assert {key: tuple(value.shape) for key, value in embedder.state_dict().items()} == stored.keys("emb_")
    assert sum(p.numel() for p in generator.parameters()) == 37_516_996
    assert sum(p.numel() for p in embedder.parameters()) == 26_580_800


@torch.no_grad()
def test_pseudo_random_weights_give_the_authors_pose_embedding(golden: Path) -> None:
    stored, encoder, start = Golden(golden, "latent_pose"), _embedder().pose_encoder, "pose_encoder."
    for key, tensor in encoder.state_dict().items():
        made = stored.rule.rule(start + key, tuple(tensor.shape))
        tensor.copy_(torch.zeros(()) if made is None else torch.from_numpy(made))
    _, pose = CASES["two_id_frames"]
    stored.compare("two_id_frames_pose_embedding", encoder(stored.images(pose, size=SIZE)), NOISE)


@torch.no_grad()
def test_stored_embeddings_give_the_authors_shifts_and_scales(golden: Path) -> None:
    stored, generator = Golden(golden, "latent_pose"), _generator()
    weights = _generator_weights(stored, "affine_params_projector.")
    for key, tensor in generator.state_dict().items():
        if key.startswith("projector."):
            tensor.copy_(weights[official_key(key, generator)])
    for case in CASES:
        identity, pose = (torch.from_numpy(stored.data[f"{case}_{name}"]) for name in ("embeds", "pose_embedding"))
        stored.compare(f"{case}_affine", generator.affine(identity, pose), NOISE)


@pytest.mark.slow  # 64 million weights by the rule, and 60 GFLOP for each of the two images
@torch.no_grad()
def test_pseudo_random_weights_give_the_authors_images(golden: Path) -> None:
    stored, embedder, generator = Golden(golden, "latent_pose"), _embedder(), _generator()
    weights = {"embedder": stored.weights("emb_"), "generator": _generator_weights(stored)}
    load_official(weights, embedder=embedder, generator=generator)
    stored.compare("gen_sigma_check", _sigmas(stored, generator), 0.0)
    for case, (seeds, pose) in CASES.items():
        each = embedder.identities(stored.images(*seeds, size=SIZE)[None])
        how = embedder.pose(stored.images(pose, size=SIZE))
        stored.compare(f"{case}_embeds_elemwise", each, NOISE)
        stored.compare(f"{case}_embeds", each.mean(1), NOISE)
        stored.compare(f"{case}_pose_embedding", how, NOISE)
        head, segmentation = generator(each.mean(1), how)
        stored.compare(f"{case}_fake_rgbs", head * segmentation, NOISE)
        stored.compare(f"{case}_fake_segm", segmentation, NOISE)


def _sigmas(stored: Golden, generator: Generator) -> Tensor:
    """What every weight is divided by, in the stored order."""
    state, found = official_state(generator), []
    for key in json.loads(str(stored.data["gen_sigma_keys"])):
        base = key.removesuffix("weight_u")
        found.append(state[key] @ (state[f"{base}weight_orig"].flatten(1) @ state[f"{base}weight_v"]))
    return torch.stack(found)
