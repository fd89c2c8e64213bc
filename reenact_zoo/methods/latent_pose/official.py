"""The released checkpoint of latent pose descriptors in our networks: whose key is whose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from reenact_zoo.methods.latent_pose.embedder import Embedder
from reenact_zoo.methods.latent_pose.generator import AdaptiveBlock, Generator
from reenact_zoo.types import InputError
from reenact_zoo.weights.loading import first_difference

ENTRY = "latent_pose"  # in weights/manifest.yaml
ORIGIN = "linked as meta-model checkpoint by the README of https://github.com/shrubb/latent-pose-reenactment"
PARTS = ("embedder", "generator")
AVERAGES = "running_averages"
TUNED = "identity_embedding"  # what fine-tuning to one person puts in place of the identity encoder

# torch's spectral norm of today names its tensors otherwise than the hooks of 2020
_SPECTRAL = {
    "parametrizations.weight.original": "weight_orig",
    "parametrizations.weight.0._u": "weight_u",
    "parametrizations.weight.0._v": "weight_v",
}


def official_key(key: str, generator: Generator) -> str:
    """Released key of one of the generator's tensors."""
    for ours, theirs in _SPECTRAL.items():
        key = key.replace(ours, theirs)
    if key == "constant":
        return "constant.constant"
    layer, _, rest = key.partition(".")
    if layer == "projector":
        return f"affine_params_projector.{rest}"
    if layer == "to_image":  # behind the blocks come AdaIN and ReLU
        return f"decoder_blocks.{len(generator.blocks) + 2}.{rest}"
    index, part, tensor = rest.split(".", 2)
    block = generator.blocks[int(index)]
    assert isinstance(block, AdaptiveBlock)
    later = int(block.up)  # the enlargement is a layer of its own there
    place = {"first": f"block.{3 + later}", "second": f"block.{7 + later}", "around": "skip.1"}[part]
    return f"decoder_blocks.{index}.{place}.{tensor}"


def official_state(generator: Generator) -> dict[str, Tensor]:
    """The generator's tensors by released key."""
    return {official_key(key, generator): value for key, value in generator.state_dict().items()}


def load_official(state_dict: Mapping[str, Any], *, embedder: Embedder, generator: Generator) -> None:
    """Fill both networks with released weights; nothing is changed where anything does not fit.

    Args:
        state_dict: the checkpoint: {"embedder": its state dict, "generator": …}. Averaged weights, which the released
            code prefers for use, are taken where there are any: {"running_averages": {"embedder": …, "generator": …}}.
            "module." before keys is removed.
        embedder: to be filled.
        generator: to be filled.

    Raises:
        InputError: a part or key is missing, unknown or of another shape (the first one is named as released), or the
            checkpoint was fine-tuned to one person.
    """
    parts = {name: _part(state_dict, name) for name in PARTS}
    if TUNED in parts["generator"]:
        raise InputError(
            "latent_pose weights: this checkpoint was fine-tuned to one person, whose identity it holds in place of "
            "the source's; give the meta-model's checkpoint"
        )
    of_generator = {key: official_key(key, generator) for key in generator.state_dict()}
    filled = {
        "embedder": _fitting("embedder", {key: key for key in embedder.state_dict()}, embedder.state_dict(), parts),
        "generator": _fitting("generator", of_generator, generator.state_dict(), parts),
    }
    embedder.load_state_dict(filled["embedder"])
    generator.load_state_dict(filled["generator"])


def _part(state_dict: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    averages = state_dict.get(AVERAGES)
    found = averages.get(name) if isinstance(averages, Mapping) else None
    found = state_dict.get(name) if found is None else found
    if not isinstance(found, Mapping):
        raise InputError(
            f"latent_pose weights: '{name}' is missing; give the whole checkpoint, {{'embedder': …, 'generator': …}}"
        )
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def _fitting(
    part: str, released: Mapping[str, str], own: Mapping[str, Tensor], parts: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    expected = {released[key]: tuple(tensor.shape) for key, tensor in own.items()}
    if difference := first_difference(expected, parts[part]):
        raise InputError(
            f"latent_pose weights of '{part}' do not fit (they are for Config.released(): image_size 256, "
            f"embeddings of 512 and 256): {difference}"
        )
    return {key: parts[part][name] for key, name in released.items()}
