"""From ICT-FaceKit's files to the arrays of the ``ict`` head: choose layers, thin out, lay out one atlas, label."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.morphable._dense import HeadArrays
from reenact_zoo.faces.morphable._landmarks import contour_candidates
from reenact_zoo.faces.morphable._masks import collar_height
from reenact_zoo.faces.morphable._regions import bone_weights, label_skin
from reenact_zoo.faces.morphable._simplify import simplify
from reenact_zoo.faces.morphable.base import Region
from reenact_zoo.types import InputError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION = 4  # part of the cache file's name: raise it whenever the arrays change
PIVOTS = np.array([(0.0, -10.5, -3.5), (0.0, -1.0, -0.5)])
EYES_DEG = 112.0  # the eyeballs behind this angle are never seen
LAYERS = ("M_Face", "M_BackHead", "M_GumsTongue", "M_Teeth", "M_ScleraLeft", "M_ScleraRight")
"""What is drawn. The outer eyeballs carry cornea and iris; the inner ones (M_Iris*) would never be seen."""
CELLS = {  # left, top, width, height of each layer on the atlas
    "M_Face": (0.0, 0.0, 0.74, 0.74),
    "M_BackHead": (0.75, 0.0, 0.25, 0.45),
    "M_GumsTongue": (0.0, 0.75, 0.25, 0.25),
    "M_Teeth": (0.26, 0.75, 0.40, 0.25),
    "M_ScleraLeft": (0.75, 0.75, 0.25, 0.25),  # both eyes share one cell
    "M_ScleraRight": (0.75, 0.75, 0.25, 0.25),
}
FOLDS = (
    "jawOpen",
    "mouthSmile_L",
    "mouthSmile_R",
    "mouthPucker",
    "eyeBlink_L",
    "eyeBlink_R",
    "browDown_L",
    "browDown_R",
)
"""Expressions whose folds count in the simplification."""


@dataclass(frozen=True)
class Source:
    """ICT-FaceKit as published: triangulated, differences from the neutral mesh, cm."""

    template: Array  # (V, 3)
    triangles: Ints  # (F, 3)
    uv: Array  # (U, 2), one unit square per material, v up
    uv_triangles: Ints
    material: Ints  # (F,)
    materials: tuple[str, ...]
    shape: NDArray[np.float32]  # (S, V, 3)
    expression: NDArray[np.float32]  # (E, V, 3)
    expression_names: tuple[str, ...]
    landmarks: Ints  # (68,)


def read_source(path: Path) -> Source:
    """``ict_facekit.npz`` or a folder with ICT-FaceKit's OBJ files."""
    if path.is_dir():
        return _read_folder(path)
    try:
        with np.load(path, allow_pickle=False) as d:
            return Source(
                template=d["v_template"].astype(np.float64),
                triangles=d["f"].astype(np.int64),
                uv=d["vt"].astype(np.float64) % 1.0,
                uv_triangles=d["ft"].astype(np.int64),
                material=d["face_material"].astype(np.int64),
                materials=tuple(str(m) for m in d["materials"]),
                shape=d["identity_dirs"].astype(np.float32),
                expression=d["expression_dirs"].astype(np.float32),
                expression_names=tuple(str(n) for n in d["expression_names"]),
                landmarks=d["landmarks68"].astype(np.int64),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a converted ICT-FaceKit ({error})") from error


@dataclass
class _Obj:
    vertices: Array
    uv: Array
    triangles: Ints
    uv_triangles: Ints
    material: Ints
    materials: list[str]


def _read_obj(path: Path) -> _Obj:
    """Vertices, texture coordinates and fan-triangulated polygons of a Wavefront file."""
    vertices, uv, faces, uv_faces, material, names = [], [], [], [], [], []
    current = 0
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            word, *rest = line.split() or [""]
            if word == "v":
                vertices.append([float(x) for x in rest[:3]])
            elif word == "vt":
                uv.append([float(x) for x in rest[:2]])
            elif word == "usemtl":
                if rest[0] not in names:
                    names.append(rest[0])
                current = names.index(rest[0])
            elif word == "f":
                corners = [[int(x or 0) for x in [*corner.split("/"), "0"][:2]] for corner in rest]
                for i in range(1, len(corners) - 1):
                    faces.append([corners[j][0] - 1 for j in (0, i, i + 1)])
                    uv_faces.append([corners[j][1] - 1 for j in (0, i, i + 1)])
                    material.append(current)
    return _Obj(np.array(vertices), np.array(uv), np.array(faces), np.array(uv_faces), np.array(material), names)


def _read_folder(folder: Path) -> Source:
    """FaceXModel: generic_neutral_mesh.obj, identity###.obj, one OBJ per expression, vertex_indices.json."""
    neutral_path, indices_path = folder / "generic_neutral_mesh.obj", folder / "vertex_indices.json"
    if not (neutral_path.is_file() and indices_path.is_file()):
        raise InputError(
            f"{folder}: no generic_neutral_mesh.obj and vertex_indices.json; name ICT-FaceKit's FaceXModel folder"
        )
    neutral = _read_obj(neutral_path)
    identities = sorted(folder.glob("identity*.obj"))
    named = sorted(p for p in folder.glob("*.obj") if p not in identities and p != neutral_path)
    shape, expression = ([_read_obj(p).vertices - neutral.vertices for p in paths] for paths in (identities, named))
    landmarks = json.loads(indices_path.read_text(encoding="utf-8"))["idx_to_landmark_verts"]
    return Source(
        template=neutral.vertices,
        triangles=neutral.triangles,
        uv=neutral.uv % 1.0,
        uv_triangles=neutral.uv_triangles,
        material=neutral.material,
        materials=tuple(neutral.materials),
        shape=np.stack(shape).astype(np.float32),
        expression=np.stack(expression).astype(np.float32),
        expression_names=tuple(p.stem for p in named),
        landmarks=np.array(landmarks[:68], dtype=np.int64),
    )


def build(source: Source, target: int) -> HeadArrays:
    """Arrays of a head with about ``target`` vertices, every one an original vertex with its original directions."""
    layer = _layers(source)
    used = (layer >= 0) & ~_back_of_eyes(source, layer)
    triangles, layer = source.triangles[used], layer[used]
    uv, uv_triangles = _atlas(source, triangles, source.uv_triangles[used], layer)
    at = [source.expression_names.index(name) for name in FOLDS]
    poses = [source.template, *(source.template + source.expression[i] for i in at)]
    importance = _importance(source, triangles, layer)
    thin = simplify(poses, triangles, uv, uv_triangles, importance, source.landmarks, target)
    kept, triangles = np.unique(thin.triangles, return_inverse=True)
    kept_uv, uv_triangles = np.unique(thin.uv_triangles, return_inverse=True)
    number = np.full(len(source.template), -1)
    number[kept] = np.arange(len(kept))
    return _finish(
        source, kept, triangles.reshape(-1, 3), uv[kept_uv], uv_triangles.reshape(-1, 3), layer[thin.source], number
    )


def _layers(source: Source) -> Ints:
    """(F,) position of the material in ``LAYERS``; -1 for what is not drawn."""
    table = np.array([LAYERS.index(name) if name in LAYERS else -1 for name in source.materials])
    return table[source.material]


def eye_fit(points: Array) -> tuple[Array, float]:
    """Centre and radius of the sphere through the white of an eyeball (V, 3) that looks along +z."""
    centre = points.mean(axis=0)
    radius = 0.0
    for _ in range(5):
        away = points - centre
        angle = np.degrees(np.arccos(away[:, 2] / np.linalg.norm(away, axis=1)))
        white = points[(angle > 32) & (angle < 100)]
        solution, *_ = np.linalg.lstsq(np.c_[2 * white, np.ones(len(white))], (white**2).sum(axis=1), rcond=None)
        centre = solution[:3]
        radius = float(np.sqrt(solution[3] + centre @ centre))
    return centre, radius


def _eye_points(source: Source, name: str) -> Ints:
    return np.unique(source.triangles[source.material == source.materials.index(name)])


def _angle(points: Array, centre: Array) -> Array:
    away = points - centre
    return np.degrees(np.arccos(away[..., 2] / np.linalg.norm(away, axis=-1)))


def _back_of_eyes(source: Source, layer: Ints) -> NDArray[np.bool_]:
    drop = np.zeros(len(layer), dtype=bool)
    for name in ("M_ScleraLeft", "M_ScleraRight"):
        centre, _ = eye_fit(source.template[_eye_points(source, name)])
        angle = _angle(source.template[source.triangles], centre)
        drop |= (layer == LAYERS.index(name)) & (angle.max(axis=1) > EYES_DEG)
    return drop


def _atlas(source: Source, triangles: Ints, uv_triangles: Ints, layer: Ints) -> tuple[Array, Ints]:
    """One atlas for all layers: skin and gums keep their charts; eyes get a polar chart, teeth one around the arch.

    Albedo is painted as a function of position, so the back of a tooth may share texels with its front.
    """
    projected = np.isin(layer, [LAYERS.index(n) for n in LAYERS if n.startswith(("M_Teeth", "M_Sclera"))])
    uv = np.concatenate([source.uv * (1, -1) + (0, 1), np.zeros_like(source.template[:, :2])])
    uv_triangles = np.where(projected[:, None], triangles + len(source.uv), uv_triangles)
    for number, name in enumerate(LAYERS):
        corners = np.unique(triangles[layer == number])
        p = source.template[corners]
        if name.startswith("M_Sclera"):
            centre, _ = eye_fit(source.template[_eye_points(source, name)])
            spread = (_angle(p, centre) / EYES_DEG) ** 0.7
            turn = np.arctan2(p[:, 1] - centre[1], p[:, 0] - centre[0])
            uv[corners + len(source.uv)] = 0.5 + 0.48 * spread[:, None] * np.stack(
                [np.cos(turn), -np.sin(turn)], axis=1
            )
        elif name == "M_Teeth":
            azimuth = np.arctan2(p[:, 0], p[:, 2] - 5.5)
            height = (p[:, 1].max() - p[:, 1]) / np.ptp(p[:, 1])
            uv[corners + len(source.uv)] = np.stack(
                [0.5 + 0.48 * azimuth / np.abs(azimuth).max(), 0.02 + 0.96 * height], axis=1
            )
    result = uv.copy()
    for number, name in enumerate(LAYERS):
        left, top, width, height = CELLS[name]
        corners = np.unique(uv_triangles[layer == number])
        result[corners] = uv[corners] * (0.98 * width, 0.98 * height) + (left + 0.01 * width, top + 0.01 * height)
    return result, uv_triangles


def _importance(source: Source, triangles: Ints, layer: Ints) -> Array:
    """(V,) cost factors: eyes and lips most, then the face; little for skull, gums, inner mouth and back teeth."""
    by_layer = {
        "M_Face": 1.0,
        "M_BackHead": 0.06,
        "M_GumsTongue": 0.03,
        "M_Teeth": 0.05,
        "M_ScleraLeft": 1.0,
        "M_ScleraRight": 1.0,
    }
    weight = np.zeros(len(source.template))
    for number, name in enumerate(LAYERS):
        corners = np.unique(triangles[layer == number])
        weight[corners] = np.maximum(weight[corners], by_layer[name])
    p, lm = source.template, source.template[source.landmarks]
    face = np.unique(triangles[layer == 0])
    for points, radius, gain in (
        (lm[36:48], 1.2, 12.0),
        (lm[48:68], 1.2, 6.0),
        (lm[29:36], 1.2, 3.0),
        (lm[17:27], 1.5, 3.0),
    ):
        distance = np.sqrt(((p[face][:, None] - points[None]) ** 2).sum(-1)).min(axis=1)
        weight[face] = np.maximum(weight[face], np.where(distance < radius, gain, 0))
    weight[face] *= np.where((p[face, 1] < -9.5) | (p[face, 2] < 2.0), 0.15, 1.0)
    near_collar = np.abs(collar_height(p[face], lm)) < 1.0
    weight[face] = np.maximum(weight[face], np.where(near_collar, 1.5, 0))
    front_teeth = (weight == by_layer["M_Teeth"]) & (p[:, 2] > 8.5)
    weight[front_teeth] = 0.25
    return weight


def _finish(
    source: Source, kept: Ints, triangles: Ints, uv: Array, uv_triangles: Ints, layer: Ints, number: Ints
) -> HeadArrays:
    points = source.template[kept]
    landmarks = number[source.landmarks]
    regions = _regions(points, triangles, layer, points[landmarks])
    eye, lid, gap, centres, radii = _eyes(source, points, triangles, layer, regions)
    bones = bone_weights(points, PIVOTS)
    bones[np.unique(triangles[layer >= 2])] = (0, 0, 1)
    bones[np.unique(triangles[regions == Region.MOUTH_INTERIOR])] = (0, 0, 1)
    contour = contour_candidates(points, triangles[regions == Region.SKIN], points[landmarks])
    return HeadArrays(
        template=points,
        triangles=triangles,
        uv=uv,
        uv_triangles=uv_triangles,
        regions=regions,
        shape_directions=np.ascontiguousarray(source.shape[:, kept]),
        expression_directions=np.ascontiguousarray(source.expression[:, kept]),
        expression_names=np.array(source.expression_names),
        landmark_vertices=landmarks,
        contour_vertices=contour.vertices,
        contour_weights=contour.weights,
        contour_outward=contour.outward,
        bone_weights=bones,
        pivots=PIVOTS,
        eye_of_vertex=eye,
        lid_of_vertex=lid,
        lid_gap=gap,
        eye_centres=centres,
        eye_radius=radii,
        cornea=CORNEA,
    )


CORNEA = np.array([0.69, 1.0])  # measured on the outer eyeballs: the cornea's sphere, 1.5 mm outside that of the white


def _eyes(
    source: Source, points: Array, triangles: Ints, layer: Ints, regions: Ints
) -> tuple[Ints, Ints, Array, Array, Array]:
    """Eyeball vertices, lid vertices with the distance they keep, centres and radii, the left eye first."""
    eye, lid, gap = np.zeros(len(points), dtype=np.int64), np.zeros(len(points), dtype=np.int64), np.zeros(len(points))
    centres, radii = np.zeros((2, 3)), np.zeros(2)
    skin = np.unique(triangles[layer == 0])
    for i, name in enumerate(("M_ScleraLeft", "M_ScleraRight")):
        centres[i], radii[i] = eye_fit(source.template[_eye_points(source, name)])
        eye[np.unique(triangles[layer == LAYERS.index(name)])] = i + 1
        away = points[skin] - centres[i]
        distance = np.linalg.norm(away, axis=1)
        cornea = np.linalg.norm(away - (0, 0, CORNEA[0]), axis=1) - CORNEA[1]
        clearance = np.minimum(distance - radii[i], cornea)
        # Vertices behind the lids' edge lie inside the ball's reach at rest; they may stay there.
        outside = (distance < 2.6) & (away[:, 2] > 0) & (clearance > 0.01)
        lid[skin[outside]] = i + 1
        gap[skin[outside]] = np.minimum(clearance[outside], 0.10)
    return eye, lid, gap, centres, radii


def _regions(points: Array, triangles: Ints, layer: Ints, landmarks: Array) -> Ints:
    regions = np.full(len(triangles), int(Region.SKIN))
    named = {"M_GumsTongue": Region.MOUTH_INTERIOR, "M_Teeth": Region.TEETH}
    named |= {"M_ScleraLeft": Region.EYE_LEFT, "M_ScleraRight": Region.EYE_RIGHT}
    for name, region in named.items():
        regions[layer == LAYERS.index(name)] = region
    middle = points[triangles].mean(axis=1)
    regions[(layer <= 1) & _inside_mouth(points, triangles, layer, middle, landmarks)] = Region.MOUTH_INTERIOR
    ears = (layer <= 1) & (np.abs(middle[:, 0]) > 7.55) & (np.abs(middle[:, 1] - 1.2) < 4.2) & (middle[:, 2] < 3.2)
    ears &= np.abs(middle[:, 0]) > 7.55 + 0.12 * np.maximum(middle[:, 1] - 3, 0)
    regions[ears & (middle[:, 0] > 0)] = Region.EAR_LEFT
    regions[ears & (middle[:, 0] < 0)] = Region.EAR_RIGHT
    return label_skin(points, triangles, regions, landmarks)


def _inside_mouth(points: Array, triangles: Ints, layer: Ints, middle: Array, landmarks: Array) -> NDArray[np.bool_]:
    """Skin behind the lips: in the mouth's box and well behind the frontmost skin at the same place."""
    lips = landmarks[48:60]
    low = lips.min(axis=0) - np.array((0.8, 1.6, 8.0))
    high = lips.max(axis=0) + np.array((0.8, 1.4, 0.5))
    box = ((middle > low) & (middle < high)).all(axis=1) & (layer <= 1)
    skin = points[np.unique(triangles[layer == 0])]
    distance = np.abs(skin[None, :, :2] - middle[box][:, None, :2]).max(axis=-1)
    front = np.where(distance < 0.3, skin[None, :, 2], -np.inf).max(axis=1)
    result = np.zeros(len(middle), dtype=bool)
    result[np.flatnonzero(box)] = front - middle[box][:, 2] > 0.75
    return result
