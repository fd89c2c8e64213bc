"""Z-buffer rasterisation of triangle meshes: which face every pixel sees, and where on that face.

Screen space: x_px to the right and y_px down, pixel centres at integers 0 … W-1; depth is the distance to the camera
plane, smaller is nearer. Triangles are counter-clockwise seen from outside. On the CPU a compiled kernel draws
(``_raster_kernels``), elsewhere a batched PyTorch path; both use the same exact edge functions and find the same faces.
Only visibility is discrete; barycentric weights are differentiable in the points where those ask for a gradient.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

SUBPIXEL = 1024.0
"""Positions are snapped to 1/1024 of a pixel for visibility, far below anything visible."""
MAX_PX = 16384.0
"""A triangle with a vertex farther than this outside of the image is not drawn; keeps edge functions below 2**53."""
_CANDIDATES = 1 << 23  # (triangle, pixel) tests at a time on the PyTorch path; bounds its memory to about 0.5 GB


class Fragments(NamedTuple):
    """What every pixel sees.

    Attributes:
        face: (B, H, W) int64 index into the triangles, -1 where nothing is seen.
        barycentric: (B, H, W, 3) float32 weights of the face's vertices, sum 1; zeros where nothing is seen.
    """

    face: Tensor
    barycentric: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool, True where something is seen."""
        return self.face >= 0


def rasterize(
    points: Tensor,
    triangles: Tensor,
    size: int | tuple[int, int],
    *,
    perspective: bool = True,
    cull: bool = False,
    kernel: Literal["auto", "numba", "torch"] = "auto",
) -> Fragments:
    """Find the nearest face at every pixel centre.

    Args:
        points: (B, V, 3) x_px, y_px, depth. With ``perspective`` the depth must be positive to be drawn.
        triangles: (F, 3) int64.
        size: height and width of the image, or one number for both.
        perspective: weights are linear on the surface under a perspective projection; False for parallel projections.
        cull: leave out triangles seen from behind.
        kernel: "auto" takes numba on the CPU and torch elsewhere.

    Returns:
        Fragments; equal depths go to the lower face index.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be (B, V, 3), got {tuple(points.shape)}")
    if triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise ValueError(f"triangles must be (F, 3), got {tuple(triangles.shape)}")
    if triangles.numel() and (int(triangles.min()) < 0 or int(triangles.max()) >= points.shape[1]):
        raise ValueError(f"triangles name vertices outside 0 … {points.shape[1] - 1}")
    height, width = (size, size) if isinstance(size, int) else size
    if triangles.numel() == 0:
        shape = (points.shape[0], height, width)
        return Fragments(points.new_full(shape, -1).long(), points.new_zeros(*shape, 3))
    if kernel == "auto":
        kernel = "numba" if points.device.type == "cpu" else "torch"
    with torch.no_grad():
        draw = _rasterize_numba if kernel == "numba" else _rasterize_torch
        fragments = draw(points.detach(), triangles, height, width, perspective, cull)
    if points.requires_grad and torch.is_grad_enabled():
        exact = barycentric_weights(points, triangles, fragments.face, perspective=perspective)
        return Fragments(fragments.face, exact)
    return fragments


def barycentric_weights(points: Tensor, triangles: Tensor, face: Tensor, *, perspective: bool = True) -> Tensor:
    """Differentiable weights (B, H, W, 3) of the pixel centres in the faces (B, H, W) they see; zeros at face -1."""
    height, width = face.shape[1:]
    mask = face >= 0
    corners = _corners(points, triangles, face)  # (B, H, W, 3, 3)
    y = torch.arange(height, dtype=points.dtype, device=points.device)[:, None]
    x = torch.arange(width, dtype=points.dtype, device=points.device)
    dx, dy = (
        corners[..., 0] - x[..., None],
        corners[..., 1] - y[..., None],
    )  # relative to the pixel: keeps float32 exact
    nxt, prv = [1, 2, 0], [2, 0, 1]
    areas = dx[..., nxt] * dy[..., prv] - dx[..., prv] * dy[..., nxt]
    if perspective:
        areas = areas / torch.where(mask[..., None], corners[..., 2], torch.ones_like(areas))
    total = areas.sum(-1, keepdim=True)
    tiny = total.abs() < 1e-9
    values = areas / torch.where(tiny, torch.ones_like(total), total)
    values = torch.where(tiny, torch.full_like(values, 1 / 3), values)
    return torch.where(mask[..., None], values, torch.zeros_like(values))


def interpolate(attributes: Tensor, triangles: Tensor, fragments: Fragments) -> Tensor:
    """Vertex attributes (B or 1, V, C) → (B, H, W, C), zeros where nothing is seen; differentiable in both."""
    corners = _corners(attributes.expand(fragments.face.shape[0], -1, -1), triangles, fragments.face)
    return torch.einsum("bhwk,bhwkc->bhwc", fragments.barycentric.to(corners.dtype), corners)


def _corners(attributes: Tensor, triangles: Tensor, face: Tensor) -> Tensor:
    """(B, V, C) at the three vertices of every seen face → (B, H, W, 3, C); face -1 reads face 0."""
    index = triangles.to(face.device)[face.clamp(min=0)]  # (B, H, W, 3)
    batch = torch.arange(face.shape[0], device=face.device)[:, None, None, None]
    return attributes[batch, index]


def _rasterize_numba(
    points: Tensor, triangles: Tensor, height: int, width: int, perspective: bool, cull: bool
) -> Fragments:
    from reenact_zoo.ops import _raster_kernels as kernels  # numba takes half a second to import
    from reenact_zoo.ops._threads import for_each, row_bands

    batch = points.shape[0]
    pts = points.cpu().numpy()
    tris = np.ascontiguousarray(triangles.cpu().numpy(), dtype=np.int64)
    snapped = np.empty(pts.shape, np.float64)
    face = np.empty((batch, height, width), np.int32)
    nearest = np.empty((batch, height, width), np.float64)
    weights = np.empty((batch, height, width, 3), np.float32)
    for_each(lambda b: kernels.snap(pts[b], perspective, snapped[b]), range(batch))

    def draw(task: tuple[int, int, int]) -> None:
        b, top, end = task
        kernels.visibility(snapped[b], tris, cull, top, end, face[b], nearest[b])
        kernels.barycentrics(snapped[b], tris, face[b], perspective, top, end, weights[b])

    for_each(draw, row_bands(height, batch))
    return Fragments(torch.from_numpy(face).long().to(points.device), torch.from_numpy(weights).to(points.device))


def _rasterize_torch(
    points: Tensor, triangles: Tensor, height: int, width: int, perspective: bool, cull: bool
) -> Fragments:
    batch, device = points.shape[0], points.device
    triangles = triangles.to(device)
    setup = _set_up(points, triangles, height, width, perspective, cull)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    total = torch.cumsum(setup.pixels, 0)
    start = 0
    while start < len(total):
        # at least one triangle a turn, then as many as fit
        done = int(total[start - 1]) if start else 0
        end = max(start + 1, int(torch.searchsorted(total, done + _CANDIDATES, right=True)))
        found.append(_covered(setup, start, end, height, width))
        start = end
    pixels = batch * height * width
    empty = torch.empty(0, dtype=torch.int64, device=device)
    pixel = torch.cat([f[0] for f in found]) if found else empty
    near = torch.cat([f[1] for f in found]) if found else empty.double()
    which = torch.cat([f[2] for f in found]) if found else empty
    nearest = torch.full((pixels,), -torch.inf, dtype=torch.float64, device=device)
    nearest.scatter_reduce_(0, pixel, near, "amax")
    wins = near == nearest[pixel]
    none = triangles.shape[0]
    face = torch.full((pixels,), none, dtype=torch.int64, device=device)
    face.scatter_reduce_(0, pixel[wins], which[wins], "amin")
    face = torch.where(face == none, -1, face).view(batch, height, width)
    snapped, q = _snap(points, perspective)
    exact = torch.cat((snapped / SUBPIXEL, (1 / q if perspective else -q)[..., None]), dim=-1)
    weights = barycentric_weights(exact, triangles, face, perspective=perspective)
    return Fragments(face, weights.float())


class _SetUp(NamedTuple):
    """One row for every (image, triangle) that can be drawn: its place, shape, and bounding box."""

    image: Tensor
    face: Tensor
    corners: Tensor  # (N, 3, 2) snapped
    sign: Tensor
    nearness: Tensor  # (N, 3) q / area
    left: Tensor
    first: Tensor
    columns: Tensor
    pixels: Tensor  # in the bounding box


def _snap(points: Tensor, perspective: bool) -> tuple[Tensor, Tensor]:
    """(B, V, 3) → snapped (B, V, 2) float64 and nearness (B, V), NaN where a vertex cannot be drawn."""
    p = points.double()
    good = (p[..., :2].abs() <= MAX_PX).all(-1) & p[..., 2].isfinite()
    if perspective:
        good &= p[..., 2] > 0
    snapped = torch.where(good[..., None], torch.round(p[..., :2] * SUBPIXEL), torch.zeros_like(p[..., :2]))
    q = 1.0 / p[..., 2] if perspective else -p[..., 2]
    return snapped, torch.where(good, q, torch.full_like(q, torch.nan))


def _set_up(points: Tensor, triangles: Tensor, height: int, width: int, perspective: bool, cull: bool) -> _SetUp:
    snapped, q = _snap(points, perspective)
    corners, q = snapped[:, triangles], q[:, triangles]  # (B, F, 3, 2), (B, F, 3)
    low, high = corners.amin(2), corners.amax(2)
    left = torch.ceil(low[..., 0] / SUBPIXEL).clamp(min=0).long()
    right = torch.floor(high[..., 0] / SUBPIXEL).clamp(max=width - 1).long()
    first = torch.ceil(low[..., 1] / SUBPIXEL).clamp(min=0).long()
    last = torch.floor(high[..., 1] / SUBPIXEL).clamp(max=height - 1).long()
    side = corners[:, :, 1:] - corners[:, :, :1]
    area = side[..., 0, 0] * side[..., 1, 1] - side[..., 0, 1] * side[..., 1, 0]
    drawn = (left <= right) & (first <= last) & q.isfinite().all(-1)
    drawn &= (area < 0) if cull else (area != 0)
    image, face = drawn.nonzero(as_tuple=True)
    at = (image, face)
    left, first, columns = left[at], first[at], right[at] - left[at] + 1
    pixels = columns * (last[at] - first + 1)
    return _SetUp(
        image, face, corners[at], area[at].sign(), q[at] / area[at].abs()[:, None], left, first, columns, pixels
    )


def _covered(setup: _SetUp, start: int, end: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Flat pixel index, nearness and face of every sample inside triangles start … end-1."""
    s = _SetUp(*(field[start:end] for field in setup))
    device = s.pixels.device
    row = torch.repeat_interleave(torch.arange(end - start, device=device), s.pixels)
    within = torch.arange(len(row), device=device) - (torch.cumsum(s.pixels, 0) - s.pixels)[row]
    x = s.left[row] + within % s.columns[row]
    y = s.first[row] + torch.div(within, s.columns[row], rounding_mode="floor")
    px, py = x.double() * SUBPIXEL, y.double() * SUBPIXEL
    inside = torch.ones_like(px, dtype=torch.bool)
    edges = []
    for k in range(3):
        begin, tip = s.corners[:, (k + 1) % 3], s.corners[:, (k + 2) % 3]  # the edge opposite vertex k
        a, b = -s.sign * (tip[:, 1] - begin[:, 1]), s.sign * (tip[:, 0] - begin[:, 0])
        owned = (a > 0) | ((a == 0) & (b > 0))  # top-left rule
        edge = a[row] * (px - begin[row, 0]) + b[row] * (py - begin[row, 1])
        inside &= torch.where(owned[row], edge >= 0, edge >= 1)
        edges.append(edge)
    keep = inside.nonzero().squeeze(-1)
    row = row[keep]
    q = s.nearness[row]
    near = edges[0][keep] * q[:, 0] + edges[1][keep] * q[:, 1] + edges[2][keep] * q[:, 2]
    pixel = (s.image[row] * height + y[keep]) * width + x[keep]
    return pixel, near, s.face[row]
