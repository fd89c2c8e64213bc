"""All parts a dense head can wear, made from its arrays at rest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from reenact_zoo.faces.morphable._beard import beard
from reenact_zoo.faces.morphable._clothes import clothes
from reenact_zoo.faces.morphable._glasses import glasses
from reenact_zoo.faces.morphable._hair import hair
from reenact_zoo.faces.morphable._skull import skull
from reenact_zoo.faces.morphable._wardrobe import Part
from reenact_zoo.faces.morphable.base import Region

if TYPE_CHECKING:
    from reenact_zoo.faces.morphable._dense import HeadArrays

Cell = tuple[float, float, float, float]
CELLS: dict[str, dict[str, Cell]] = {  # left, top, width, height on the atlas: places no chart of the body uses
    "ict": {
        "hair": (0.752, 0.462, 0.246, 0.276),
        "clothes": (0.667, 0.755, 0.075, 0.16),
        "glasses": (0.667, 0.93, 0.075, 0.06),
    },
    "procedural": {
        "hair": (0.63, 0.76, 0.115, 0.235),
        "clothes": (0.75, 0.76, 0.045, 0.17),
        "glasses": (0.75, 0.94, 0.045, 0.05),
    },
}
_NOT_SKIN = (Region.EYE_LEFT, Region.EYE_RIGHT, Region.MOUTH_INTERIOR, Region.TEETH)
_EARS = (Region.EAR_LEFT, Region.EAR_RIGHT)


_made: dict[str, tuple[list[Part], np.ndarray]] = {}  # a process may load one head many times, and making takes 2 s


def outfit(arrays: HeadArrays, cells: dict[str, Cell]) -> tuple[list[Part], np.ndarray]:
    """The parts in order, and the point inside the skull where parts that are not worn hide."""
    digest = hashlib.sha256(repr(sorted(cells.items())).encode())
    for array in (arrays.template, arrays.triangles, arrays.regions):
        digest.update(np.ascontiguousarray(array).tobytes())
    key = digest.hexdigest()
    if key not in _made:
        _made[key] = _make(arrays, cells)
    return _made[key]


def _make(arrays: HeadArrays, cells: dict[str, Cell]) -> tuple[list[Part], np.ndarray]:
    body, triangles, regions = arrays.template, arrays.triangles, arrays.regions
    landmarks = body[arrays.landmark_vertices]
    bare = triangles[~np.isin(regions, (*_NOT_SKIN, *_EARS, Region.CLOTHES))]
    shape = skull(body, bare, landmarks)
    usable = np.unique(bare)
    torso = np.unique(triangles[np.isin(regions, (Region.NECK, Region.CLOTHES))])
    parts = [
        hair(shape, body, usable, landmarks, cells["hair"]),
        beard(body, triangles, regions, landmarks, arrays.bone_weights, cells["hair"]),
        glasses(landmarks, arrays.landmark_vertices, arrays.eye_centres, cells["glasses"]),
        clothes(body, torso, landmarks, cells["clothes"]),
    ]
    return parts, shape.centre
