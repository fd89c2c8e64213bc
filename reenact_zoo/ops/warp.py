"""Backward warps in two and three dimensions, and the flows that carry control points from one place to another.

A flow is a backward sampling grid: it says for every output pixel where its colour comes from. All coordinates are
normalised, x before y (before z), ``align_corners=False``. In a pair ``from_points``, ``to_points`` the content at
``from_points`` of the input shows up at ``to_points`` of the output.
"""

from __future__ import annotations

from typing import Literal

import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.ops.coordinates import identity_grid, normalised_to_pixel

Padding = Literal["zeros", "border", "reflection"]


def warp(
    image: Tensor,
    flow: Tensor,
    padding_mode: Padding = "zeros",
    mode: Literal["bilinear", "bicubic", "nearest"] = "bilinear",
) -> Tensor:
    """Sample image (B, C, H, W) at flow (B, H', W', 2) → (B, C, H', W'); bicubic may leave the image's range."""
    return F.grid_sample(image, flow, mode=mode, padding_mode=padding_mode, align_corners=False)


def warp_3d(volume: Tensor, flow: Tensor, padding_mode: Padding = "zeros") -> Tensor:
    """Sample volume (B, C, D, H, W) at flow (B, D', H', W', 3), x before y before z, trilinearly."""
    return F.grid_sample(volume, flow, mode="bilinear", padding_mode=padding_mode, align_corners=False)


def transform_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply affine maps (B, 2, 3) to points (B, N, 2)."""
    return points @ matrix[..., :2].mT + matrix[..., 2].unsqueeze(-2)


def similarity(from_points: Tensor, to_points: Tensor, weights: Tensor | None = None) -> Tensor:
    """Least-squares scale, rotation and shift (no reflection) with ``to = transform_points(matrix, from)``.

    Args:
        from_points: (B, N, 2), not all equal.
        to_points: (B, N, 2).
        weights: (N,) or (B, N), non-negative; equal where omitted.

    Returns:
        (B, 2, 3). Closed form: as complex numbers, scale and rotation are <to, from> / <from, from> of centred points.
    """
    if weights is None:
        weights = from_points.new_ones(from_points.shape[-2])
    w = (weights / weights.sum(-1, keepdim=True)).unsqueeze(-1)
    centre_from, centre_to = (w * from_points).sum(-2, keepdim=True), (w * to_points).sum(-2, keepdim=True)
    f, t = from_points - centre_from, to_points - centre_to
    norm = (w * f.square()).sum((-2, -1)).clamp(min=1e-12)
    a = (w * f * t).sum((-2, -1)) / norm
    b = (w[..., 0] * (f[..., 0] * t[..., 1] - f[..., 1] * t[..., 0])).sum(-1) / norm
    linear = torch.stack((torch.stack((a, -b), -1), torch.stack((b, a), -1)), -2)
    shift = centre_to - centre_from @ linear.mT
    return torch.cat((linear, shift.mT), dim=-1)


def thin_plate_spline_grid(
    from_points: Tensor, to_points: Tensor, size: tuple[int, int], smoothing: float = 0.0
) -> Tensor:
    """Flow (B, H, W, 2) of the thin-plate spline through the control points; differentiable (Bookstein, PAMI 1989).

    Args:
        from_points: (B, N, 2), N >= 3 and not on one line.
        to_points: (B, N, 2); with ``smoothing=0`` no two of a sample may coincide.
        size: (H, W) of the flow.
        smoothing: added to the kernel's diagonal; 0 interpolates, a large value tends to the best affine map.
    """
    batch, count, _ = to_points.shape
    kernel = _thin_plate(torch.cdist(to_points, to_points).square())
    kernel = kernel + smoothing * torch.eye(count, dtype=kernel.dtype, device=kernel.device)
    affine = torch.cat((to_points.new_ones(batch, count, 1), to_points), dim=-1)
    system = torch.cat(
        (
            torch.cat((kernel, affine), dim=-1),
            torch.cat((affine.mT, affine.new_zeros(batch, 3, 3)), dim=-1),
        ),
        dim=-2,
    )
    values = torch.cat((from_points, from_points.new_zeros(batch, 3, 2)), dim=-2)
    # float64: the system mixes entries of very different size
    solution = torch.linalg.solve(system.double(), values.double()).to(from_points.dtype)
    grid = identity_grid(*size, device=to_points.device, dtype=to_points.dtype).reshape(1, -1, 2).expand(batch, -1, -1)
    phi: Tensor = _thin_plate((grid.unsqueeze(-2) - to_points.unsqueeze(-3)).square().sum(-1))
    flow: Tensor = phi @ solution[:, :count] + solution[:, count : count + 1] + grid @ solution[:, count + 1 :]
    return flow.reshape(batch, *size, 2)


def _thin_plate(squared: Tensor) -> Tensor:
    """r² log r² with its limit 0 at r = 0 (the factor 1/2 of r² log r goes into the weights)."""
    return squared * squared.clamp(min=1e-12).log()


def piecewise_affine_grid(
    from_points: Tensor,
    to_points: Tensor,
    size: tuple[int, int],
    triangles: Tensor | None = None,
    depth: Tensor | None = None,
    outside: Tensor | None = None,
) -> Tensor:
    """Flow (B, H, W, 2), affine on every triangle and continuous across their edges; no gradient.

    Args:
        from_points: (B, N, 2).
        to_points: (B, N, 2).
        size: (H, W) of the flow.
        triangles: as in ``piecewise_affine``.
        depth: as in ``piecewise_affine``.
        outside: (B, H, W, 2) flow of the pixels that no triangle covers; default: the identity.
    """
    if outside is None:
        outside = identity_grid(*size).expand(len(to_points), -1, -1, -1)
    return piecewise_affine(from_points, to_points, outside, triangles, depth)


def piecewise_affine(
    values: Tensor,
    points: Tensor,
    outside: Tensor,
    triangles: Tensor | None = None,
    depth: Tensor | None = None,
) -> Tensor:
    """Interpolate values (B, N, D) given at points (B, N, 2) linearly over triangles → (B, H, W, D); no gradient.

    Args:
        values: what each point carries.
        points: where the points lie; a row with a NaN gives a sample of NaN.
        outside: (B, H, W, D) values of the pixels that no triangle covers.
        triangles: (F, 3) int64, turning from +x to +y (clockwise as seen on the screen) in ``points``; a triangle that
            turns the other way has folded over and is left out. Where the outline of the mesh does not cross itself the
            others still cover its inside. Default: each sample's own Delaunay triangulation.
        depth: (B, N), larger is nearer, decides where triangles overlap; default: the later triangle.
    """
    height, width = outside.shape[1:3]
    places = normalised_to_pixel(points.detach(), height, width).double().cpu().numpy()
    carried = values.detach().double().cpu().numpy()
    near = np.zeros(places.shape[:2]) if depth is None else depth.detach().double().cpu().numpy()
    result = outside.detach().to("cpu", torch.float32).clone(memory_format=torch.contiguous_format)
    given = None if triangles is None else triangles.cpu().numpy()
    for i in range(len(places)):
        if np.isfinite(places[i]).all():
            faces = delaunay(places[i]) if given is None else given
            _fill(result[i].numpy(), np.full((height, width), -np.inf), places[i], carried[i], near[i], faces)
        else:
            result[i] = float("nan")
    return result.to(points.device, points.dtype)


def delaunay(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Delaunay triangles (F, 3) of points (N, 2), all turning from +x to +y; repeated points stay unused.

    Raises:
        ValueError: fewer than three points, or all on one line.
    """
    from scipy.spatial import Delaunay, QhullError

    try:
        triangles: NDArray[np.int64] = Delaunay(points).simplices.astype(np.int64)
    except QhullError as error:
        raise ValueError("points need to span a plane to be triangulated") from error
    a, b, c = (points[triangles[:, k]] for k in range(3))
    flipped = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) < (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles[flipped] = triangles[flipped][:, [0, 2, 1]]
    return triangles


@numba.njit(cache=True, nogil=True)
def _fill(
    result: NDArray[np.float32],
    nearest: NDArray[np.float64],
    points_px: NDArray[np.float64],
    values: NDArray[np.float64],
    depth: NDArray[np.float64],
    triangles: NDArray[np.int64],
) -> None:
    """Write the values (N, D) at every covered pixel centre into ``result`` (H, W, D); ``nearest`` is the z-buffer."""
    height, width = nearest.shape
    for f in range(len(triangles)):
        i, j, k = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay, bx, by = points_px[i, 0], points_px[i, 1], points_px[j, 0], points_px[j, 1]
        cx, cy = points_px[k, 0], points_px[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area <= 1e-9:
            continue
        y_first, y_last = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        x_first, x_last = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        slack = -1e-9  # a pixel centre on a shared edge belongs to both triangles rather than to none
        for y in range(y_first, y_last + 1):
            for x in range(x_first, x_last + 1):
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < slack or v < slack or w < slack:
                    continue
                z = u * depth[i] + v * depth[j] + w * depth[k]
                if z >= nearest[y, x]:
                    nearest[y, x] = z
                    for d in range(values.shape[1]):
                        result[y, x, d] = u * values[i, d] + v * values[j, d] + w * values[k, d]
