"""What a method writes into a checkpoint and how it is read back: plain containers only, nothing that can run code."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from reenact_zoo.types import InputError

STATISTICS = ("running_mean", "running_var")  # of batch norm: they belong to the weights beside them
KEY = "reenact_zoo"  # our entry beside Lightning's own in a checkpoint, and in a safetensors header


def plain_config(config: Any) -> dict[str, Any]:
    """Dataclass → dicts, lists, numbers, text: what a checkpoint may hold."""
    plain = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def config_from_plain(schema: type[Any], plain: Mapping[str, Any], where: str) -> Any:
    """Inverse of ``plain_config``.

    Raises:
        InputError: the entries do not fit the schema.
    """
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(plain)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{where}: its configuration does not fit {schema.__qualname__}: {reason}") from error


def changed(schema: type[Any], plain: Mapping[str, Any], changes: Mapping[str, Any] | None, where: str) -> Any:
    """``config_from_plain`` with some fields altered.

    Raises:
        InputError: a field that the schema lacks, or a value of another kind.
    """
    unknown = sorted(set(changes or {}) - set(schema.__dataclass_fields__))
    if unknown:
        raise InputError(f"{where} has no setting '{unknown[0]}'; it has {', '.join(schema.__dataclass_fields__)}")
    return config_from_plain(schema, {**plain, **(changes or {})}, where)


def bundled(method: str, image_size: int | None, folder: Path | None = None) -> Path:
    """Weights of a method that ship with the package; the largest where no size is asked for.

    Raises:
        InputError: there are none of that size.
    """
    folder = folder or Path(str(files("reenact_zoo").joinpath("bundled", "weights")))
    sizes = {
        int(size): path
        for path in folder.glob(f"{method}_*.safetensors")
        if (size := path.stem.removeprefix(f"{method}_")).isdigit()
    }
    if not sizes:
        raise InputError(f"method '{method}' has to be trained: give its weights with --checkpoint")
    wanted = max(sizes) if image_size is None else image_size
    if wanted not in sizes:
        known = ", ".join(str(size) for size in sorted(sizes))
        raise InputError(
            f"method '{method}' comes with weights for {known} px; give others for {wanted} px with --checkpoint"
        )
    return sizes[wanted]


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Fields in which two plain configurations differ, in words; empty where they agree."""
    keys = sorted({*stored, *wanted})
    changed = [key for key in keys if stored.get(key) != wanted.get(key)]
    return ", ".join(f"{key} is {stored.get(key)!r} there and {wanted.get(key)!r} here" for key in changed)


def read(path: Path, map_location: str | torch.device = "cpu") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the file says about itself, and its tensors as ``state_dict`` entries (averaged weights where it has them).

    Raises:
        InputError: no such file, damaged, of an unsafe kind, or not made by this project.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint file '{path}'")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, map_location)
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"'{path}' is not a readable checkpoint of plain tensors (damaged or unsafe)") from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint or "state_dict" not in checkpoint:
        raise InputError(f"'{path}' is not a checkpoint of reenact-zoo")
    about = checkpoint[KEY]
    return about, {**checkpoint["state_dict"], **about.get("averages", {})}


def _read_safetensors(path: Path, map_location: str | torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device=str(map_location)) as file:
            about = json.loads((file.metadata() or {}).get(KEY, "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise InputError(f"'{path}' is not a readable safetensors file") from error
    if not isinstance(about, dict):
        raise InputError(f"'{path}' holds tensors but no reenact-zoo header; it was not written by save_weights")
    return about, state


def write_safetensors(path: Path, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Tensors and the header as JSON in one file; appears under its name only when complete.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    content = save(tensors, metadata={KEY: json.dumps(dict(about), sort_keys=True)})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)  # save_file would make it readable for its owner only
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"cannot write the weights '{path}': {error.strerror}") from error


def load_state(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """``load_state_dict`` that says in one line what does not fit.

    Raises:
        InputError: missing, unknown, or differently shaped entries.
    """
    own = module.state_dict()
    shapes = [
        f"{name} is {tuple(state[name].shape)} there and {tuple(own[name].shape)} here"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if shapes or missing or unknown:
        first = shapes[0] if shapes else f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        count = len(shapes) + len(missing) + len(unknown)
        raise InputError(f"{where} does not fit {type(module).__name__}: {first} ({count} entries differ)")
    module.load_state_dict(dict(state))


def fingerprint(module: nn.Module) -> str:
    """sha256 over names, shapes and bytes of all tensors of a network."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Averages:
    """Exponential moving average of named networks: parameters, and the statistics of batch norm that belong to them.

    Other buffers stay those of training.

    The first updates use the smaller decay (1 + n) / (10 + n), so that the random start is soon forgotten.
    """

    def __init__(self, module: nn.Module, networks: tuple[str, ...], decay: float) -> None:
        self.decay = decay
        self._live: dict[str, Tensor] = {}
        for network in networks:
            part = module.get_submodule(network)
            statistics = [(name, b) for name, b in part.named_buffers() if name.split(".")[-1] in STATISTICS]
            self._live |= {f"{network}.{name}": tensor for name, tensor in [*part.named_parameters(), *statistics]}
        self.values = {name: p.detach().clone() for name, p in self._live.items()}
        self.swapped = False  # True: the networks hold the averages and ``values`` the trained weights

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Move towards the present weights after update number ``num_updates`` (from 1)."""
        weight = 1 - min(self.decay, (1 + num_updates) / (10 + num_updates))
        for name, parameter in self._live.items():
            self.values[name] = self.values[name].to(parameter.device).lerp_(parameter.detach(), weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange trained weights and averages, in place: optimisers keep their parameters."""
        for name, parameter in self._live.items():
            held = parameter.detach().clone()
            parameter.copy_(self.values[name])
            self.values[name] = held
        self.swapped = not self.swapped

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take over stored averages; names must be those of this method."""
        for name, parameter in self._live.items():
            self.values[name] = values[name].to(parameter.device, copy=True)
