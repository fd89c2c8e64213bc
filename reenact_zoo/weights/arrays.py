"""Pickles that hold nothing but arrays and plain containers, read by an unpickler that admits nothing else."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from reenact_zoo.types import InputError


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """What protocol-2 pickles call to store bytes; the real ``_codecs.encode`` would take any codec."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"codec '{encoding}' is not admitted")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Admits the names that NumPy arrays and plain containers need; any other global is refused before it is imported.

    ``admitted`` maps (module, name) as written in the file to (module, name) of today's NumPy: files written under
    NumPy 1 say ``numpy.core``. A subclass may admit more, each name one by one.
    """

    admitted: ClassVar[Mapping[tuple[str, str], tuple[str, str]]] = {
        ("numpy", "ndarray"): ("numpy", "ndarray"),
        ("numpy", "dtype"): ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"): ("numpy._core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"): ("numpy._core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"): ("numpy._core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"): ("numpy._core.numeric", "_frombuffer"),
        ("collections", "OrderedDict"): ("collections", "OrderedDict"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Only admitted names; ``UnpicklingError`` names what the file wanted to call."""
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        target = self.admitted.get((module, name))
        if target is None:
            raise pickle.UnpicklingError(f"it wants to run {module}.{name}")
        return super().find_class(*target)


def load_arrays(path: Path, unpickler: type[ArrayUnpickler] = ArrayUnpickler) -> dict[str, Any]:
    """Dictionary stored in a pickle of arrays.

    Raises:
        InputError: the file is no pickle, holds no dictionary, or wants to call anything but array constructors.
    """
    with path.open("rb") as file:
        content = _unpickle(file, path, unpickler)
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds a {type(content).__name__}, not named arrays")
    return content


def _unpickle(file: BinaryIO, path: Path, unpickler: type[ArrayUnpickler]) -> Any:
    try:
        return unpickler(file, encoding="latin1").load()
    except Exception as error:  # a crafted file may raise anything at all while it is parsed
        raise InputError(f"refused to load {path.name}: {error}; get the file from its original source") from error
