"""Geometry to pixels for ``faces.renderer``: materials and two drawing paths, PyTorch and compiled for the CPU."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.morphable.base import HeadModel, Region
from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.ops.occlusion import occlusion
from reenact_zoo.ops.rasterize import rasterize
from reenact_zoo.ops.shading import (
    Material,
    bumped,
    key_light,
    sample_texture,
    shade,
    texture_slope,
    vertex_normals,
)

if TYPE_CHECKING:
    from reenact_zoo.faces.renderer import Render, Renderer

_SKIN = Material(specular=1.15, gloss=32.0, sheen=0.06, subsurface=1.0)
MATERIALS: dict[Region, Material] = {
    Region.SKIN: _SKIN,
    Region.NOSE: _SKIN._replace(specular=1.5, gloss=40.0),
    Region.LIPS_UPPER: Material(2.2, 60.0, 0.03, 0.8),
    Region.LIPS_LOWER: Material(2.6, 60.0, 0.03, 0.8),
    Region.BROW_LEFT: _SKIN._replace(specular=0.6),
    Region.BROW_RIGHT: _SKIN._replace(specular=0.6),
    Region.EYE_LEFT: Material(2.0, 900.0, 0.0, 0.3, openness=0.15),
    Region.EYE_RIGHT: Material(2.0, 900.0, 0.0, 0.3, openness=0.15),
    Region.MOUTH_INTERIOR: Material(2.0, 80.0, 0.0, 0.6),
    Region.TEETH: Material(2.5, 150.0, 0.0, 0.4, openness=0.3),
    Region.EAR_LEFT: _SKIN._replace(specular=0.7),
    Region.EAR_RIGHT: _SKIN._replace(specular=0.7),
    Region.HAIR: Material(1.0, 22.0, 0.10, 0.0),
    Region.NECK: _SKIN._replace(specular=0.7),
    Region.CLOTHES: Material(0.05, 8.0, 0.12, 0.0),
    Region.GLASSES: Material(2.0, 200.0, 0.1, 0.0),
}
"""How every region answers to light; blended at the vertices where regions meet."""


def to_px(projected: Tensor, size: int) -> Tensor:
    """Normalised x, y (…, 3) → x_px, y_px of a frame of ``size``, the depth unchanged."""
    return torch.cat((((projected[..., :2] + 1) * size - 1) / 2, projected[..., 2:]), dim=-1)


def vertex_materials(model: HeadModel) -> Tensor:
    """(V, 5): mean material of the triangles around each vertex, so that highlights do not step at region borders."""
    table = torch.tensor([MATERIALS[region] for region in Region], device=model.triangles.device)
    index = model.triangles.reshape(-1)
    count = int(index.max()) + 1
    sums = torch.zeros(count, table.shape[1], device=table.device).index_add(
        0, index, table[getattr(model, "surfaces", model.regions)].repeat_interleave(3, 0)
    )
    return sums / torch.bincount(index, minlength=count).clamp(min=1)[:, None]


Drawn = tuple[Tensor, Tensor, Tensor, Tensor]
"""Vertex normals, faces of the samples, premultiplied image, alpha."""


def draw_torch(render: Render, albedo: Tensor) -> Drawn:
    r = render._renderer
    side, batch = r.size * r.supersample, len(render.vertices)
    normals = vertex_normals(render.vertices, r.triangles)
    lit = _occlusion(render, normals)
    points = to_px(render.projected, side)
    fragments = rasterize(points, r.triangles, side, perspective=r.perspective, cull=r.cull)
    image, row, column = fragments.mask.nonzero(as_tuple=True)
    face, weight = fragments.face[image, row, column], fragments.barycentric[image, row, column]
    materials = r.materials[:, :4].expand(batch, -1, -1)
    table = torch.cat((normals, render.vertices, lit[..., None], materials), dim=-1)
    surface = torch.einsum("nk,nkc->nc", weight, table[image[:, None], r.triangles[face]])
    uv = torch.einsum("nk,nkc->nc", weight, r.uv[face])
    eye = surface.new_tensor([0.0, 0.0, r.camera.distance_cm])
    view = eye - surface[:, 3:6] if r.perspective else eye.expand(len(face), 3)
    normal = F.normalize(surface[:, :3], dim=-1)
    albedo = albedo.expand(batch, -1, -1, -1)
    if albedo.shape[1] > 3:
        corners = render.vertices[image[:, None], r.triangles[face]]
        normal = bumped(normal, corners, r.uv[face], texture_slope(albedo[:, 3], image, uv))
    colour = shade(
        albedo=sample_texture(albedo[:, :3], image, uv),
        normal=normal,
        view=F.normalize(view, dim=-1),
        occlusion=surface[:, 6],
        material=surface[:, 7:],
        light=render.light,
        image=image,
    )
    samples = colour.new_zeros(batch, side, side, 3).index_put((image, row, column), colour)
    pixels = F.avg_pool2d(samples.permute(0, 3, 1, 2), r.supersample)
    return normals, fragments.face, pixels, F.avg_pool2d(fragments.mask[:, None].to(colour.dtype), r.supersample)


def _occlusion(render: Render, normals: Tensor) -> Tensor:
    r = render._renderer
    if not r.shadows:
        return torch.ones_like(normals[..., 0])
    arriving = occlusion(render.vertices.detach(), r.triangles, normals.detach(), render.light.detach())
    return arriving + (1 - arriving) * r.materials[:, 4]


def draw_compiled(render: Render, albedo: Tensor) -> Drawn:
    from reenact_zoo.ops import _raster_kernels, _shading_kernels
    from reenact_zoo.ops._threads import for_each, row_bands

    r, batch = render._renderer, len(render.vertices)
    size, samples = r.size, r.supersample
    side = size * samples
    triangles, uv = r.triangles.numpy(), r.uv.numpy()
    vertices = render.vertices.detach().float().contiguous().numpy()
    points = to_px(render.projected.detach(), side).float().contiguous().numpy()
    texture = albedo.detach().float().permute(0, 2, 3, 1).contiguous().expand(batch, -1, -1, -1).numpy()
    table = np.empty((batch, vertices.shape[1], _shading_kernels.COLUMNS), np.float32)
    table[..., 3:6] = vertices
    table[..., 7:] = r.materials[:, :4].numpy()
    for_each(lambda b: _shading_kernels.vertex_normals(vertices[b], triangles, table[b]), range(batch))
    normals = torch.from_numpy(table[..., :3].copy())
    table[..., 6] = _occlusion(render, normals).numpy()
    light = render.light.detach().double()
    direction, colour = (t.numpy() for t in key_light(light))
    light_array = light.numpy()
    camera_z = r.camera.distance_cm if r.perspective else math.inf
    snapped = np.empty(points.shape, np.float64)
    faces = np.empty((batch, side, side), np.int32)
    nearest = np.empty((batch, side, side), np.float64)
    image = np.empty((batch, 3, size, size), np.float32)
    alpha = np.empty((batch, 1, size, size), np.float32)
    for_each(lambda b: _raster_kernels.snap(points[b], r.perspective, snapped[b]), range(batch))

    def draw(task: tuple[int, int, int]) -> None:
        b, top, end = task
        rows = (top * samples, end * samples)
        _raster_kernels.visibility(snapped[b], triangles, r.cull, *rows, faces[b], nearest[b])
        surface = (snapped[b], triangles, faces[b], r.perspective, table[b], uv, texture[b])
        lamps = (light_array[b], direction[b], colour[b], camera_z)
        _shading_kernels.shade_rows(*surface, *lamps, samples, top, end, image[b], alpha[b, 0])

    for_each(draw, row_bands(size, batch))
    return normals, torch.from_numpy(faces), torch.from_numpy(image), torch.from_numpy(alpha)


def parsing_torch(faces: Tensor, renderer: Renderer) -> Tensor:
    """Supersampled faces (B, H, W) → (B, 19, S, S) share of every class."""
    empty = torch.zeros_like(faces, dtype=torch.int64)
    samples = torch.where(faces >= 0, renderer.classes[faces.clamp(min=0)], empty)
    shares = [F.avg_pool2d((samples == k).float()[:, None], renderer.supersample) for k in range(len(CLASSES))]
    return torch.cat(shares, dim=1)


def parsing_compiled(faces: Tensor, renderer: Renderer) -> Tensor:
    """``parsing_torch`` on the CPU."""
    from reenact_zoo.ops import _shading_kernels
    from reenact_zoo.ops._threads import for_each, row_bands

    size, classes = renderer.size, renderer.classes.numpy()
    samples = faces.numpy().astype(np.int32, copy=False)
    out = np.zeros((len(faces), len(CLASSES), size, size), np.float32)

    def count(task: tuple[int, int, int]) -> None:
        b, top, end = task
        _shading_kernels.count_classes(samples[b], classes, renderer.supersample, top, end, out[b])

    for_each(count, row_bands(size, len(faces)))
    return torch.from_numpy(out)
