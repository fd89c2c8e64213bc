"""A poorer form of a dense head, for the proxies of methods that render their coefficients.

A method that drew its proxies with the very head, texture and hair that made the data would be handed the answer. The
reduced head keeps the 40 strongest directions of shape, 25 of the 53 expressions and a linear albedo basis at 128x128
texels; it has no hair and no teeth.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.faces.morphable._dense import DenseHead, HeadArrays, RestHead
from reenact_zoo.faces.morphable._paint import TEXTURE_NAMES
from reenact_zoo.faces.morphable.base import CoefficientLayout, Region

SHAPE, TEXTURE, ALBEDO_SIZE = 40, 16, 128
EYES = tuple(f"eye{way}_{side}" for way in ("Blink", "LookIn", "LookOut", "LookUp", "LookDown") for side in "LR")
FACE = (
    *("browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "browDown_L", "browDown_R", "jawOpen"),
    *("mouthSmile_L", "mouthSmile_R", "mouthFrown_L", "mouthFrown_R", "mouthUpperUp_L", "mouthUpperUp_R"),
    *("mouthFunnel", "mouthPucker"),
)
EXPRESSIONS = EYES + FACE
_PEOPLE = 256  # random people whose albedos span the basis
_UNPAINTED = ("scalp", "beard")
_BASES: dict[tuple[str, CoefficientLayout, RestHead], tuple[Tensor, Tensor]] = {}
"""Per full head; a basis is read only, takes ten seconds to make and 3 MB."""


class ReducedHead(DenseHead):
    """``head`` with fewer coefficients, the same pose, camera and light.

    Texture coefficients are N(0, 1) over random people and belong to a basis of albedos instead of named pigments.
    """

    dressed = False

    def __init__(self, head: DenseHead) -> None:
        self.blink_closes = head.blink_closes
        self.name = f"{head.name}_reduced"
        left, strength, directions = np.linalg.svd(_flat(head.arrays.shape_directions), full_matrices=False)
        kept = [head.expression_names.index(name) for name in EXPRESSIONS]
        super().__init__(_thinned(head.arrays, (strength[:, None] * directions)[:SHAPE], kept))
        self.texture_names = tuple(f"albedo_{i:02d}" for i in range(TEXTURE))
        self.layout = dataclasses.replace(self.layout, texture=TEXTURE)
        self._full = head
        self._shape_map = torch.from_numpy(np.ascontiguousarray(left[:, :SHAPE], dtype=np.float32))
        self._expression_map = _least_squares(head.arrays.expression_directions, kept)
        key = (head.name, head.layout, head.arrays.rest)
        if key not in _BASES:
            _BASES[key] = self._albedo_basis()
        self._mean, self._basis = _BASES[key]

    def _albedo_basis(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and directions (TEXTURE, D) per standard deviation of bald, shaven people's albedos."""
        people = self._full.sample(torch.Generator().manual_seed(0), _PEOPLE)
        albedos = self._paint(self._full.layout.split(people)["texture"])
        mean = albedos.mean(dim=0)
        _, strength, directions = torch.linalg.svd(albedos - mean, full_matrices=False)
        return mean, (strength[:, None] * directions)[:TEXTURE] / _PEOPLE**0.5

    def _paint(self, texture: Tensor) -> Tensor:
        """(B, T) of the full head → (B, 3 * ALBEDO_SIZE²), without scalp hair and beard."""
        painter = self._full._painter(ALBEDO_SIZE).to(texture.device)
        painter.masks = {name: mask * (name not in _UNPAINTED) for name, mask in painter.masks.items()}
        return painter(texture[:, : len(TEXTURE_NAMES)]).flatten(1)

    def albedo(self, texture: Tensor, size: int = ALBEDO_SIZE) -> Tensor:
        """(B, TEXTURE) → (B, 3, size, size) in [0, 1]; detail ends at 128 texels."""
        image = (self._mean + texture @ self._basis).unflatten(1, (3, ALBEDO_SIZE, ALBEDO_SIZE)).clamp(0, 1)
        return F.interpolate(image, (size, size), mode="bilinear", align_corners=False)

    def relief(self, texture: Tensor, size: int = ALBEDO_SIZE) -> Tensor:
        """Flat: pores and lines belong to the full head."""
        return texture.new_zeros(len(texture), 1, size, size)

    def from_full(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, K) of the full head → the nearest ones of this head, in the least-squares sense."""
        parts = self._full.layout.split(coefficients)
        painted = self._paint(parts["texture"]) - self._mean
        return self.layout.join(
            shape=parts["shape"][..., : len(self._shape_map)] @ self._shape_map,
            texture=painted @ self._basis.T / self._basis.square().sum(dim=1),
            expression=parts["expression"] @ self._expression_map,
            pose=parts["pose"],
            camera=parts["camera"],
            light=parts["light"],
        )

    def to(self, device: torch.device | str) -> ReducedHead:
        """A copy whose tensors are on ``device``."""
        other = super().to(device)
        assert isinstance(other, ReducedHead)
        other._full = self._full.to(device)
        return other


def _flat(directions: np.ndarray) -> np.ndarray:
    return directions.reshape(len(directions), -1).astype(np.float64)


def _thinned(arrays: HeadArrays, shape: np.ndarray, kept: list[int]) -> HeadArrays:
    visible = arrays.regions != Region.TEETH
    regions = np.where(arrays.regions == Region.HAIR, Region.SKIN, arrays.regions)
    return dataclasses.replace(
        arrays,
        triangles=arrays.triangles[visible],
        uv_triangles=arrays.uv_triangles[visible],
        regions=regions[visible],
        shape_directions=shape.reshape(len(shape), -1, 3).astype(np.float32),
        expression_directions=arrays.expression_directions[kept],
        expression_names=arrays.expression_names[kept],
    )


def _least_squares(directions: np.ndarray, kept: list[int]) -> Tensor:
    """(E, kept): kept directions map to themselves, the others to the nearest mixture of those of brows, mouth and jaw.

    The eyes take no part in the mixtures: gaze turns eyeballs by an angle, and a direction that hardly moves a vertex
    would get a huge weight.
    """
    rows, face = _flat(directions), kept[len(EYES) :]
    solution = np.zeros((len(rows), len(kept)))
    solution[:, len(EYES) :] = np.linalg.lstsq(rows[face].T, rows.T, rcond=None)[0].T
    solution[kept] = np.eye(len(kept))
    return torch.from_numpy(solution.astype(np.float32))
