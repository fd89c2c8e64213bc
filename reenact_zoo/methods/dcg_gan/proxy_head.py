"""The head that draws proxies where nothing was downloaded: ICT-FaceKit's reduced head with a coarser mesh, bundled.

Its coefficients are those of ``load_head("ict_reduced")``, which E_3D of the synthetic people estimates. The mesh has
a third of that head's vertices, every one an original vertex with its original directions, because a proxy of 64
pixels shows no more. It has no hair, no garments and no teeth, so that a method which is judged on synthetic people is
not handed the answer. ICT-FaceKit: Li et al., CVPR 2020, arXiv:2004.03458, MIT licence (beside the file).

Made again from the weight entry ict_facekit by ``python -m reenact_zoo.methods.dcg_gan.proxy_head FILE``.
"""

from __future__ import annotations

import dataclasses
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.morphable import Region, load_head
from reenact_zoo.faces.morphable._dense import DenseHead, HeadArrays
from reenact_zoo.faces.morphable.ict import IctHead, simplified
from reenact_zoo.faces.morphable.reduced import ALBEDO_SIZE, EXPRESSIONS, TEXTURE, ReducedHead
from reenact_zoo.weights.store import WeightStore

VERTICES = 2600
STEPS = 127  # of an albedo direction's largest value, kept as 8 bits


class ProxyHead(DenseHead):
    """Head "ict_reduced" with a coarser mesh.

    Args:
        path: a file of ``make``; the bundled one where omitted.
    """

    name = "ict_reduced"
    dressed = False
    blink_closes = IctHead.blink_closes
    texture_names = tuple(f"albedo_{i:02d}" for i in range(TEXTURE))

    def __init__(self, path: Path | None = None) -> None:
        stored = _read(path)
        super().__init__(HeadArrays.fromdict(stored))
        self._mean = torch.from_numpy(stored["albedo_mean"].astype(np.float32))
        basis = stored["albedo_basis"].astype(np.float32) * stored["albedo_scale"].astype(np.float32)[:, None]
        self._basis = torch.from_numpy(basis)

    def albedo(self, texture: Tensor, size: int = ALBEDO_SIZE) -> Tensor:
        """(B, 16) → (B, 3, size, size) in [0, 1]; detail ends at 128 texels."""
        image = (self._mean + texture @ self._basis).unflatten(1, (3, ALBEDO_SIZE, ALBEDO_SIZE)).clamp(0, 1)
        return image if size == ALBEDO_SIZE else F.interpolate(image, (size, size), mode="bilinear")

    def relief(self, texture: Tensor, size: int = ALBEDO_SIZE) -> Tensor:
        """Flat."""
        return texture.new_zeros(len(texture), 1, size, size)

    def surface(self, texture: Tensor, size: int = ALBEDO_SIZE) -> Tensor:
        """The albedo alone: there is no relief to draw."""
        return self.albedo(texture, size)


def _read(path: Path | None) -> dict[str, Any]:
    """Arrays with the types that ``HeadArrays`` states."""
    place = files("reenact_zoo").joinpath("bundled", "proxy_head", "proxy_head.npz")
    with as_file(place) as bundled, np.load(path or bundled, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    wide = {np.dtype(np.float32): np.float64, np.dtype(np.int32): np.int64}
    directions = ("shape_directions", "expression_directions")
    return {
        name: value.astype(np.float32) if name in directions else value.astype(wide.get(value.dtype, value.dtype))
        for name, value in stored.items()
    }


def make(path: Path, vertices: int = VERTICES, store: WeightStore | None = None) -> Path:
    """Write the file of ``ProxyHead`` from ICT-FaceKit; takes half a minute.

    Raises:
        WeightsMissing: the entry ict_facekit is not at hand.
    """
    source = (store or WeightStore()).path("ict_facekit")
    reduced = load_head("ict_reduced", path=source)
    assert isinstance(reduced, ReducedHead)
    arrays = _of_reduced_layout(simplified(source, vertices), reduced._shape_map.numpy())
    stored: dict[str, Any] = {name: _narrow(name, value) for name, value in arrays.asdict().items()}
    stored["albedo_mean"] = reduced._mean.numpy().astype(np.float16)
    stored["albedo_basis"], stored["albedo_scale"] = _in_8_bits(reduced._basis.numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **stored)
    return path


def _of_reduced_layout(arrays: HeadArrays, shape_map: NDArray[np.float32]) -> HeadArrays:
    """The full head's arrays with the directions of the reduced head, whose shape = Uᵀ · full shape."""
    names = [str(name) for name in arrays.expression_names]
    kept = [names.index(name) for name in EXPRESSIONS]
    shown = arrays.regions != Region.TEETH
    regions = np.where(arrays.regions == Region.HAIR, Region.SKIN, arrays.regions)
    return dataclasses.replace(
        arrays,
        triangles=arrays.triangles[shown],
        uv_triangles=arrays.uv_triangles[shown],
        regions=regions[shown],
        shape_directions=np.einsum("sk,svc->kvc", shape_map, arrays.shape_directions),
        expression_directions=arrays.expression_directions[kept],
        expression_names=arrays.expression_names[kept],
    )


def _narrow(name: str, value: NDArray[Any]) -> NDArray[Any]:
    """As few bytes as drawing 256 pixels needs: lengths are centimetres, directions fractions of one."""
    if name in ("shape_directions", "expression_directions"):
        return value.astype(np.float16)
    if value.dtype.kind == "f":
        return value.astype(np.float32)
    return value.astype(np.int32) if value.dtype.kind == "i" else value


def _in_8_bits(directions: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scale = np.abs(directions).max(axis=1) / STEPS
    return np.round(directions / scale[:, None]).astype(np.int8), scale.astype(np.float32)


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
