import math

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from torch.nn import functional as F

from reenact_zoo.ops.occlusion import dome, occlusion
from reenact_zoo.ops.shading import (
    bumped,
    coefficients_from_light,
    key_light,
    light_from_coefficients,
    neutral_light,
    sample_texture,
    shade,
    soft_light,
    spherical_harmonics,
    texture_slope,
    vertex_normals,
)

MATTE = (0.0, 10.0, 0.0, 0.0)


def _lattice(count: int) -> torch.Tensor:
    """Evenly spread unit vectors (count, 3), float64."""
    k = np.arange(count)
    z, angle = 1 - (2 * k + 1) / count, k * np.pi * (3 - np.sqrt(5))
    return torch.from_numpy(np.stack((np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z), 1))


def _hull(points: torch.Tensor) -> torch.Tensor:
    triangles = ConvexHull(points.numpy()).simplices
    a, b, c = (points.numpy()[triangles[:, i]] for i in range(3))
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return torch.from_numpy(triangles.astype(np.int64))


def _shade(normal, light, albedo=0.6, material=MATTE, occlusion=None):
    n = len(normal)
    return shade(
        albedo=torch.as_tensor(albedo).expand(n, 3),
        normal=normal,
        view=torch.tensor([0.0, 0, 1]).expand(n, 3),
        occlusion=torch.ones(n) if occlusion is None else occlusion,
        material=torch.tensor(material).expand(n, 4),
        light=light[None],
        image=torch.zeros(n, dtype=torch.long),
    )


def test_the_basis_is_the_cosine_lobe_integrated_over_the_sphere():
    """Sums of radiance Y_k times the clamped cosine over a dense lattice of directions."""
    directions = _lattice(40000)
    lobe = torch.tensor([1.0] + [2 / 3] * 3 + [0.25] * 5, dtype=torch.float64)
    harmonics = spherical_harmonics(directions) / lobe  # radiance basis
    gram = 4 * math.pi * (harmonics.T @ harmonics) / len(directions)
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=1e-3, rtol=0)
    normals = _lattice(7)
    cosine = (normals @ directions.T).clamp(min=0)
    received = 4 * cosine @ harmonics / len(directions)  # ∫ L cos / π over 4π steradians
    torch.testing.assert_close(received, spherical_harmonics(normals), atol=1e-3, rtol=0)


def test_a_distant_lamp_lights_a_sphere_by_lamberts_law_as_far_as_three_bands_reach():
    towards = torch.tensor([0.6, 0.48, 0.64], dtype=torch.float64)
    light = soft_light(towards, torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    normals = _lattice(500)
    cosine = normals @ towards
    received = spherical_harmonics(normals) @ light
    closed = 0.25 + 0.5 * cosine + 5 / 32 * (3 * cosine**2 - 1)  # clamped cosine, bands 0 to 2
    torch.testing.assert_close(received[:, 0], closed, atol=1e-4, rtol=0)  # constants are given to six digits
    assert (received[:, 0] - cosine.clamp(min=0)).abs().max() < 0.1  # and that is close to Lambert


def test_zero_coefficients_show_the_albedo_of_a_surface_that_faces_the_camera():
    light = light_from_coefficients(torch.zeros(1, 27))[0]
    colour = _shade(torch.tensor([[0.0, 0, 1]]), light)
    torch.testing.assert_close(colour, torch.full((1, 3), 0.6), atol=1e-5, rtol=0)
    skin = _shade(torch.tensor([[0.0, 0, 1]]), light, material=(0.0, 10.0, 0.0, 1.0))
    torch.testing.assert_close(skin, torch.full((1, 3), 0.6), atol=6e-3, rtol=0)  # subsurface gains are rounded


def test_the_neutral_light_is_white_symmetric_and_from_above():
    received = spherical_harmonics(_lattice(400).float()) @ neutral_light()
    assert received.min() > 0
    torch.testing.assert_close(received[:, 0], received[:, 2])
    up, down, left, right = (
        spherical_harmonics(torch.tensor([[0.0, 1, 0], [0, -1, 0], [-1, 0, 0], [1, 0, 0]])) @ neutral_light()
    )
    assert up[0] > down[0]
    torch.testing.assert_close(left, right)


def test_coefficients_place_a_lamp_and_are_found_again():
    direction = F.normalize(torch.tensor([[-1.0, 0.5, 0.3], [0.2, 1.0, 0.5]]), dim=-1)
    colour = torch.tensor([[0.9, 0.7, 0.5], [0.3, 0.4, 0.6]])
    light = soft_light(direction, colour, torch.full((2, 3), 0.2))
    torch.testing.assert_close(light_from_coefficients(coefficients_from_light(light)), light)
    found, strength = key_light(light)
    torch.testing.assert_close(found, direction, atol=1e-3, rtol=0)
    torch.testing.assert_close(strength, colour, atol=1e-3, rtol=0)


def test_a_lamp_on_the_right_brightens_the_right_side():
    light = soft_light(torch.tensor([1.0, 0, 0.2]), torch.ones(3), torch.full((3,), 0.1))
    right, left = _shade(F.normalize(torch.tensor([[0.7, 0, 0.7], [-0.7, 0, 0.7]]), dim=-1), light)
    assert (right > left + 0.1).all()


def test_subsurface_keeps_the_dark_side_warm():
    light = soft_light(torch.tensor([1.0, 0, 0.0]), torch.ones(3), torch.full((3,), 0.1))
    normal = F.normalize(torch.tensor([[-0.3, 0, 1.0]]), dim=-1)
    stone, skin = _shade(normal, light), _shade(normal, light, material=(0.0, 10.0, 0.0, 1.0))
    assert skin[0, 0] > stone[0, 0]
    assert skin[0, 0] > skin[0, 2]


def test_the_highlight_peaks_half_way_between_eye_and_lamp_and_sharpens_with_gloss():
    towards = F.normalize(torch.tensor([0.5, 0.5, 0.7]), dim=0)
    light = soft_light(towards, torch.ones(3), torch.full((3,), 0.2))
    angles = torch.linspace(-60, 60, 241)
    half = F.normalize(towards + torch.tensor([0.0, 0, 1]), dim=0)
    side = F.normalize(torch.linalg.cross(half, torch.tensor([0.3, -1.0, 0.2])), dim=0)
    normals = torch.cos(torch.deg2rad(angles))[:, None] * half + torch.sin(torch.deg2rad(angles))[:, None] * side

    def gain(gloss: float) -> torch.Tensor:
        return (_shade(normals, light, 0.3, (1.0, gloss, 0, 0)).square() - _shade(normals, light, 0.3).square())[:, 0]

    soft, sharp = gain(20.0), gain(200.0)
    assert abs(angles[soft.argmax()]) < 4
    assert abs(angles[sharp.argmax()]) < 2
    assert sharp.max() > soft.max()
    assert (sharp > 0.5 * sharp.max()).sum() < (soft > 0.5 * soft.max()).sum()


def test_occluded_skin_is_darker_and_redder():
    front = torch.tensor([[0.0, 0, 1]])
    albedo = torch.tensor([[0.8, 0.6, 0.5]])
    bright = _shade(front, neutral_light(), albedo=albedo)
    dark = _shade(front, neutral_light(), albedo=albedo, occlusion=torch.full((1,), 0.3))
    assert (dark < bright).all()
    assert dark[0, 0] / dark[0, 2] > bright[0, 0] / bright[0, 2]


def test_shading_passes_gradcheck():
    g = torch.Generator().manual_seed(0)
    n = 5
    normal = F.normalize(torch.randn(n, 3, generator=g, dtype=torch.float64) + torch.tensor([0, 0, 2.0]), dim=-1)
    view = F.normalize(torch.tensor([0.1, -0.1, 1.0], dtype=torch.float64), dim=0).expand(n, 3)
    light = light_from_coefficients(0.1 * torch.randn(2, 27, generator=g, dtype=torch.float64))
    albedo = 0.3 + 0.3 * torch.rand(n, 3, generator=g, dtype=torch.float64)
    material = torch.tensor([0.8, 30.0, 0.1, 1.0], dtype=torch.float64).expand(n, 4)
    shadow = torch.linspace(0.4, 0.9, n, dtype=torch.float64)
    image = torch.tensor([0, 1, 0, 1, 1])
    inputs = [t.clone().requires_grad_() for t in (albedo, normal, view, shadow, light)]
    assert torch.autograd.gradcheck(lambda a, m, v, o, lamp: shade(a, m, v, o, material, lamp, image), inputs)


def test_texture_lookup_agrees_with_grid_sample():
    g = torch.Generator().manual_seed(1)
    texture, uv = torch.rand(2, 3, 9, 9, generator=g), torch.rand(2, 50, 2, generator=g) * 1.2 - 0.1
    expected = F.grid_sample(texture, 2 * uv[:, None] - 1, padding_mode="border", align_corners=False)[:, :, 0]
    image = torch.arange(2).repeat_interleave(50)
    torch.testing.assert_close(sample_texture(texture, image, uv.flatten(0, 1)), expected.transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize("compiled", [False, True])
def test_normals_of_a_sphere_point_outwards(compiled):
    points = _lattice(800)
    triangles = _hull(points)
    if compiled:
        from reenact_zoo.ops._shading_kernels import vertex_normals as kernel

        out = np.empty((800, 3), np.float32)
        kernel(points.float().numpy(), triangles.numpy(), out)
        normals = torch.from_numpy(out).double()
    else:
        normals = vertex_normals(points[None], triangles)[0]
    assert (normals * points).sum(-1).min() > 0.995  # facets are 4° wide


def test_lamps_of_the_dome_are_orthonormal_frames():
    frames = dome(30)
    torch.testing.assert_close(frames @ frames.transpose(1, 2), torch.eye(3).expand(30, 3, 3), atol=1e-6, rtol=0)
    assert torch.linalg.det(frames).min() > 0.99


def _ball_over_floor() -> tuple[torch.Tensor, torch.Tensor]:
    """A ball of radius 1 hovers 1.4 in front of a 21 × 21 floor that faces +z: (V, 3) with the floor first, (F, 3)."""
    axis = torch.linspace(-4, 4, 21)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    floor = torch.stack((x, y, torch.zeros_like(x)), -1).reshape(-1, 3)
    cell = (torch.arange(20)[:, None] * 21 + torch.arange(20)).reshape(-1, 1)
    tiles = torch.cat((cell + torch.tensor([0, 1, 22]), cell + torch.tensor([0, 22, 21])))
    ball = _lattice(400)
    return torch.cat((floor, ball.float() + torch.tensor([0, 0, 1.4]))), torch.cat((tiles, _hull(ball) + 441))


def test_a_ball_shades_the_floor_below_it_and_not_itself():
    vertices, triangles = _ball_over_floor()
    normals = vertex_normals(vertices[None], triangles)
    values = occlusion(vertices[None], triangles, normals, neutral_light()[None], lamps=64, resolution=160)[0]
    assert values.min() >= 0
    assert values.max() <= 1
    floor = values[:441].view(21, 21)
    # under an even sky a ball of angular radius asin(1 / 1.4) hides sin² = 0.51; this sky is brighter in front: more
    assert floor[10, 10] < 0.5
    assert floor[1, 1] > 0.85
    front = values[441:][_lattice(400)[:, 2] > 0.3]
    assert front.min() > 0.95


def test_both_occlusion_kernels_agree():
    vertices, triangles = _ball_over_floor()
    batch = torch.stack((vertices, vertices * torch.tensor([1.0, 0.8, 1.2])))
    normals = vertex_normals(batch, triangles)
    light = light_from_coefficients(0.2 * torch.randn(2, 27, generator=torch.Generator().manual_seed(0)))
    a = occlusion(batch, triangles, normals, light, lamps=9, resolution=48, kernel="numba")
    b = occlusion(batch, triangles, normals, light, lamps=9, resolution=48, kernel="torch")
    # comparisons of float32 depths may fall either way for a few vertices
    assert (a - b).abs().mean() < 1e-3
    assert ((a - b).abs() < 1e-3).float().mean() > 0.98


def _tile() -> tuple[torch.Tensor, torch.Tensor]:
    """A triangle that faces +z, 4 wide, under an atlas that it fills: u to the right, v down."""
    corners = torch.tensor([[[-2.0, -2, 0], [2, -2, 0], [-2, 2, 0]]])
    return corners, torch.tensor([[[0.0, 1], [1, 1], [0, 0]]])


def test_a_flat_relief_leaves_the_normals_alone():
    corners, uv = _tile()
    normal = F.normalize(torch.tensor([[0.3, -0.2, 1.0]]), dim=-1)
    assert torch.equal(bumped(normal, corners, uv, torch.zeros(1, 2)), F.normalize(normal, dim=-1))


def test_a_planted_slope_tilts_the_normal_by_its_angle_and_the_light_with_it():
    """A height that rises to the right by 0.25 per length is a plane with the normal (-0.25, 0, 1)."""
    corners, uv = _tile()
    front = torch.tensor([[0.0, 0, 1]])
    size = 16
    ramp = 0.25 * 4 * (torch.arange(size) + 0.5).div(size).expand(1, size, size)
    slope = texture_slope(ramp, torch.zeros(1, dtype=torch.long), torch.tensor([[0.4, 0.6]]))
    tilted = bumped(front, corners, uv, slope)
    torch.testing.assert_close(tilted, F.normalize(torch.tensor([[-0.25, 0, 1.0]]), dim=-1), atol=1e-5, rtol=0)
    upwards = bumped(front, corners, uv, texture_slope(ramp.mT, torch.zeros(1, dtype=torch.long), uv.mean(1)))
    torch.testing.assert_close(upwards, F.normalize(torch.tensor([[0, 0.25, 1.0]]), dim=-1), atol=1e-5, rtol=0)
    left = soft_light(torch.tensor([-1.0, 0, 0.5]), torch.ones(3), torch.full((3,), 0.1))
    right = soft_light(torch.tensor([1.0, 0, 0.5]), torch.ones(3), torch.full((3,), 0.1))
    assert _shade(tilted, left).mean() > _shade(front, left).mean() + 0.02
    assert _shade(tilted, right).mean() < _shade(front, right).mean() - 0.02


def test_slopes_are_the_derivatives_of_the_texture_lookup():
    g = torch.Generator().manual_seed(2)
    heights = torch.rand(2, 1, 12, 12, generator=g, dtype=torch.float64)
    cell = torch.randint(1, 10, (40, 2), generator=g) + 0.5  # away from the texels' edges, where the slope jumps
    uv = (cell + 0.1 + 0.8 * torch.rand(40, 2, generator=g, dtype=torch.float64)) / 12
    image, h = torch.arange(2).repeat_interleave(20), 1e-6
    for axis in range(2):
        step = h * torch.eye(2, dtype=torch.float64)[axis]
        plus, minus = (sample_texture(heights, image, uv + s * step)[:, 0] for s in (1, -1))
        slope = texture_slope(heights[:, 0], image, uv)[:, axis]
        torch.testing.assert_close(slope, (plus - minus) / (2 * h), atol=1e-6, rtol=1e-6)


def test_compiled_and_pytorch_bumps_agree():
    from reenact_zoo.ops import _shading_kernels as kernels

    g = torch.Generator().manual_seed(3)
    corners, uv = torch.randn(60, 3, 3, generator=g), torch.rand(60, 3, 2, generator=g)
    normal = F.normalize(torch.randn(60, 3, generator=g), dim=-1)
    slope = 0.5 * torch.randn(60, 2, generator=g)
    expected = bumped(normal, corners, uv, slope)
    for n in range(60):
        table = np.zeros((3, kernels.COLUMNS), np.float32)
        table[:, kernels.POSITION : kernels.POSITION + 3] = corners[n].numpy()
        row = np.zeros(kernels.COLUMNS)
        row[:3] = 2.0 * normal[n].numpy()  # interpolated normals are not of unit length
        kernels._bump(row, table, uv.numpy(), n, 0, 1, 2, float(slope[n, 0]), float(slope[n, 1]))
        found = F.normalize(torch.from_numpy(row[:3]), dim=0).float()
        torch.testing.assert_close(found, expected[n], atol=1e-4, rtol=0)
