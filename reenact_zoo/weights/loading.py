"""Weight files read without running code from them, and put into a network that they fit exactly."""

from __future__ import annotations

import functools
import pickle
import re
import types
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from torch import Tensor, nn

from reenact_zoo.types import InputError
from reenact_zoo.weights.arrays import ArrayUnpickler, load_arrays

REBUILT_LATER = ".num_batches_tracked"  # files written before PyTorch 0.4.1 do not have it; it is not used in eval mode


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by key; a "state_dict" level and the prefix "module." are removed.

    Raises:
        InputError: the file wants to run code, or holds no tensors.
    """
    from reenact_zoo.weights.convert import plain_tensors

    return plain_tensors(read_checkpoint(path), path.name)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a weight file, as nested as it was stored: tensors, numbers, strings, containers.

    Tries safetensors, then ``torch.load(weights_only=True)``, then unpicklers that admit tensors and arrays only.

    Raises:
        InputError: the file wants to run code, is none of these formats, or holds no dictionary.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError:
        pass  # another format
    content = _torch_content(path)
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds a {type(content).__name__}, not a state dict")
    return content


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Put every tensor into its place in ``module``; ``what`` names the weights in errors.

    Raises:
        InputError: a key is missing, has another shape, or has no place; the first such key is named. Only
            ``num_batches_tracked``, which old files lack, keeps the module's own value.
    """
    own = module.state_dict()
    filled = {key: value for key, value in own.items() if key.endswith(REBUILT_LATER)} | dict(tensors)
    if difference := first_difference({key: tuple(value.shape) for key, value in own.items()}, filled):
        raise InputError(f"weights '{what}' do not fit {type(module).__name__}: {difference}")
    module.load_state_dict(filled)


def first_difference(
    expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], exhaustive: bool = True
) -> str:
    """What differs first between named shapes and named tensors, in words; "" where they agree.

    ``exhaustive``: tensors beyond the expected ones differ, too.
    """
    for key, shape in expected.items():
        if key not in tensors:
            return f"'{key}' {shape} is missing in the file"
        if tuple(tensors[key].shape) != tuple(shape):
            return f"'{key}' should have shape {tuple(shape)}, the file has {tuple(tensors[key].shape)}"
    extra = next((key for key in tensors if key not in expected), None) if exhaustive else None
    return "" if extra is None else f"the file has '{extra}' {tuple(tensors[extra].shape)}, which has no place there"


# --- PyTorch's own formats ------------------------------------------------------------------------------------------


class TensorUnpickler(ArrayUnpickler):
    """Admits, beside arrays, the names that PyTorch writes for tensors, and the argument lists some authors store.

    A pickle may also set attributes of whatever it is given. So it gets no class or function that would keep them:
    built-in types, which refuse, and others in a wrapper of their own. (PyTorch's reader of old files would write
    to disk for a class that says so.)
    """

    admitted: ClassVar[Mapping[tuple[str, str], tuple[str, str]]] = {
        **ArrayUnpickler.admitted,
        ("torch._utils", "_rebuild_tensor_v2"): ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"): ("torch._utils", "_rebuild_parameter"),
        ("torch", "Size"): ("torch", "Size"),
        ("argparse", "Namespace"): ("types", "SimpleNamespace"),
        # argument lists of trainings name folders; a pure path touches no disk
        ("pathlib", "PosixPath"): ("pathlib", "PurePosixPath"),
        ("pathlib._local", "PosixPath"): ("pathlib", "PurePosixPath"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Only admitted names; ``UnpicklingError`` names what the file wanted to call."""
        found = super().find_class(module, name)
        keeps = isinstance(found, types.FunctionType) or found is PurePosixPath
        return functools.partial(found) if keeps else found


def _torch_content(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pickle of arrays is announced as an unusual protocol, then refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError):
        pass  # a pickle protocol, a NumPy number or an argument list that weights_only does not know
    if _is_program(path):
        raise InputError(f"{path.name} holds a TorchScript program, not tensors; it is not run")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # weights_only=False hands over to the unpickler given here, which admits less than PyTorch's own
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_restricted())
    except Exception as error:  # a crafted file may raise anything at all while it is parsed
        if wanted := re.search(r"it wants to run \S+", str(error)):
            raise InputError(
                f"refused to load {path.name}: {wanted[0]}; get the file from its original source"
            ) from error
    arrays = load_arrays(path)
    return {key: torch.from_numpy(value.copy()) for key, value in arrays.items() if _is_numeric(value)}


def _is_program(path: Path) -> bool:
    """Whether PyTorch's reader, which ``torch.load`` asks too, would take the file for TorchScript and run it."""
    import torch

    try:
        return "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records()
    except RuntimeError:
        return False  # no zip archive


def _restricted() -> Any:
    """What ``torch.load`` takes for the pickle module: its only unpickler is ``TensorUnpickler``."""
    module = types.ModuleType("restricted_pickle")
    module.Unpickler = TensorUnpickler  # type: ignore[attr-defined]
    module.load = lambda file, **options: TensorUnpickler(file, **options).load()  # type: ignore[attr-defined]
    return module


def _is_numeric(value: Any) -> bool:
    return hasattr(value, "dtype") and value.dtype.kind in "fiub"
