"""Soft self-shadowing of a mesh: the share of the surrounding light that reaches every vertex.

Depth maps from a few dozen directions stand for a light dome (percentage-closer filtered shadow maps, Reeves et al.
1987); the result is light-weighted ambient occlusion, recomputed for every pose, so an opening mouth stays dark inside
and a nose shades its side.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.ops.rasterize import SUBPIXEL, interpolate, rasterize
from reenact_zoo.ops.shading import LUMINANCE, spherical_harmonics

SMOOTHING = 2  # rounds over the mesh; hides that the dome has few lamps
_LOWEST_Z = -0.4  # lamps farther behind hardly touch what a camera on +z sees


def dome(count: int) -> Tensor:
    """(count, 3, 3) frames, rows right, up, towards the lamp: a Fibonacci lattice over the sphere above z = -0.4."""
    k = torch.arange(count, dtype=torch.float64)
    z = 1 - (1 - _LOWEST_Z) * (k + 0.5) / count
    angle = k * math.pi * (3 - math.sqrt(5))
    radius = (1 - z.square()).sqrt()
    towards = torch.stack((radius * angle.cos(), radius * angle.sin(), z), dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand_as(towards)
    steep = towards[:, 1].abs() > 0.9
    up = torch.where(steep[:, None], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), up)
    right = torch.nn.functional.normalize(torch.linalg.cross(up, towards), dim=-1)
    return torch.stack((right, torch.linalg.cross(towards, right), towards), dim=1).float()


@torch.no_grad()
def occlusion(
    vertices: Tensor,
    triangles: Tensor,
    normals: Tensor,
    light: Tensor,
    *,
    lamps: int = 16,
    resolution: int = 128,
    kernel: Literal["auto", "numba", "torch"] = "auto",
) -> Tensor:
    """Share of the light that arrives at every vertex.

    Args:
        vertices: (B, V, 3) camera space, any unit.
        triangles: (F, 3) int64, counter-clockwise seen from outside; only their outsides cast shadows.
        normals: (B, V, 3) unit.
        light: (B, 9, 3) radiance coefficients of ``ops.shading``; brighter directions count more.
        lamps: directions of the dome.
        resolution: pixels of each depth map; details below 1/resolution of the mesh cast no shadow.
        kernel: "auto" takes numba on the CPU and torch elsewhere.

    Returns:
        (B, V) in [0, 1]; 1 where no lamp faces the vertex. A constant for autograd, like visibility.
    """
    frames = dome(lamps).to(vertices.device)
    weights = torch.tensor(LUMINANCE, device=vertices.device)
    radiance = (spherical_harmonics(frames[:, 2]) @ light.float()) @ weights  # (B, lamps)
    # squared: a lamp that the three bands smear out over half the dome gets its direction back
    radiance = torch.maximum(radiance, 0.05 * radiance.abs().amax(-1, keepdim=True).clamp(min=1e-6)).square()
    if kernel == "auto":
        kernel = "numba" if vertices.device.type == "cpu" else "torch"
    function = _occlusion_numba if kernel == "numba" else _occlusion_torch
    return function(vertices.float(), triangles, normals.float(), frames, radiance, resolution)


def _occlusion_numba(
    vertices: Tensor, triangles: Tensor, normals: Tensor, frames: Tensor, radiance: Tensor, resolution: int
) -> Tensor:
    from reenact_zoo.ops import _shading_kernels as kernels
    from reenact_zoo.ops._threads import for_each, num_threads

    points, directions = vertices.cpu().numpy(), normals.cpu().numpy()
    tris, turns, lamps = triangles.cpu().numpy(), frames.cpu().numpy(), radiance.cpu().numpy()
    batch, count = points.shape[:2]
    solid = [_with_area(p, tris) for p in points]
    parts = 1 if batch >= num_threads() else num_threads()
    lit = np.zeros((parts, batch, count))
    total = np.zeros((parts, batch, count))
    edges = [len(turns) * p // parts for p in range(parts + 1)]

    def work(task: tuple[int, int]) -> None:
        b, p = task
        args = (resolution, edges[p], edges[p + 1], lit[p, b], total[p, b])
        kernels.occlude(points[b], directions[b], solid[b], turns, lamps[b], *args)

    for_each(work, [(b, p) for b in range(batch) for p in range(parts)])
    lit_sum, total_sum = lit.sum(0), total.sum(0)
    values = np.where(total_sum > 0, lit_sum / np.maximum(total_sum, 1e-12), 1.0)
    scratch = np.empty((2, batch, count))
    for_each(lambda b: kernels.smooth(values[b], tris, SMOOTHING, scratch[0, b], scratch[1, b]), range(batch))
    return torch.from_numpy(values.astype(np.float32)).to(vertices.device)


def _with_area(points: NDArray[np.float32], triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles that cast a shadow at all: what a head does not wear is shrunk to points."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    extent = np.maximum(np.abs(b - a), np.abs(c - a)).max(axis=1)
    return np.ascontiguousarray(triangles[extent > 1e-5 * np.abs(points).max()])


def _occlusion_torch(
    vertices: Tensor, triangles: Tensor, normals: Tensor, frames: Tensor, radiance: Tensor, resolution: int
) -> Tensor:
    lit, total = torch.zeros_like(vertices[..., 0]), torch.zeros_like(vertices[..., 0])
    batch = torch.arange(len(vertices), device=vertices.device)[:, None]
    for frame, brightness in zip(frames, radiance.unbind(1)):
        turned = vertices @ frame.T
        flat = torch.stack((turned[..., 0], -turned[..., 1]), dim=-1)
        low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
        texel = (high - low).amax(-1, keepdim=True).clamp(min=1e-6) / (resolution - 3)  # (B, 1, 1)
        place = torch.round(((flat - low) / texel + 1) * SUBPIXEL) / SUBPIXEL
        height = turned[..., 2:]
        points = torch.cat((place, -height), dim=-1)
        seen = rasterize(points, triangles, resolution, perspective=False, cull=True, kernel="torch")
        depth = interpolate(height, triangles, seen)[..., 0].masked_fill(~seen.mask, -torch.inf)
        cosine = (normals @ frame[2]).clamp(min=0)
        weight = cosine * brightness[:, None]
        slope = ((1 - cosine.square()).clamp(min=0).sqrt() / cosine.clamp(min=1e-9)).clamp(max=4)
        reach = height[..., 0] + texel[..., 0] * (1 + slope)
        cell = place.floor().long()
        fraction = place - cell
        visible = torch.zeros_like(weight)
        for dy in (0, 1):
            for dx in (0, 1):
                share = (fraction[..., 0] - (1 - dx)).abs() * (fraction[..., 1] - (1 - dy)).abs()
                visible += share * (depth[batch, cell[..., 1] + dy, cell[..., 0] + dx] <= reach)
        lit += weight * visible
        total += weight
    values = torch.where(total > 0, lit / total.clamp(min=1e-12), torch.ones_like(lit))
    index = triangles.reshape(-1)
    around = torch.zeros_like(values).index_add(1, index, torch.ones_like(values[:, index]))
    for _ in range(SMOOTHING):
        mean = values[:, triangles].mean(-1).repeat_interleave(3, dim=1)
        sums = torch.zeros_like(values).index_add(1, index, mean)
        values = torch.where(around > 0, sums / around.clamp(min=1), values)
    return values
