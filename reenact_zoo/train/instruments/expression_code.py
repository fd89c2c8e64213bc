"""The expression code: facial actions → 20 numbers whose distance is the movement of the face in % of its width.

With D the (53, V * 3) directions of the actions over the V vertices of the face, in % of the face's width, the mean
squared displacement between expressions a and b is (a - b)ᵀ G (a - b), G = D Dᵀ / V. From G = Q Λ Qᵀ follows the code
z = Λ^½ Qᵀ a: |z_a - z_b| is the root mean square displacement. The leading rows are kept.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.morphable.base import Region

_FACE = (Region.SKIN, Region.LIPS_UPPER, Region.LIPS_LOWER, Region.BROW_LEFT, Region.BROW_RIGHT, Region.NOSE)


def face_width_cm(head: DenseHead) -> float:
    """Distance of the ends of the jaw line, iBUG points 0 and 16, of the mean head."""
    points = head.template[head.arrays.landmark_vertices]
    return float((points[16] - points[0]).norm())


def face_vertices(head: DenseHead) -> NDArray[np.int64]:
    """Vertices from chin to forehead, in front of the ends of the jaw line; no hair, ears, eyeballs or mouth cavity."""
    a = head.arrays
    points = a.template[a.landmark_vertices]
    skin = np.unique(a.triangles[np.isin(a.regions, _FACE)])
    x, y, z = a.template[skin].T
    brow, chin = points[17:27, 1].mean(), points[8, 1]
    inside = (y > chin - 0.5) & (y < brow + 0.35 * (brow - chin)) & (z > points[[0, 16], 2].mean())
    return skin[inside & (np.abs(x) <= np.abs(points[[0, 16], 0]).mean())]


def displacement_gram(directions: NDArray[np.float32], vertices: NDArray[np.int64], width_cm: float) -> Tensor:
    """(E, V, 3) cm → (E, E) float64: aᵀ G a is the mean squared displacement in (% of the width)²."""
    rows = directions[:, vertices].reshape(len(directions), -1).astype(np.float64) * (100 / width_cm)
    return torch.from_numpy(rows @ rows.T / len(vertices))


def leading_root(gram: Tensor, count: int) -> Tensor:
    """(E, E) → (count, E) float32 with WᵀW nearest to the Gram matrix; signs fixed by the largest entry of a row."""
    values, vectors = torch.linalg.eigh(gram)
    rows = (vectors * values.clamp(min=0).sqrt()).T.flip(0)[:count]
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return (rows * largest.sign()).float()


def expression_basis(head: DenseHead, count: int) -> Tensor:
    """W (count, 53) of ``head``, columns in the order of its ``expression_names``; z = W a."""
    gram = displacement_gram(head.arrays.expression_directions, face_vertices(head), face_width_cm(head))
    return leading_root(gram, count)
