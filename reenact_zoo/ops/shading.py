"""Shading of a head: spherical-harmonics light, occlusion, and highlights that look like skin rather than plastic.

All directions are unit vectors in camera space (x right, y up, z towards the camera). Colours are display values
(sRGB-like); light is added up in their squares (a gamma of 2, cheap and close to 2.2), which gives skin its soft
terminator.
``ops._shading_kernels`` holds the same formulas compiled for the CPU; a test keeps the two equal.

Light is 27 numbers, 9 bands × 3 colours, band by band (r, g, b of band 0, then of band 1 …), bands in the order
1, y, z, x, xy, yz, 3z²−1, xz, x²−y² of the orthonormal real harmonics; they are added to ``neutral_light``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Orthonormal harmonics times A_l / π = 1, 2/3, 1/4 (Ramamoorthi and Hanrahan 2001, eq. 8): radiance in, reflected light
# of a white diffuse surface out.
C0, C1, C2, C20 = 0.282095, 0.488603 * 2 / 3, 1.092548 / 4, 0.315392 / 4
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601

# Light that has wandered under the skin comes out smoother, red most: bands 1 and 2 are damped by these shares (r, g,
# b), and band 0 gains what keeps a frontal surface under the neutral light about as bright.
DAMP_1, DAMP_2, GAIN_0 = (0.16, 0.05, 0.02), (0.55, 0.25, 0.15), (0.24, 0.10, 0.05)
AMBIENT_SHARE, NEUTRAL_ELEVATION_DEG = 0.36, 25.0
F0 = 0.04  # reflectance of skin, water and enamel at normal incidence
SHOULDER = 0.85  # display values above are compressed instead of clipped
DARKEST = 0.015
LEAST_FACING = 0.3  # cosine between a normal and its triangle's, below which a relief is flattened


class Material(NamedTuple):
    """How a surface answers to light.

    Attributes:
        specular: strength of the highlight relative to a smooth wet surface.
        gloss: exponent of the highlight's narrow lobe; larger is sharper.
        sheen: soft reflection at grazing angles (down, cloth, hair).
        subsurface: 0 opaque … 1 light wraps around, red farther than blue.
        openness: share of the occlusion that is ignored, for translucent things that glow in the shade.
    """

    specular: float
    gloss: float
    sheen: float
    subsurface: float
    openness: float = 0.0


def spherical_harmonics(directions: Tensor) -> Tensor:
    """(…, 3) unit vectors → (…, 9) basis with the cosine lobe folded in; band order as in the module's text."""
    x, y, z = directions.unbind(-1)
    bands = (
        torch.full_like(x, C0),
        C1 * y,
        C1 * z,
        C1 * x,
        C2 * x * y,
        C2 * y * z,
        C20 * (3 * z * z - 1),
        C2 * x * z,
        0.5 * C2 * (x * x - y * y),
    )
    return torch.stack(bands, dim=-1)


def soft_light(direction: Tensor, colour: Tensor, ambient: Tensor) -> Tensor:
    """Radiance coefficients (…, 9, 3) of an ambient light plus a distant one.

    Args:
        direction: (…, 3) towards the distant light; need not be of unit length.
        colour: (…, 3) light that a white surface facing ``direction`` reflects (to 6 %), linear, 1 is white.
        ambient: (…, 3) light that it reflects from all around, linear.
    """
    # a distant light is a delta: its coefficients are π Y; the basis here is Y A_l / π
    inverse_lobe = torch.tensor([1.0] + [1.5] * 3 + [4.0] * 5, dtype=direction.dtype, device=direction.device)
    delta = math.pi * spherical_harmonics(F.normalize(direction, dim=-1)) * inverse_lobe
    light = delta[..., None] * colour[..., None, :]
    constant = F.pad((ambient / C0)[..., None, :], (0, 0, 0, 8))
    return light + constant


def neutral_light(dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """(9, 3) light of zero coefficients: white, large and soft, in front and a little above; irradiance 1 along +z."""
    elevation = math.radians(NEUTRAL_ELEVATION_DEG)
    direction = torch.tensor([0.0, math.sin(elevation), math.cos(elevation)], dtype=dtype, device=device)
    ones = torch.ones(3, dtype=dtype, device=device)
    light = soft_light(direction, (1 - AMBIENT_SHARE) * ones, AMBIENT_SHARE * ones)
    front = spherical_harmonics(torch.tensor([0.0, 0.0, 1.0], dtype=dtype, device=device)) @ light
    return light / front


def light_from_coefficients(coefficients: Tensor) -> Tensor:
    """(B, 27) → (B, 9, 3) radiance coefficients: the neutral light plus the coefficients."""
    if coefficients.shape[-1] != 27:
        raise ValueError(f"light needs 27 coefficients, got {coefficients.shape[-1]}")
    light: Tensor = coefficients.unflatten(-1, (9, 3))
    return neutral_light(coefficients.dtype, coefficients.device) + light


def coefficients_from_light(light: Tensor) -> Tensor:
    """Inverse of ``light_from_coefficients``: (B, 9, 3) → (B, 27); use it with ``soft_light`` to place a lamp."""
    return (light - neutral_light(light.dtype, light.device)).flatten(-2)


def key_light(light: Tensor) -> tuple[Tensor, Tensor]:
    """The one distant lamp that explains band 1 best: (B, 9, 3) → direction (B, 3), colour (B, 3) >= 0."""
    weights = torch.tensor(LUMINANCE, dtype=light.dtype, device=light.device)
    first = light[:, [3, 1, 2]]  # x, y, z rows
    direction = F.normalize(first @ weights + light.new_tensor([0.0, 0.0, 1e-4]), dim=-1)
    colour = (first * direction[..., None]).sum(1) / (math.pi * 1.5 * C1)
    return direction, colour.clamp(min=0)


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """(B, V, 3), (F, 3) → (B, V, 3) unit normals, mean of the triangles around a vertex by area; zeros where unused."""
    a, b, c = (vertices[:, triangles[:, k]] for k in range(3))
    face = torch.linalg.cross(b - a, c - a)
    index = triangles.reshape(-1)
    total = torch.zeros_like(vertices).index_add(1, index, face.repeat_interleave(3, dim=1))
    return F.normalize(total, dim=-1, eps=1e-12)


def sample_texture(texture: Tensor, image: Tensor, uv: Tensor) -> Tensor:
    """Bilinear texture (B, 3, T, T) at N points, image (N,), uv (N, 2) in [0, 1], v down → (N, 3); borders repeat."""
    height, width = texture.shape[-2:]
    x = (uv[:, 0] * width - 0.5).clamp(0, width - 1)
    y = (uv[:, 1] * height - 0.5).clamp(0, height - 1)
    x0, y0 = x.detach().floor().clamp(max=max(width - 2, 0)), y.detach().floor().clamp(max=max(height - 2, 0))
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    column, row = x0.long(), y0.long()
    right, below = (column + 1).clamp(max=width - 1), (row + 1).clamp(max=height - 1)
    upper = texture[image, :, row, column] * (1 - fx) + texture[image, :, row, right] * fx
    lower = texture[image, :, below, column] * (1 - fx) + texture[image, :, below, right] * fx
    return upper * (1 - fy) + lower * fy


def texture_slope(texture: Tensor, image: Tensor, uv: Tensor) -> Tensor:
    """Derivatives by u and v (N, 2) of the bilinear heights (B, T, T) at N points; arguments as ``sample_texture``."""
    height, width = texture.shape[-2:]
    x = (uv[:, 0].detach() * width - 0.5).clamp(0, width - 1)
    y = (uv[:, 1].detach() * height - 0.5).clamp(0, height - 1)
    x0, y0 = x.floor().clamp(max=max(width - 2, 0)), y.floor().clamp(max=max(height - 2, 0))
    fx, fy = x - x0, y - y0
    column, row = x0.long(), y0.long()
    right, below = (column + 1).clamp(max=width - 1), (row + 1).clamp(max=height - 1)
    h00, h01 = texture[image, row, column], texture[image, row, right]
    h10, h11 = texture[image, below, column], texture[image, below, right]
    across = (h01 - h00) * (1 - fy) + (h11 - h10) * fy
    down = (h10 - h00) * (1 - fx) + (h11 - h01) * fx
    return torch.stack((across * width, down * height), dim=-1)


def bumped(normal: Tensor, corners: Tensor, uv: Tensor, slope: Tensor) -> Tensor:
    """Normals tilted by a relief (Blinn 1978; the surface gradient by Mikkelsen 2010, "Bump mapping unparametrized
    surfaces on the GPU", eq. 4).

    Args:
        normal: (N, 3) unit.
        corners: (N, 3, 3) the triangle under each point, in the unit of the height.
        uv: (N, 3, 2) its place on the atlas.
        slope: (N, 2) derivatives of the height by u and v.

    Returns:
        (N, 3) unit; the given normal where the slope is zero or the triangle has no area.
    """
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    rise_1 = ((uv[:, 1] - uv[:, 0]) * slope).sum(-1, keepdim=True)
    rise_2 = ((uv[:, 2] - uv[:, 0]) * slope).sum(-1, keepdim=True)
    plane = torch.linalg.cross(first, second)
    # an interpolated normal may lean far from its triangle's at a silhouette
    area = torch.maximum((normal * plane).sum(-1, keepdim=True), LEAST_FACING * plane.norm(dim=-1, keepdim=True))
    rise = rise_1 * torch.linalg.cross(second, normal) + rise_2 * torch.linalg.cross(normal, first)
    return F.normalize(normal - rise / area.clamp(min=1e-9), dim=-1)


def shade(
    albedo: Tensor, normal: Tensor, view: Tensor, occlusion: Tensor, material: Tensor, light: Tensor, image: Tensor
) -> Tensor:
    """Colour of N surface points; differentiable.

    Args:
        albedo: (N, 3) display RGB in [0, 1].
        normal: (N, 3) unit.
        view: (N, 3) unit, towards the camera.
        occlusion: (N,) share of the light that arrives, in [0, 1]; the material's openness is already in it.
        material: (N, 4) the first four fields of ``Material``.
        light: (B, 9, 3) radiance coefficients.
        image: (N,) int64, which of the B lights each point is under.

    Returns:
        (N, 3) display RGB in [0, 1]. Under the neutral light a surface facing +z without highlight shows its albedo.
    """
    specular, gloss, sheen, subsurface = material.unbind(-1)
    received = _irradiance(normal, light, image, subsurface)
    base = albedo.square()
    diffuse = base * received * _bounced(occlusion[:, None], base)
    facing = (normal * view).sum(-1).clamp(0, 1)
    grazing = (1 - facing) ** 4
    rim = (sheen * grazing * occlusion)[:, None] * received
    highlight = (specular * occlusion.square())[:, None] * _highlight(normal, view, gloss, light, image)
    value = (diffuse + rim + highlight).clamp(min=1e-8).sqrt()
    over = (value - SHOULDER).clamp(min=0) / (1 - SHOULDER)
    return value.clamp(max=SHOULDER) + (1 - SHOULDER) * over / (1 + over)


def _irradiance(normal: Tensor, light: Tensor, image: Tensor, subsurface: Tensor) -> Tensor:
    basis = spherical_harmonics(normal)
    coefficients = light[image]  # (N, 9, 3)
    s = subsurface[:, None]
    scale = [1 + s * s.new_tensor(GAIN_0), 1 - s * s.new_tensor(DAMP_1), 1 - s * s.new_tensor(DAMP_2)]
    bands = (slice(0, 1), slice(1, 4), slice(4, 9))
    parts = [scale[k] * torch.einsum("nk,nkc->nc", basis[:, b], coefficients[:, b]) for k, b in enumerate(bands)]
    return (parts[0] + parts[1] + parts[2]).clamp(min=DARKEST)


def _bounced(occlusion: Tensor, albedo: Tensor) -> Tensor:
    """Occlusion with the light that bright surfaces bounce to each other: a crease in skin is red, not grey.

    Cubic fit of Jimenez et al. 2016, "Practical real-time strategies for accurate indirect occlusion".
    """
    a = 2.0404 * albedo - 0.3324
    b = -4.7951 * albedo + 0.6417
    c = 2.7552 * albedo + 0.6903
    return torch.maximum(occlusion, ((a * occlusion + b) * occlusion + c) * occlusion)


def _highlight(normal: Tensor, view: Tensor, gloss: Tensor, light: Tensor, image: Tensor) -> Tensor:
    direction, colour = key_light(light)
    towards = direction[image]
    half = F.normalize(towards + view + 1e-6, dim=-1)
    nh = (normal * half).sum(-1).clamp(0, 1)
    nl = (normal * towards).sum(-1).clamp(0, 1)
    vh = (view * half).sum(-1).clamp(0, 1)
    fresnel = F0 + (1 - F0) * (1 - vh) ** 5
    broad = 0.4 * gloss + 1
    lobes = 0.5 * _lobe(nh, gloss) + 0.5 * _lobe(nh, broad)
    return (fresnel * lobes * nl)[:, None] * colour[image]


def _lobe(cosine: Tensor, exponent: Tensor) -> Tensor:
    """Normalised Blinn lobe; the power by the square of Schlick's rational form (1994), much cheaper and smooth."""
    half = 0.5 * exponent
    fraction = cosine / (half - half * cosine + cosine).clamp(min=1e-6)
    return (exponent + 2) / 8 * fraction.square()
