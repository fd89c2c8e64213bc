"""The released weights of the bi-layer model in our networks, which keep the released names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from reenact_zoo.types import InputError
from reenact_zoo.weights.loading import first_difference, load_into
from reenact_zoo.weights.store import WeightStore

PARTS = (
    "identity_embedder",
    "texture_generator",
    "keypoints_embedder",
    "inference_generator",
    "texture_enhancer",
)
"""Networks, each a file of its own; the names of the method's submodules and, behind "bilayer_", of weight entries."""

ENHANCER = "texture_enhancer"  # of a second, later run: the only part that may be absent
REPOSITORY = "https://github.com/saic-violet/bilayer-model"


def load_official(state_dict: Mapping[str, Any], networks: Mapping[str, nn.Module]) -> frozenset[str]:
    """Fill networks of the released size with released weights; nothing is changed where anything does not fit.

    Args:
        state_dict: either {"identity_embedder": its state dict, …} or one flat dictionary whose keys begin with such a
            name and a dot. "module.", which data-parallel training puts before keys, is removed.
        networks: to be filled, by the names of ``PARTS``.

    Returns:
        The parts that were there.

    Raises:
        InputError: a part is missing or unknown, or a tensor is missing, unknown or of another shape; the first one is
            named.
    """
    parts = split_parts(state_dict)
    missing = [part for part in networks if part not in parts and part != ENHANCER]
    if missing:
        raise InputError(f"bilayer weights: part '{missing[0]}' is missing; give its state dict under this name")
    present = [part for part in networks if part in parts]
    for part in present:
        expected = {key: tuple(value.shape) for key, value in networks[part].state_dict().items()}
        if difference := first_difference(expected, parts[part]):
            raise InputError(f"bilayer weights of '{part}' do not fit (they are for Config.released()): {difference}")
    for part in present:
        load_into(networks[part], parts[part], f"bilayer_{part}")
    return frozenset(present)


def split_parts(state_dict: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Released tensors by part, keys without "module." and without the part's name.

    Raises:
        InputError: an entry belongs to no part.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state_dict.items():
        nested = value if isinstance(value, Mapping) else {"": value}
        for inner, tensor in nested.items():
            words = [word for word in (*key.split("."), *str(inner).split(".")) if word not in ("module", "")]
            if words[0] not in PARTS:
                raise InputError(
                    f"bilayer weights: '{key}' belongs to none of {', '.join(PARTS)}; "
                    "give the state dicts as {'identity_embedder': …, …}"
                )
            parts.setdefault(words[0], {})[".".join(words[1:])] = tensor
    return parts


def released_state(store: WeightStore) -> dict[str, dict[str, Tensor]]:
    """State dicts of all five parts, from the user's files.

    Raises:
        WeightsMissing: a file is not at hand, or its licence is not allowed.
    """
    return {part: store.load_state_dict(f"bilayer_{part}") for part in PARTS}


def lacking(store: WeightStore) -> str | None:
    """None where the released weights can be used, else one line: what is missing and where it comes from."""
    for part in PARTS:
        if (reason := store.missing(f"bilayer_{part}")) is not None:
            return (
                f"method 'bilayer' uses five released files at 256 px (code MPL-2.0, {REPOSITORY}; "
                f"the user supplies them): {reason}"
            )
    return None
