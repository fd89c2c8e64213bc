"""Reads FLAME's files as the user obtained them: pickles of chumpy and Python 2, without running what they hold."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.types import InputError
from reenact_zoo.weights.arrays import ArrayUnpickler, load_arrays

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class _Stored:
    """Stands in for a class of the file: keeps its state as data and never runs its code."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Stored:
        del args, kwargs
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Chumpy(_Stored):
    """chumpy.ch.Ch: its value is the array "x"."""


class _Sparse(_Stored):
    """scipy.sparse.csc_matrix: data, indices, indptr, shape."""


class _Inert:
    """What ``_reconstructor`` is told to be the base: only ever ``object``."""


def _reconstruct(cls: Any, base: Any, state: Any) -> _Stored:
    """copyreg._reconstructor for the stand-ins alone."""
    if cls not in (_Chumpy, _Sparse) or base is not _Inert or state is not None:
        raise InputError("the file rebuilds an object of an unexpected class")
    return cls.__new__(cls)


class FlameUnpickler(ArrayUnpickler):
    """Arrays, and the two classes FLAME's pickles wrap them in, which arrive as stand-ins."""

    _stand_ins: ClassVar[Mapping[tuple[str, str], Any]] = {
        ("chumpy.ch", "Ch"): _Chumpy,
        ("chumpy", "Ch"): _Chumpy,
        ("scipy.sparse.csc", "csc_matrix"): _Sparse,
        ("scipy.sparse._csc", "csc_matrix"): _Sparse,
        ("copy_reg", "_reconstructor"): _reconstruct,
        ("copyreg", "_reconstructor"): _reconstruct,
        ("__builtin__", "object"): _Inert,
        ("builtins", "object"): _Inert,
        ("__builtin__", "set"): set,
        ("builtins", "set"): set,
    }

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in, or what ``ArrayUnpickler`` admits."""
        found = self._stand_ins.get((module, name))
        return found if found is not None else super().find_class(module, name)


def as_array(value: Any, name: str) -> NDArray[Any]:
    """Plain array of a stored value; sparse matrices become dense."""
    if isinstance(value, _Chumpy):
        value = value.state.get("x")
    if isinstance(value, _Sparse):
        return _dense(value.state, name)
    array = np.asarray(value)
    if array.dtype == object or value is None:
        raise InputError(f"FLAME's '{name}' is not an array; get the file from its original source")
    return array


def _dense(state: Mapping[str, Any], name: str) -> Array:
    shape = state.get("_shape", state.get("shape"))
    if shape is None or not {"data", "indices", "indptr"} <= state.keys():
        raise InputError(f"FLAME's '{name}' is not a sparse matrix in column form")
    result = np.zeros(tuple(int(n) for n in shape))
    for column, (start, stop) in enumerate(zip(state["indptr"][:-1], state["indptr"][1:])):
        result[state["indices"][start:stop], column] += state["data"][start:stop]
    return result


@dataclass(frozen=True)
class FlameArrays:
    """FLAME's own numbers, metres; V vertices, F triangles, J joints."""

    template: Array  # (V, 3)
    triangles: Ints  # (F, 3)
    shape_directions: Array  # (V, 3, 400): 300 identity, then 100 expression
    pose_directions: Array  # (V, 3, 9 (J - 1))
    joint_regressor: Array  # (J, V)
    weights: Array  # (V, J)
    parents: Ints  # (J,), -1 for the root


def read_flame(path: Path) -> FlameArrays:
    """generic_model.pkl, flame2023.pkl and their kin."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; FLAME is licensed, get it at flame.is.tue.mpg.de")
    data = load_arrays(path, FlameUnpickler)
    wanted = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
    missing = [name for name in wanted if name not in data]
    if missing:
        raise InputError(f"{path.name} is no FLAME model: it lacks {', '.join(missing)}")
    arrays = {name: as_array(data[name], name) for name in wanted}
    parents = arrays["kintree_table"][0].astype(np.int64)
    parents[0] = -1  # stored as 2³² - 1
    return FlameArrays(
        template=arrays["v_template"].astype(np.float64),
        triangles=arrays["f"].astype(np.int64),
        shape_directions=arrays["shapedirs"].astype(np.float64),
        pose_directions=arrays["posedirs"].astype(np.float64),
        joint_regressor=arrays["J_regressor"].astype(np.float64),
        weights=arrays["weights"].astype(np.float64),
        parents=parents,
    )


@dataclass(frozen=True)
class LandmarkEmbedding:
    """Points on triangles: 51 fixed inner ones, and 79 tables of 17 contour points by head angle."""

    static_faces: Ints  # (51,)
    static_weights: Array  # (51, 3)
    dynamic_faces: Ints  # (79, 17)
    dynamic_weights: Array  # (79, 17, 3)


def read_embedding(path: Path) -> LandmarkEmbedding:
    """landmark_embedding.npy as DECA ships it (all in one), or a pickle or .npy with the same names."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; the flame head needs landmark_embedding.npy")
    data = _npy_dictionary(path) if path.suffix == ".npy" else load_arrays(path)
    names = ("static_lmk_faces_idx", "static_lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
    missing = [name for name in names if name not in data]
    if missing:
        raise InputError(f"{path.name} is no landmark embedding: it lacks {', '.join(missing)}")
    static_faces, static_weights, dynamic_faces, dynamic_weights = (as_array(data[name], name) for name in names)
    return LandmarkEmbedding(
        static_faces.astype(np.int64).reshape(51),
        static_weights.astype(np.float64).reshape(51, 3),
        dynamic_faces.astype(np.int64).reshape(79, 17),
        dynamic_weights.astype(np.float64).reshape(79, 17, 3),
    )


def _npy_dictionary(path: Path) -> dict[str, Any]:
    """The dictionary in an .npy of one pickled object, without ``allow_pickle``."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            header(file)
            content = ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a crafted file may raise anything at all while it is parsed
        raise InputError(f"refused to load {path.name}: {error}; get the file from its original source") from error
    while isinstance(content, (np.ndarray, list)):
        content = content.item() if isinstance(content, np.ndarray) else content[0]
    if not isinstance(content, dict):
        raise InputError(f"{path.name} holds no named arrays")
    return content


@dataclass(frozen=True)
class FlameTexture:
    """FLAME_texture.npz: linear texture space with its atlas."""

    mean: NDArray[np.float32]  # (S, S, 3) RGB in [0, 1]
    directions: NDArray[np.float32]  # (n, S, S, 3) per coefficient
    uv: Array  # (U, 2), v down
    uv_triangles: Ints  # (F, 3)


def read_texture(path: Path, count: int) -> FlameTexture:
    """The first ``count`` texture directions; the file stores BGR in 0 … 255 and v upwards."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; FLAME_texture.npz is licensed, get it at flame.is.tue.mpg.de")
    try:
        with np.load(path, allow_pickle=False) as data:
            mean, directions = data["mean"], data["tex_dir"]
            uv, uv_triangles = data["vt"].astype(np.float64), data["ft"].astype(np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} is no FLAME texture space: {error}") from error
    directions = directions.reshape(*mean.shape, -1)[..., :count]
    return FlameTexture(
        (mean[..., ::-1] / 255).astype(np.float32),
        np.ascontiguousarray(np.moveaxis(directions[..., ::-1, :], -1, 0) / 255).astype(np.float32),
        uv * (1, -1) + (0, 1),
        uv_triangles,
    )
