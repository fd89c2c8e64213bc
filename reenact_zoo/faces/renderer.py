"""Renders a head model: image, matte, normals, texture coordinates, depth, parsing, landmarks, dense correspondence.

Camera coefficients are (log scale, tx, ty). At zero the resting head is centred and its face, chin to hairline, fills
half of the frame's height; the scale enlarges about the frame's centre, then tx moves right and ty up, in half frames.
The perspective camera stands five head heights away from the head, which is the distance of a portrait.

Light coefficients are described in ``ops.shading``; zeros are a neutral light from the front.

Geometry → visibility → surface table → relief → shading → resolve.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces._draw import draw_compiled, draw_torch, parsing_compiled, parsing_torch, to_px, vertex_materials
from reenact_zoo.faces.morphable.base import HeadModel
from reenact_zoo.faces.parsing import region_classes
from reenact_zoo.ops.rasterize import Fragments, interpolate, rasterize
from reenact_zoo.ops.shading import light_from_coefficients

_FRAME_IN_BROW_CHIN = (
    2.85  # frame height over the height from chin to brows; the hairline is 1.42 of these above the chin
)
_HEAD_IN_BROW_CHIN = 1.77
_CENTRE_IN_BROW_CHIN = 0.75
_CAMERA_IN_HEADS = 5.0
_PAINTED = 8  # albedos that a renderer remembers, 3 MB each at 512 × 512
_DEPTH_TOLERANCE_CM = 0.15  # thinner than a lip or a lid is far from what lies behind it


class Camera:
    """Projection of model space to the frame; made from a model's resting head, the same for all its identities."""

    def __init__(self, model: HeadModel, kind: Literal["perspective", "weak"]) -> None:
        layout = model.layout
        rest = [
            torch.zeros(1, n, device=model.triangles.device) for n in (layout.shape, layout.expression, layout.pose)
        ]
        with torch.no_grad():
            points = model.landmarks(model.vertices(*rest), rest[2])[0]
        chin, brows = points[8, 1], points[17:27, 1].mean()
        unit = float(brows - chin)
        if not unit > 0:
            raise ValueError(f"head model '{model.name}': its resting brows are not above its chin")
        self.kind = kind
        self.half_frame_cm = _FRAME_IN_BROW_CHIN * unit / 2
        self.distance_cm = _CAMERA_IN_HEADS * _HEAD_IN_BROW_CHIN * unit
        height = chin + _CENTRE_IN_BROW_CHIN * unit
        self.centre = torch.stack((points[:17, 0].mean(), height, points[[0, 16], 2].mean()))

    def centred(self, points: Tensor) -> Tensor:
        """Model space (…, 3) → camera space (…, 3): origin in the resting head, camera on the z axis."""
        return points - self.centre.to(points)

    def project(self, points: Tensor, coefficients: Tensor) -> Tensor:
        """Camera space (B, N, 3) cm, coefficients (B, 3) → (B, N, 3): normalised x right and y down, depth in cm."""
        depth = self.distance_cm - points[..., 2]
        scale = coefficients[:, :1].exp() / self.half_frame_cm
        if self.kind == "perspective":
            # a point behind the camera keeps its sign of depth, by which the rasteriser leaves it out
            near = torch.where(depth.abs() < 1e-3, torch.full_like(depth, 1e-3), depth)
            scale = scale * self.distance_cm / near
        x = points[..., 0] * scale + coefficients[:, 1:2]
        y = -(points[..., 1] * scale + coefficients[:, 2:3])
        return torch.stack((x, y, depth), dim=-1)


class Renderer:
    """Renders batches of coefficients of one head model.

    Args:
        model: the head; its device is the renderer's.
        size: height and width S of the frames.
        supersample: samples per pixel along each axis.
        camera: "perspective" or "weak" (parallel projection, scaled).
        shadows: soft self-shadowing by ``ops.occlusion``.
        texture_size: of the albedo asked from the model; None takes 256 up to S = 128 and 512 above.
        cull: leave out triangles seen from behind; True suits closed heads.
    """

    def __init__(
        self,
        model: HeadModel,
        size: int,
        supersample: int = 2,
        camera: Literal["perspective", "weak"] = "perspective",
        *,
        shadows: bool = True,
        texture_size: int | None = None,
        cull: bool = True,
    ) -> None:
        if size < 1 or supersample < 1:
            raise ValueError(f"size and supersample must be at least 1, got {size} and {supersample}")
        self.model, self.size, self.supersample = model, size, supersample
        self.shadows, self.cull = shadows, cull
        self.texture_size = texture_size or (256 if size <= 128 else 512)
        self.camera = Camera(model, camera)
        self.perspective = camera == "perspective"
        self.device = model.triangles.device
        self.triangles = model.triangles.contiguous()
        self.uv = model.uv[model.uv_triangles].float().contiguous()  # (F, 3, 2)
        self.classes = region_classes().to(self.device)[model.regions]  # (F,)
        self._painted: dict[bytes, Tensor] = {}
        self.materials = vertex_materials(model)  # (V, 5)

    def render(
        self,
        coefficients: Tensor,
        background: Tensor | None = None,
        albedo: Tensor | None = None,
        vertices: Tensor | None = None,
    ) -> Render:
        """Draw a batch.

        Args:
            coefficients: (B, K) in the model's layout.
            background: (B or 1, 3, S, S) in [0, 1]; black without.
            albedo: (B or 1, 3, T, T) in [0, 1] in place of the model's own; a fourth channel is the height in cm of
                fine relief, which tilts the normals.
            vertices: (B, V, 3) cm, posed, in place of the model's own.

        Returns:
            Render. Its image is differentiable in coefficients, background, albedo and vertices where one of them asks
            for a gradient (the PyTorch path, slower); silhouettes and shadows are constants. Without, a compiled path
            draws on the CPU.
        """
        if coefficients.ndim != 2:
            raise ValueError(f"coefficients must be (B, K), got {tuple(coefficients.shape)}")
        parts = self.model.layout.split(coefficients)
        if vertices is None:
            vertices = self.model.vertices(parts["shape"], parts["expression"], parts["pose"])
        if albedo is None:
            albedo = self._albedo(parts["texture"])
        if background is not None and background.shape[-2:] != (self.size, self.size):
            raise ValueError(f"background must be {self.size} × {self.size}, got {tuple(background.shape)}")
        return Render(self, parts, vertices, albedo, background)

    def _albedo(self, texture: Tensor) -> Tensor:
        """The model's albedo and relief; painting it takes longer than a render, and the frames of a clip share one."""
        if texture.requires_grad and torch.is_grad_enabled():
            return self.model.surface(texture, self.texture_size)
        keys = [row.tobytes() for row in texture.detach().cpu().numpy()]
        new = {key: row for row, key in enumerate(keys) if key not in self._painted}
        if new:
            fresh = self.model.surface(texture[list(new.values())], self.texture_size).detach()
            self._painted.update(zip(new, fresh))
        albedo = torch.stack([self._painted[key] for key in keys])
        for key in keys:  # most recently used last
            self._painted[key] = self._painted.pop(key)
        while len(self._painted) > _PAINTED:
            del self._painted[next(iter(self._painted))]
        return albedo


class Render:
    """A drawn batch. ``image`` and ``alpha`` are there at once; the rest is computed when asked for.

    At the output's pixel centres: ``fragments``, ``normals``, ``uv``, ``depth``; zeros where no head is seen.
    By the samples inside each pixel: ``image``, ``alpha``, ``parsing``.

    Attributes:
        image: (B, 3, S, S) RGB in [0, 1] over the background.
        alpha: (B, 1, S, S) share of the pixel that the head covers.
        premultiplied: (B, 3, S, S) the head alone, times alpha; image = premultiplied + (1 − alpha) · background.
        vertices: (B, V, 3) camera space, cm.
        projected: (B, V, 3) normalised x right, y down; depth in cm.
        vertex_normals: (B, V, 3) unit, camera space.
    """

    def __init__(
        self, renderer: Renderer, parts: dict[str, Tensor], vertices: Tensor, albedo: Tensor, background: Tensor | None
    ) -> None:
        self._renderer, self._parts, self._posed = renderer, parts, vertices
        camera = renderer.camera
        self.vertices = camera.centred(vertices)
        self.projected = camera.project(self.vertices, parts["camera"])
        self.light = light_from_coefficients(parts["light"])
        inputs = (self.projected, albedo, self.light)
        wants_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
        on_cpu = renderer.device.type == "cpu"
        draw = draw_compiled if on_cpu and not wants_gradient else draw_torch
        self.vertex_normals, self._faces, self.premultiplied, self.alpha = draw(self, albedo)
        self.image = self.premultiplied
        if background is not None:
            self.image = self.premultiplied + (1 - self.alpha) * background

    @cached_property
    def fragments(self) -> Fragments:
        """What the pixel centres of the S × S frame see."""
        r = self._renderer
        points = to_px(self.projected, r.size)
        return rasterize(points, r.triangles, r.size, perspective=r.perspective, cull=r.cull)

    @cached_property
    def normals(self) -> Tensor:
        """(B, 3, S, S) unit normals in camera space."""
        values = interpolate(self.vertex_normals, self._renderer.triangles, self.fragments)
        return F.normalize(values, dim=-1, eps=1e-9).permute(0, 3, 1, 2)

    @cached_property
    def uv(self) -> Tensor:
        """(B, 2, S, S) place in the model's atlas, in [0, 1], v down."""
        corners = self._renderer.uv[self.fragments.face.clamp(min=0)]
        return torch.einsum("bhwk,bhwkc->bchw", self.fragments.barycentric, corners)

    @cached_property
    def depth(self) -> Tensor:
        """(B, 1, S, S) cm from the camera along its axis."""
        return interpolate(self.projected[..., 2:], self._renderer.triangles, self.fragments).permute(0, 3, 1, 2)

    @cached_property
    def parsing(self) -> Tensor:
        """(B, 19, S, S) share of every class of ``faces.parsing`` in the pixel; sums to 1."""
        r = self._renderer
        if r.device.type == "cpu":
            return parsing_compiled(self._faces, r)
        return parsing_torch(self._faces, r)

    @cached_property
    def _landmarks(self) -> Tensor:
        camera = self._renderer.camera
        points = self._renderer.model.landmarks(self._posed, self._parts["pose"])
        return camera.project(camera.centred(points), self._parts["camera"])

    @cached_property
    def landmarks(self) -> Tensor:
        """(B, 68, 2) normalised, wherever they are, hidden or not."""
        return self._landmarks[..., :2]

    @cached_property
    def landmarks_visible(self) -> Tensor:
        """(B, 68) bool: inside the frame and not behind another part of the head (its silhouette counts as visible)."""
        size = self._renderer.size
        place = to_px(self._landmarks.detach(), size)
        depth = self.depth.detach().masked_fill(~self.fragments.mask[:, None], torch.inf)
        farthest = F.max_pool2d(F.pad(depth, (1, 1, 1, 1), value=torch.inf), 3, stride=1)[:, 0]
        column, row = place[..., :2].round().long().unbind(-1)
        inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        batch = torch.arange(len(place), device=place.device)[:, None]
        surface = farthest[batch, row.clamp(0, size - 1), column.clamp(0, size - 1)]
        return inside & (place[..., 2] <= surface + 2 * _DEPTH_TOLERANCE_CM)


def correspondence(source: Render, target: Render, *, static_background: bool = False) -> tuple[Tensor, Tensor]:
    """Where in ``source`` every pixel centre of ``target`` comes from; exact, as both show one topology.

    Args:
        source: render sampled from.
        target: render whose pixels ask; same renderer settings and batch size.
        static_background: also match pixels outside of both heads, to themselves.

    Returns:
        Backward flow (B, S, S, 2), normalised, for ``grid_sample(source.image, flow, align_corners=False)``, identity
        outside of the head; valid (B, 1, S, S) in {0, 1}: seen in both.
    """
    r = source._renderer
    if r.triangles.shape != target._renderer.triangles.shape or len(source.vertices) != len(target.vertices):
        raise ValueError("correspondence needs two renders of one head model with the same number of images")
    seen = target.fragments
    size = target._renderer.size
    points = interpolate(source.vertices, r.triangles, seen).flatten(1, 2)
    place = r.camera.project(points, source._parts["camera"])
    valid = _visible_at(source, place, seen.face.flatten(1)).unflatten(1, (size, size)) & seen.mask
    axis = (2 * torch.arange(size, device=place.device, dtype=place.dtype) + 1) / size - 1
    still = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    flow = torch.where(seen.mask[..., None], place[..., :2].unflatten(1, (size, size)), still)
    if static_background:
        source_empty = ~source.fragments.mask
        if source_empty.shape[-1] != size:
            raise ValueError("a static background needs renders of one size")
        valid = valid | (~seen.mask & source_empty)
    return flow, valid[:, None].to(flow.dtype)


def _visible_at(render: Render, place: Tensor, face: Tensor) -> Tensor:
    """(B, N) bool: is the point at ``place`` (B, N, 3: normalised, depth) of ``face`` (B, N) seen in ``render``?"""
    r = render._renderer
    side = r.size * r.supersample
    points = to_px(place, side)
    column, row = points[..., :2].round().long().unbind(-1)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    batch = torch.arange(len(place), device=place.device)[:, None]
    front = render._faces[batch, row.clamp(0, side - 1), column.clamp(0, side - 1)].long()
    # the sample's face is extended as a plane to the exact point: no stair steps between samples
    corners = to_px(render.projected, side)[batch[..., None], r.triangles[front.clamp(min=0)]]  # (B, N, 3, 3)
    dx, dy = (corners[..., c] - points[..., None, c] for c in (0, 1))
    nxt, prv = [1, 2, 0], [2, 0, 1]
    areas = dx[..., nxt] * dy[..., prv] - dx[..., prv] * dy[..., nxt]
    if r.perspective:
        areas = areas / corners[..., 2]
    total = areas.sum(-1)
    depth = (areas * corners[..., 2]).sum(-1) / torch.where(total.abs() < 1e-9, torch.ones_like(total), total)
    nearest, farthest = corners[..., 2].amin(-1), corners[..., 2].amax(-1)
    depth = torch.where(total.abs() < 1e-9, farthest, depth.clamp(nearest, farthest))
    return inside & (front >= 0) & ((front == face) | (points[..., 2] <= depth + _DEPTH_TOLERANCE_CM))
