"""From the files that authors published to the keys of our networks: what to unwrap, to drop and to rename.

Networks here keep the authors' key names wherever they can, so most entries need nothing beyond ``plain_tensors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from reenact_zoo.types import InputError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # levels that hold the tensors of one network
PREFIXES = ("module.",)  # what DataParallel writes before every key


@dataclass(frozen=True)
class Conversion:
    """Steps from a published file to one network.

    Attributes:
        parts: networks in the file that are used, by the key that holds each; the first is the default.
        drop: beginnings of keys that the network does not have.
        rename: beginning of a key → what our network calls it.
    """

    parts: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] | None = None


CLASSIFIER = Conversion(drop=("classifier.",))  # perceptual losses and LPIPS read the convolutions only

CONVERSIONS: dict[str, Conversion] = {
    # fc_param is the head in use; fc_lm is a landmark head of training
    "3ddfa_v2_mb05": Conversion(drop=("fc_lm.",), rename={"fc_param.": "fc."}),
    "3ddfa_v2_mb1": Conversion(drop=("fc_lm.",), rename={"fc_param.": "fc."}),
    "deca_model": Conversion(parts=("E_flame", "E_detail", "D_detail")),
    "deep3dfacerecon_epoch_20": Conversion(parts=("net_recon",)),
    "vgg16_imagenet": CLASSIFIER,
    "vgg19_imagenet": CLASSIFIER,
    "alexnet_imagenet": CLASSIFIER,
    "fomm_vox": Conversion(parts=("generator", "kp_detector")),
    "latent_pose": Conversion(parts=("embedder", "generator")),
}


def convert(name: str, content: Mapping[str, Any], part: str = "") -> dict[str, Tensor]:
    """Tensors of one network of an entry, by the keys our network uses.

    Args:
        name: manifest entry.
        content: what its file holds, see ``loading.read_checkpoint``.
        part: which of the networks in the file; "" for the entry's main one.

    Raises:
        InputError: the file has no such part, or it holds no tensors.
    """
    conversion = CONVERSIONS.get(name, Conversion())
    if part and part not in conversion.parts:
        known = ", ".join(conversion.parts) or "a single network"
        raise InputError(f"weights '{name}' have no part '{part}'; their file holds {known}")
    tensors = plain_tensors(_inside(name, content, part or next(iter(conversion.parts), "")), name)
    kept = {key: value for key, value in tensors.items() if not key.startswith(conversion.drop)}
    return {_renamed(key, conversion.rename or {}): value for key, value in kept.items()}


def plain_tensors(content: Mapping[str, Any], what: str) -> dict[str, Tensor]:
    """Tensors below any of ``WRAPPERS``, without the prefix that DataParallel writes.

    Raises:
        InputError: there is none.
    """
    for wrapper in WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping) and _holds_tensors(inner):
            return plain_tensors(inner, what)
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    if not tensors:
        raise InputError(f"{what} holds no tensors")
    return tensors


def _inside(name: str, content: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The level that holds one part; a file whose top level holds tensors already is one part saved alone."""
    if not part or (part not in content and any(isinstance(value, Tensor) for value in content.values())):
        return content
    inner = content.get(part)
    if not isinstance(inner, Mapping):
        raise InputError(f"the file of weights '{name}' has no '{part}'; it holds {', '.join(map(str, content))}")
    return inner


def _holds_tensors(content: Mapping[str, Any]) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, Mapping) and _holds_tensors(v)) for v in content.values())


def _renamed(key: str, rename: Mapping[str, str]) -> str:
    for old, new in rename.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key
