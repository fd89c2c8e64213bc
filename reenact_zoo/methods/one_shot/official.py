"""The released weights of One-shot Face Reenactment in our networks: whose key is whose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reenact_zoo.methods.one_shot.discriminators import MultiScalePatch
from reenact_zoo.methods.one_shot.networks import AppearanceDecoder, AppearanceEncoder, SpadeDecoder
from reenact_zoo.types import InputError
from reenact_zoo.weights.loading import first_difference

APPEARANCE_PARTS = ("appEnc", "appDnc", "netG")
DISCRIMINATOR_PARTS = ("netD256", "netD128", "netD64")  # in the order of MultiScalePatch.scales
PARTS = (*APPEARANCE_PARTS, *DISCRIMINATOR_PARTS)

# The start of our key → the start of the released key.
_STARTS: dict[str, dict[str, str]] = {
    "appEnc": {"layers.": "encoder.", "mean.": "mean.0."},
    "appDnc": {
        "trunk.": "decoder16.",
        "levels.0.": "decoder32.",
        "levels.1.": "decoder64.",
        "levels.2.": "decoder128.",
        "to_image.": "decoder256.0.",
    },
    "netG": {"seed.0.": "up1.", "seed.1.": "up2.", "to_image.": "same."}
    | {f"coarse.{i}.block.": f"spade_blc{3 + i}." for i in range(2)}
    | {f"coarse.{i}.up.": f"up{3 + i}." for i in range(2)}
    | {f"levels.{i}.block.": f"spade_blc{5 + i}." for i in range(4)}
    | {f"levels.{i}.narrow.": f"conv{5 + i}." for i in range(4)}
    | {f"levels.{i}.up.": f"up{5 + i}." for i in range(4)},
} | {part: {"layers.": "model."} for part in DISCRIMINATOR_PARTS}
_AROUND = {".spade_around.": ".spade_res.", ".conv_around.": ".conv_res."}


def official_keys(part: str, key: str) -> tuple[str, ...]:
    """Released keys of one of our tensors; of two, the tensors lie one behind the other on the first axis.

    Args:
        part: a name of ``PARTS``.
        key: of our network's state dict at 256 pixels.

    Raises:
        KeyError: no released network has a place for it.
    """
    starts = _STARTS[part]
    start = next((start for start in starts if key.startswith(start)), None)
    if start is None:
        raise KeyError(key)
    released = starts[start] + key.removeprefix(start)
    for ours, theirs in _AROUND.items():
        released = released.replace(ours, theirs)
    if ".read.0." in released:  # our Spade reads scale and shift with one convolution
        return (released.replace("read.0.", "conv_weight."), released.replace("read.0.", "conv_bias."))
    return (released,)


def load_official(
    state_dict: Mapping[str, Any],
    *,
    encoder: AppearanceEncoder,
    decoder: AppearanceDecoder,
    generator: SpadeDecoder,
    discriminators: MultiScalePatch | None = None,
) -> None:
    """Fill networks of the released size with released weights; nothing is changed where anything does not fit.

    Args:
        state_dict: either {"appEnc": its state dict, "appDnc": …, "netG": …} or one flat dictionary whose keys may
            begin with such a name and a dot. "module.", which data-parallel training puts before keys, is removed.
            "netD256", "netD128" and "netD64" are needed only with ``discriminators``.
        encoder: to be filled, as the next ones; made with ``widths()``.
        decoder: see there.
        generator: see there.
        discriminators: three scales of three layers.

    Raises:
        InputError: a part or key is missing, unknown or of another shape; the first one is named as released.
    """
    networks: dict[str, nn.Module] = {"appEnc": encoder, "appDnc": decoder, "netG": generator}
    if discriminators is not None:
        if len(discriminators.scales) != len(DISCRIMINATOR_PARTS):
            raise InputError("the released code has three discriminators; build MultiScalePatch with scales=3")
        networks |= dict(zip(DISCRIMINATOR_PARTS, discriminators.scales))
    parts = split_parts(state_dict)
    filled = {part: _translated(part, network, parts.get(part, {})) for part, network in networks.items()}
    for part, network in networks.items():
        network.load_state_dict(filled[part])


def split_parts(state_dict: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Released tensors by part, keys without "module." and without the part's name.

    Raises:
        InputError: an entry belongs to no part.
    """
    flat: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": tensor for inner, tensor in value.items()}
        else:
            flat[key] = value
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        name = ".".join(word for word in key.split(".") if word != "module")
        first, _, rest = name.partition(".")
        part = first if first in PARTS else _owner(name)
        if part is None:
            raise InputError(
                f"one_shot weights: '{key}' belongs to none of {', '.join(PARTS)}; "
                "give the state dicts as {'appEnc': …, 'appDnc': …, 'netG': …}"
            )
        parts.setdefault(part, {})[rest if first in PARTS else name] = tensor
    return parts


def _owner(name: str) -> str | None:
    """Which part has a key of this beginning; discriminators cannot be told from each other."""
    for part in APPEARANCE_PARTS:
        if any(name.startswith(start) for start in _STARTS[part].values()):
            return part
    return None


def _translated(part: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not tensors:
        raise InputError(f"one_shot weights: part '{part}' is missing; give its state dict under this name")
    own = network.state_dict()
    try:
        released = {key: official_keys(part, key) for key in own}
    except KeyError as error:
        raise InputError(f"one_shot weights: '{part}' is for image_size 256; ours has {error} besides") from None
    expected = {
        name: (len(own[key]) // len(names), *own[key].shape[1:]) for key, names in released.items() for name in names
    }
    if difference := first_difference(expected, tensors):
        raise InputError(
            f"one_shot weights of '{part}' do not fit (they are for image_size 256, base_width 64, cap_width 1024, "
            f"concat all): {difference}"
        )
    return {
        key: torch.cat([tensors[name] for name in names]) if len(names) > 1 else tensors[names[0]]
        for key, names in released.items()
    }
