"""Mesh simplification that only removes vertices: quadric edge collapse (Garland and Heckbert, SIGGRAPH 1997).

Every collapse moves one end of an edge onto the other and creates no new point, so the result is a subset of the
original vertices and any per-vertex data (shape and expression directions, texture coordinates) is carried over
exactly. The cost adds the squared distances to the planes of several poses of the mesh, so that a fold which only shows
in a smile or a closed eye counts as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_PASS_SHARE = 0.22  # part of the candidates a pass may use: cheap ones first, costs are refreshed between passes
_FLIP = 0.25  # cosine under which a turned triangle counts as folded over


@dataclass(frozen=True)
class Simplified:
    """Result over the original numbering: triangles (F, 3) into vertices and (F, 3) into texture coordinates."""

    triangles: Ints
    uv_triangles: Ints
    source: Ints  # (F,) which original triangle each one stems from


def simplify(
    poses: Sequence[Array],
    triangles: Ints,
    uv: Array,
    uv_triangles: Ints,
    importance: Array,
    keep: Ints,
    target: int,
) -> Simplified:
    """Collapse edges until about ``target`` vertices remain.

    Args:
        poses: (V, 3) point sets of one topology; the first is the rest pose, in which folds are checked.
        triangles: (F, 3) vertices.
        uv: (U, 2) texture coordinates; no triangle may turn over on the atlas.
        uv_triangles: (F, 3) into ``uv``. Vertices on seams and borders stay.
        importance: (V,) factor on a vertex' cost.
        keep: vertices that must stay (landmarks).
        target: number of vertices that remain, if enough of them may go.
    """
    state = _State(poses, triangles, uv_triangles, uv, importance, keep)
    while state.num_vertices > target:
        if not state.run_pass(state.num_vertices - target):
            break
    return Simplified(state.triangles, state.uv_triangles, state.source)


class _State:
    def __init__(
        self,
        poses: Sequence[Array],
        triangles: Ints,
        uv_triangles: Ints,
        uv: Array,
        importance: Array,
        keep: Ints,
    ) -> None:
        self.uv = uv
        self.points = np.stack([np.asarray(p, dtype=np.float64) for p in poses])  # (K, V, 3)
        self.triangles, self.uv_triangles = triangles.copy(), uv_triangles.copy()
        self.source = np.arange(len(triangles))
        self.importance = importance
        self.locked = _seams_and_borders(triangles, uv_triangles, self.points.shape[1])
        self.locked[keep] = True
        self.quadrics = _quadrics(self.points, triangles)  # (V, K, 4, 4)

    @property
    def num_vertices(self) -> int:
        return len(np.unique(self.triangles))

    def _candidates(self) -> tuple[Ints, Array]:
        """Half edges (n, 2) from the vertex that goes to the one that stays, cheapest first, and their costs."""
        t = self.triangles
        half = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
        half = half[~self.locked[half[:, 0]]]
        at = np.concatenate([self.points[:, half[:, 1]], np.ones((len(self.points), len(half), 1))], axis=-1)
        cost = np.einsum("kni,nkij,knj->n", at, self.quadrics[half[:, 0]], at)
        length = ((self.points[0, half[:, 0]] - self.points[0, half[:, 1]]) ** 2).sum(axis=1)
        cost = (np.maximum(cost, 0) + 1e-5 * length**2) * self.importance[half[:, 0]]
        order = np.argsort(cost, kind="stable")
        return half[order], cost[order]

    def run_pass(self, wanted: int) -> int:
        """One round of collapses whose neighbourhoods do not touch; returns how many there were."""
        half, _ = self._candidates()
        half = half[: max(int(_PASS_SHARE * len(half)), 50)]
        around = _Adjacency(self.triangles, self.points.shape[1])
        dirty = np.zeros(self.points.shape[1], dtype=bool)
        done = 0
        removed = np.zeros(len(self.triangles), dtype=bool)
        for gone, stays in half.tolist():
            if dirty[gone] or dirty[stays]:
                continue
            faces = around.faces(gone)
            corner = self._uv_of_survivor(faces, gone, stays)
            if corner is None or not self._keeps_shape(faces, gone, stays, around):
                continue
            if not self._keeps_chart(faces, gone, stays, corner):
                continue
            dirty[self.triangles[faces].ravel()] = True
            dirty[stays] = True
            self._collapse(faces, gone, stays, corner, removed)
            done += 1
            if done >= wanted:
                break
        alive = ~removed
        self.triangles, self.uv_triangles = self.triangles[alive], self.uv_triangles[alive]
        self.source = self.source[alive]
        return done

    def _uv_of_survivor(self, faces: Ints, gone: int, stays: int) -> int | None:
        """The survivor's texture coordinate on this side of a seam; None where the edge is no plain inner edge."""
        t, uv = self.triangles[faces], self.uv_triangles[faces]
        at = t == stays
        found = uv[at]
        if len(found) != 2 or found[0] != found[1]:
            return None
        return int(found[0])

    def _keeps_shape(self, faces: Ints, gone: int, stays: int, around: _Adjacency) -> bool:
        mine = set(self.triangles[faces].ravel().tolist())
        theirs = set(self.triangles[around.faces(stays)].ravel().tolist())
        if len((mine & theirs) - {gone, stays}) != 2:  # link condition: the surface stays a manifold
            return False
        t = self.triangles[faces]
        t = t[~(t == stays).any(axis=1)]
        before = self.points[0][t]
        after = np.where((t == gone)[..., None], self.points[0, stays], before)
        n0 = np.cross(before[:, 1] - before[:, 0], before[:, 2] - before[:, 0])
        n1 = np.cross(after[:, 1] - after[:, 0], after[:, 2] - after[:, 0])
        s0, s1 = np.linalg.norm(n0, axis=1), np.linalg.norm(n1, axis=1)
        longest = np.stack([after[:, i] - after[:, i - 1] for i in range(3)])
        longest = (longest**2).sum(axis=-1).max(axis=0)
        return bool(((n0 * n1).sum(axis=1) > _FLIP * s0 * s1).all() and (s1 > 0.08 * longest).all())

    def _keeps_chart(self, faces: Ints, gone: int, stays: int, corner: int) -> bool:
        """No triangle that remains turns over, or becomes a needle, on the atlas."""
        t = self.triangles[faces]
        left = ~(t == stays).any(axis=1)
        before = self.uv[self.uv_triangles[faces[left]]]
        after = np.where((t[left] == gone)[..., None], self.uv[corner], before)
        old, new = _turn(before), _turn(after)
        return bool(((old == 0) | (old * new > 0.02 * old**2)).all())

    def _collapse(self, faces: Ints, gone: int, stays: int, corner: int, removed: NDArray[np.bool_]) -> None:
        self.quadrics[stays] += self.quadrics[gone]
        for face in faces.tolist():
            if (self.triangles[face] == stays).any():
                removed[face] = True
            else:
                at = self.triangles[face] == gone
                self.triangles[face, at] = stays
                self.uv_triangles[face, at] = corner


def _turn(corners: Array) -> Array:
    """Twice the signed area (n,) of planar triangles (n, 3, 2)."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


class _Adjacency:
    """Triangles around each vertex, in compressed rows."""

    def __init__(self, triangles: Ints, num_vertices: int) -> None:
        flat = triangles.ravel()
        self._order = np.argsort(flat, kind="stable") // 3
        self._start = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=num_vertices))])

    def faces(self, vertex: int) -> Ints:
        return self._order[self._start[vertex] : self._start[vertex + 1]]


def _quadrics(points: Array, triangles: Ints) -> Array:
    """(V, K, 4, 4): per vertex and pose the area-weighted sum of p p^T over the planes p of its triangles."""
    num_poses, num_vertices = points.shape[:2]
    out = np.zeros((num_vertices, num_poses, 4, 4))
    for k in range(num_poses):
        a, b, c = (points[k][triangles[:, i]] for i in range(3))
        normal = np.cross(b - a, c - a)
        area = np.linalg.norm(normal, axis=1, keepdims=True)
        normal = normal / np.maximum(area, 1e-12)
        plane = np.concatenate([normal, -(normal * a).sum(axis=1, keepdims=True)], axis=1)
        quadric = plane[:, :, None] * plane[:, None, :] * (area[:, :, None] / (2 * num_poses))
        for i in range(3):
            np.add.at(out[:, k], triangles[:, i], quadric)
    return out


def _seams_and_borders(triangles: Ints, uv_triangles: Ints, num_vertices: int) -> NDArray[np.bool_]:
    locked = np.zeros(num_vertices, dtype=bool)
    pairs = np.unique(np.stack([triangles.ravel(), uv_triangles.ravel()], axis=1), axis=0)
    locked[np.bincount(pairs[:, 0], minlength=num_vertices) > 1] = True
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    locked[unique[count != 2].ravel()] = True
    return locked


def deviation(points: Array, original: Ints, simplified: Ints) -> Array:
    """Distance (n,) in cm from each original vertex of the surface to the simplified surface, by its nearest triangles.

    Candidates are the triangles around the three nearest remaining vertices, which bounds the distance from above.
    """
    from scipy.spatial import cKDTree

    kept, asked = np.unique(simplified), np.unique(original)
    _, near = cKDTree(points[kept]).query(points[asked], k=3)
    around = _Adjacency(simplified, len(points))
    best = np.full(len(asked), np.inf)
    for i, vertex in enumerate(asked):
        faces = np.unique(np.concatenate([around.faces(kept[j]) for j in near[i]]))
        best[i] = _point_to_triangles(points[vertex], points[simplified[faces]])
    return best


def _point_to_triangles(p: Array, corners: Array) -> float:
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    inside = np.ones(len(a), dtype=bool)
    nearest = np.full(len(a), np.inf)
    for q, r in ((a, b), (b, c), (c, a)):
        edge = r - q
        inside &= (np.cross(edge, p - q) * normal).sum(axis=1) >= 0
        t = np.clip(((p - q) * edge).sum(axis=1) / np.maximum((edge**2).sum(axis=1), 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(p - q - t[:, None] * edge, axis=1))
    plane = np.abs(((p - a) * normal).sum(axis=1))
    return float(np.where(inside, plane, nearest).min())
