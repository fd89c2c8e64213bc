import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull, Delaunay

from reenact_zoo.ops.rasterize import SUBPIXEL, barycentric_weights, interpolate, rasterize

KERNELS = ["numba", "torch"]


def _soup(seed: int, count: int = 300, size: float = 64.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random triangles, some out of the frame, half of them with vertices exactly on pixel centres."""
    g = torch.Generator().manual_seed(seed)
    points = torch.rand(2, count, 3, generator=g) * torch.tensor([1.3 * size, 1.3 * size, 9.0])
    points = points - torch.tensor([0.15 * size, 0.15 * size, -1.0])
    points[:, ::2, :2] = points[:, ::2, :2].round()
    return points, torch.randint(0, count, (400, 3), generator=g)


def _sphere(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit sphere: hull of a Fibonacci lattice, triangles counter-clockwise seen from outside."""
    k = np.arange(count)
    z, angle = 1 - (2 * k + 1) / count, k * np.pi * (3 - np.sqrt(5))
    points = np.stack((np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z), 1)
    triangles = ConvexHull(points).simplices
    a, b, c = (points[triangles[:, i]] for i in range(3))
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return torch.from_numpy(points).float(), torch.from_numpy(triangles.astype(np.int64))


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("cull", [True, False])
def test_both_kernels_find_the_same_faces_and_weights(perspective, cull):
    points, triangles = _soup(0)
    a = rasterize(points, triangles, (64, 80), perspective=perspective, cull=cull, kernel="numba")
    b = rasterize(points, triangles, (64, 80), perspective=perspective, cull=cull, kernel="torch")
    assert a.face.shape == (2, 64, 80)
    assert 0.5 < a.mask.float().mean() < 1
    assert torch.equal(a.face, b.face)
    torch.testing.assert_close(a.barycentric, b.barycentric, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_pixel_of_a_triangulated_square_is_covered_exactly_once(kernel):
    rng = np.random.default_rng(1)
    inner = rng.uniform(4, 44, (150, 2))
    inner[:80] = inner[:80].round()  # edges through pixel centres are where fill rules fail
    corners = np.array([[3.0, 3], [45, 3], [45, 45], [3, 45]])
    flat = np.round(np.concatenate([corners, inner]) * SUBPIXEL) / SUBPIXEL
    triangles = torch.from_numpy(Delaunay(flat).simplices.astype(np.int64))
    turned = torch.rand(len(triangles), generator=torch.Generator().manual_seed(0)) < 0.5
    triangles[turned] = triangles[turned].flip(-1)  # the rule must not depend on the winding
    points = torch.from_numpy(np.concatenate([flat, np.ones((len(flat), 1))], 1)).float()[None]
    count = sum(rasterize(points, t[None], 48, perspective=False, kernel=kernel).mask.long() for t in triangles)[0]
    expected = torch.zeros(48, 48, dtype=torch.long)
    expected[3:45, 3:45] = 1  # top and left borders belong to the square, bottom and right ones do not
    assert torch.equal(count, expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_tilted_plane_in_perspective_matches_ray_casting(kernel):
    """Pinhole at the origin, focal length 40 px: the ray of each pixel meets the plane in closed form."""
    focal, centre, size = 40.0, 23.5, 48
    origin, u, v = (torch.tensor(t, dtype=torch.float64) for t in ([-3.0, -2, 8], [6.0, 1, 4], [-1.0, 5, 2]))
    corners = torch.stack((origin, origin + u, origin + u + v, origin + v))
    screen = torch.cat((focal * corners[:, :2] / corners[:, 2:] + centre, corners[:, 2:]), 1)[None].float()
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize(screen, triangles, size, kernel=kernel)
    uv = interpolate(torch.tensor([[[0.0, 0], [1, 0], [1, 1], [0, 1]]]), triangles, fragments)[0].double()

    axis = (torch.arange(size, dtype=torch.float64) - centre) / focal
    rays = torch.stack((*torch.meshgrid(axis, axis, indexing="xy"), torch.ones(size, size, dtype=torch.float64)), -1)
    solved = torch.linalg.solve(torch.stack((rays, (-u).expand_as(rays), (-v).expand_as(rays)), -1), origin)
    distance, expected = solved[..., 0], solved[..., 1:]
    inside = (expected > 0).all(-1) & (expected < 1).all(-1) & (distance > 0)
    near_border = ((expected.abs() < 2e-3) | ((expected - 1).abs() < 2e-3)).any(
        -1
    )  # snapping may decide these either way
    assert torch.equal(fragments.mask[0] | near_border, inside | near_border)
    seen = fragments.mask[0] & inside
    assert seen.sum() > 400
    torch.testing.assert_close(uv[seen], expected[seen], atol=2e-3, rtol=0)  # 1/1024 px of snapping on a slanted plane
    depth = interpolate(screen[..., 2:], triangles, fragments)[0, ..., 0].double()
    torch.testing.assert_close(depth[seen], distance[seen], atol=0, rtol=1e-3)


def test_depth_is_the_distance_to_a_sphere():
    vertices, triangles = _sphere(4000)
    radius, distance, focal, size = 1.0, 5.0, 150.0, 96
    depth = distance - radius * vertices[:, 2]
    xy = focal * torch.stack((vertices[:, 0], -vertices[:, 1]), 1) / depth[:, None] + (size - 1) / 2
    fragments = rasterize(torch.cat((xy, depth[:, None]), 1)[None], triangles, size, cull=True)
    axis = (torch.arange(size) - (size - 1) / 2) / focal
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    a, c = 1 + x * x + y * y, distance**2 - radius**2
    under = distance**2 - a * c
    closed = (distance - under.clamp(min=0).sqrt()) / a
    rim = (under / distance**2).abs() < 4e-3  # the mesh is a polygon there
    assert torch.equal(fragments.mask[0] | rim, (under > 0) | rim)
    inner = (under > 0) & ~rim
    rendered = interpolate(depth[None, :, None], triangles, fragments)[0, ..., 0]
    torch.testing.assert_close(rendered[inner], closed[inner], atol=4e-3, rtol=0)  # sagitta of the facets: 1.5e-3


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("perspective", [True, False])
def test_the_nearer_face_wins_whatever_the_order(kernel, perspective):
    square = torch.tensor([[0.0, 0], [20, 0], [0, 20]])
    points = torch.cat([torch.cat((square, torch.full((3, 1), z)), 1) for z in (5.0, 2.0, 9.0)])[None]
    triangles = torch.arange(9).view(3, 3)
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        fragments = rasterize(points, triangles[order], 16, perspective=perspective, kernel=kernel)
        assert (fragments.face[0, :8, :8] == order.index(1)).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_two_crossing_planes_meet_where_their_depths_are_equal(kernel):
    corners = torch.tensor([[-40.0, -40], [120, -40], [-40, 120]])
    left = torch.cat((corners, (2 + 0.01 * corners[:, :1])), 1)
    right = torch.cat((corners, (2.16 - 0.01 * corners[:, :1])), 1)
    fragments = rasterize(
        torch.cat((left, right))[None], torch.arange(6).view(2, 3), 16, perspective=False, kernel=kernel
    )
    assert (fragments.face[0, :, :8] == 0).all()
    assert (fragments.face[0, :, 9:] == 1).all()  # equal at x = 8


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_depths_go_to_the_lower_index(kernel):
    points = torch.tensor([[[0.0, 0, 3], [9, 0, 3], [0, 9, 3]]])
    fragments = rasterize(points, torch.tensor([[0, 1, 2], [0, 1, 2]]), 8, kernel=kernel)
    assert set(fragments.face.unique().tolist()) == {-1, 0}


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_cannot_be_drawn_is_left_out(kernel):
    good = [[0.0, 0, 3], [9, 0, 3], [0, 9, 3]]
    behind = [[0.0, 0, -1], [9, 0, 1], [0, 9, 1]]
    broken = [[float("nan"), 0, 1], [9, 0, 1], [0, 9, 1]]
    far = [[0.0, 0, 1], [1e9, 0, 1], [0, 1e9, 1]]
    thin = [[0.0, 0, 1], [4, 4, 1], [8, 8, 1]]
    points = torch.tensor([[*good, *behind, *broken, *far, *thin]])
    fragments = rasterize(points, torch.arange(15).view(5, 3), 8, kernel=kernel)
    assert set(fragments.face.unique().tolist()) == {-1, 0}


@pytest.mark.parametrize("kernel", KERNELS)
def test_culling_keeps_triangles_that_are_counter_clockwise_with_y_up(kernel):
    points = torch.tensor([[[1.0, 12, 3], [12, 12, 3], [1, 1, 3]]])  # y down: lower left, lower right, upper left
    assert rasterize(points, torch.tensor([[0, 1, 2]]), 16, cull=True, kernel=kernel).mask.any()
    assert not rasterize(points, torch.tensor([[0, 2, 1]]), 16, cull=True, kernel=kernel).mask.any()


def test_an_empty_mesh_gives_an_empty_picture():
    for kernel in ("numba", "torch"):
        fragments = rasterize(torch.rand(1, 3, 3), torch.zeros(0, 3, dtype=torch.long), 8, kernel=kernel)
        assert not fragments.mask.any()


def test_many_small_chunks_give_the_same_picture(monkeypatch):
    from reenact_zoo.ops import rasterize as module

    points, triangles = _soup(3)
    whole = rasterize(points, triangles, 64, kernel="torch")
    monkeypatch.setattr(module, "_CANDIDATES", 1000)
    assert torch.equal(whole.face, rasterize(points, triangles, 64, kernel="torch").face)


def test_the_number_of_threads_does_not_change_the_picture():
    points, triangles = _soup(4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = rasterize(points[:1], triangles, 64)
        torch.set_num_threads(3)
        three = rasterize(points[:1], triangles, 64)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.face, three.face)
    assert torch.equal(one.barycentric, three.barycentric)


@pytest.mark.parametrize("perspective", [True, False])
def test_weights_are_differentiable(perspective):
    points = torch.tensor(
        [[[0.3, 0.2, 2.0], [6.1, 0.4, 3.0], [0.7, 6.6, 4.0]]], dtype=torch.float64, requires_grad=True
    )
    triangles = torch.tensor([[0, 1, 2]])
    face = rasterize(points.detach(), triangles, 6, perspective=perspective).face
    assert torch.autograd.gradcheck(lambda p: barycentric_weights(p, triangles, face, perspective=perspective), points)


def test_gradients_reach_the_points_through_rasterize():
    points, triangles = _soup(5)
    points.requires_grad_()
    fragments = rasterize(points, triangles, 32)
    plain = rasterize(points.detach(), triangles, 32)
    torch.testing.assert_close(fragments.barycentric.detach(), plain.barycentric, atol=2e-2, rtol=0)  # snapped or not
    interpolate(torch.rand(1, points.shape[1], 2), triangles, fragments).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert points.grad.abs().sum() > 0


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="points must be"):
        rasterize(torch.zeros(4, 3), torch.zeros(1, 3, dtype=torch.long), 8)
    with pytest.raises(ValueError, match="outside 0 … 3"):
        rasterize(torch.zeros(1, 4, 3), torch.tensor([[0, 1, 4]]), 8)
