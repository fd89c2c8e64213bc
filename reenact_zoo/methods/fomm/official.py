"""The released checkpoints (vox-cpk.pth.tar, vox-adv-cpk.pth.tar) in our networks: keys are the same but for a few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from reenact_zoo.types import InputError
from reenact_zoo.weights.loading import REBUILT_LATER, first_difference

PARTS = ("kp_detector", "generator", "discriminator")
OF_TRAINING = ("optimizer_", "epoch")  # what else a released checkpoint holds
FIXED = "down.weight"  # the blur kernel: a constant that some files lack

# Spectral norm keeps its tensors under other names today.
_SPECTRAL = {
    "conv.parametrizations.weight.original": "conv.weight_orig",
    "conv.parametrizations.weight.0._u": "conv.weight_u",
    "conv.parametrizations.weight.0._v": "conv.weight_v",
}


def load_official(
    state_dict: Mapping[str, Any],
    *,
    kp_detector: nn.Module,
    generator: nn.Module,
    discriminator: nn.Module | None = None,
) -> None:
    """Fill networks of ``Config.released()``; nothing is changed where anything does not fit.

    Args:
        state_dict: the checkpoint, {"kp_detector": its state dict, "generator": …, "discriminator": …}, or the same
            flat with the name and a dot before each key. "module." before keys is removed, optimisers are ignored.
        kp_detector: to be filled.
        generator: to be filled.
        discriminator: to be filled where given; else the checkpoint's is ignored.

    Raises:
        InputError: a part or key is missing, unknown or of another shape; the first one is named as released.
    """
    networks = {"kp_detector": kp_detector, "generator": generator}
    if discriminator is not None:
        networks["discriminator"] = discriminator
    parts = split_parts(state_dict)
    filled = {part: _translated(part, network, parts.get(part, {})) for part, network in networks.items()}
    for part, network in networks.items():
        network.load_state_dict(filled[part])


def split_parts(state_dict: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Released tensors by part, keys without "module." and without the part's name.

    Raises:
        InputError: an entry belongs to no part.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state_dict.items():
        name = key.removeprefix("module.")
        first, _, rest = name.partition(".")
        if first in PARTS and isinstance(value, Mapping):
            parts.setdefault(first, {}).update({inner.removeprefix("module."): t for inner, t in value.items()})
        elif first in PARTS and rest:
            parts.setdefault(first, {})[rest.removeprefix("module.")] = value
        elif not name.startswith(OF_TRAINING):
            raise InputError(
                f"fomm weights: '{key}' belongs to none of {', '.join(PARTS)}; "
                "give the state dicts as {'kp_detector': …, 'generator': …}"
            )
    return parts


def official_key(key: str) -> str:
    """Released key of a tensor of our network."""
    ours = next((ours for ours in _SPECTRAL if key.endswith(ours)), "")
    return key.removesuffix(ours) + _SPECTRAL[ours] if ours else key


def _translated(part: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not tensors:
        raise InputError(f"fomm weights: part '{part}' is missing; give its state dict under this name")
    own = {official_key(key): value for key, value in network.state_dict().items()}
    kept = {key: value for key, value in own.items() if key.endswith((REBUILT_LATER, FIXED))}
    given = {**kept, **tensors}
    if difference := first_difference({key: tuple(value.shape) for key, value in own.items()}, given):
        raise InputError(
            f"fomm weights of '{part}' do not fit this configuration; use Config.released() for the released vox "
            f"checkpoints: {difference}"
        )
    return {key: given[official_key(key)] for key in network.state_dict()}
