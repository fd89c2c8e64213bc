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
        corner = self._allowed(half, around)
        dirty = np.zeros(self.points.shape[1], dtype=bool)
        done = 0
        removed = np.zeros(len(self.triangles), dtype=bool)
        for (gone, stays), uv_stays in zip(half[corner >= 0].tolist(), corner[corner >= 0].tolist(), strict=True):
            if dirty[gone] or dirty[stays]:
                continue
            faces = around.faces(gone)
            dirty[self.triangles[faces].ravel()] = True
            dirty[stays] = True
            self._collapse(faces, gone, stays, uv_stays, removed)
            done += 1
            if done >= wanted:
                break
        alive = ~removed
        self.triangles, self.uv_triangles = self.triangles[alive], self.uv_triangles[alive]
        self.source = self.source[alive]
        return done

    def _allowed(self, half: Ints, around: _Adjacency) -> Ints:
        """(n,) the survivor's texture coordinate for each half edge that may collapse, -1 for the others.

        The answers hold for the whole pass: it leaves alone every neighbourhood that a collapse has touched.
        """
        corner = np.concatenate(
            [self._allowed_of(part, around) for part in np.array_split(half, len(half) // 4096 + 1)]
        )
        return np.asarray(corner, dtype=np.int64)

    def _allowed_of(self, half: Ints, around: _Adjacency) -> Ints:
        gone, stays = half.T
        edge, faces = around.all_faces(gone)
        has_stays = (self.triangles[faces] == stays[edge, None]).any(axis=1)
        corner = self._uv_of_survivors(edge, faces, stays)
        left, left_edge = faces[~has_stays], edge[~has_stays]
        bad = ~self._keeps_shape(left, gone[left_edge], stays[left_edge])
        bad |= ~self._keeps_chart(left, gone[left_edge], corner[left_edge])
        corner[left_edge[bad]] = -1
        corner[self._shared_neighbours(gone, stays, around) != 2] = -1  # link condition: the surface stays a manifold
        return corner

    def _uv_of_survivors(self, edge: Ints, faces: Ints, stays: Ints) -> Ints:
        """The survivor's texture coordinate on this side of a seam; -1 where the edge is no plain inner edge."""
        row, column = np.nonzero(self.triangles[faces] == stays[edge, None])
        owner, found = edge[row], self.uv_triangles[faces[row], column]
        low, high = np.full(len(stays), np.iinfo(np.int64).max), np.full(len(stays), -1)
        np.minimum.at(low, owner, found)
        np.maximum.at(high, owner, found)
        return np.where((np.bincount(owner, minlength=len(stays)) == 2) & (low == high), high, -1)

    def _shared_neighbours(self, gone: Ints, stays: Ints, around: _Adjacency) -> Ints:
        """(n,) how many other vertices both ends of each edge have as neighbours."""
        vertices = self.points.shape[1]
        sets: list[Ints] = []
        for ends in (gone, stays):
            edge, faces = around.all_faces(ends)
            sets.append(np.unique(edge[:, None] * vertices + self.triangles[faces]))
        common = np.intersect1d(sets[0], sets[1], assume_unique=True)
        edge, vertex = np.divmod(common, vertices)
        return np.bincount(edge[(vertex != gone[edge]) & (vertex != stays[edge])], minlength=len(gone))

    def _keeps_shape(self, faces: Ints, gone: Ints, stays: Ints) -> NDArray[np.bool_]:
        """(n,) whether each triangle neither folds over nor becomes a needle when its corner moves."""
        t = self.triangles[faces]
        before = self.points[0][t]
        after = np.where((t == gone[:, None])[..., None], self.points[0, stays][:, None], before)
        n0, n1 = _normal(before), _normal(after)
        s0, s1 = np.linalg.norm(n0, axis=1), np.linalg.norm(n1, axis=1)
        longest = np.stack([after[:, i] - after[:, i - 1] for i in range(3)])
        longest = (longest**2).sum(axis=-1).max(axis=0)
        return ((n0 * n1).sum(axis=1) > _FLIP * s0 * s1) & (s1 > 0.08 * longest)

    def _keeps_chart(self, faces: Ints, gone: Ints, corner: Ints) -> NDArray[np.bool_]:
        """(n,) whether each triangle neither turns over nor becomes a needle on the atlas."""
        before = self.uv[self.uv_triangles[faces]]
        after = np.where((self.triangles[faces] == gone[:, None])[..., None], self.uv[corner][:, None], before)
        old, new = _turn(before), _turn(after)
        return (old == 0) | (old * new > 0.02 * old**2)

    def _collapse(self, faces: Ints, gone: int, stays: int, corner: int, removed: NDArray[np.bool_]) -> None:
        self.quadrics[stays] += self.quadrics[gone]
        closing = (self.triangles[faces] == stays).any(axis=1)
        removed[faces[closing]] = True
        row, column = np.nonzero(self.triangles[faces[~closing]] == gone)
        self.triangles[faces[~closing][row], column] = stays
        self.uv_triangles[faces[~closing][row], column] = corner


def _normal(corners: Array) -> Array:
    """Cross products (n, 3) of two sides of triangles (n, 3, 3)."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


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

    def all_faces(self, vertices: Ints) -> tuple[Ints, Ints]:
        """Triangles around each of many vertices, one after the other: (n,) position in ``vertices``, (n,) triangle."""
        first, count = self._start[vertices], self._start[vertices + 1] - self._start[vertices]
        owner = np.repeat(np.arange(len(vertices)), count)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return owner, self._order[first[owner] + within]


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
    place, faces = _Adjacency(simplified, len(points)).all_faces(kept[near.ravel()])
    distance = _point_to_triangles(points[asked[place // 3]], points[simplified[faces]])
    best = np.full(len(asked), np.inf)
    np.minimum.at(best, place // 3, distance)
    return best


def _point_to_triangles(p: Array, corners: Array) -> Array:
    """Distance (n,) of each point (n, 3) to the triangle (n, 3, 3) of the same row."""
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
    return np.where(inside, plane, nearest)
