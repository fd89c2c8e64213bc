from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.renderer import Camera
from reenact_zoo.methods.dcg_gan.proxy_head import ProxyHead
from reenact_zoo.methods.flow_renderer.rigid import (
    DEEP3D_DISTANCE,
    DEEP3D_FOCAL,
    ICT_REDUCED,
    HeadGeometry,
    RigidMotion,
    deep3d_motion,
    head_motion,
    identity_volume_grid,
    relative_motion,
    rigid_grid,
    traced,
)
from reenact_zoo.methods.flow_renderer.warp3d import warp_volume
from reenact_zoo.types import InputError

SHAPE = (4, 6, 8)  # D, H, W: all different, so that exchanged axes are seen
PATHS = ("native", "decomposed")


def _grid(batch: int = 1, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return identity_volume_grid(shape).expand(batch, -1, -1, -1, -1)


def _motions(count: int, seed: int = 0) -> RigidMotion:
    random = torch.Generator().manual_seed(seed)
    pose = torch.randn(count, 9, generator=random) * 20
    camera = torch.randn(count, 3, generator=random) * 0.1
    return head_motion(pose, camera)


# ------------------------------------------------------------------ the warp


@pytest.mark.parametrize("how", PATHS)
def test_zero_flow_reproduces_the_volume(how: str) -> None:
    volume = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(warp_volume(volume, _grid(2), how), volume, atol=1e-5)


@pytest.mark.parametrize("how", PATHS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_known_shift_moves_by_that_shift(axis: int, how: str) -> None:
    volume = torch.rand(1, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    dim = 4 - axis  # x is the last axis of the volume
    size = volume.shape[dim]
    shift = torch.zeros(3)
    shift[axis] = 2 / size  # one voxel
    kept, taken = volume.narrow(dim, 0, size - 1), volume.narrow(dim, 1, size - 1)
    whole = warp_volume(volume, _grid() + shift, how)
    assert torch.allclose(whole.narrow(dim, 0, size - 1), taken, atol=1e-5)
    assert not whole.narrow(dim, size - 1, 1).any()  # outside reads zero
    half = warp_volume(volume, _grid() + shift / 2, how)
    assert torch.allclose(half.narrow(dim, 0, size - 1), (kept + taken) / 2, atol=1e-5)
    assert torch.allclose(half.narrow(dim, size - 1, 1), volume.narrow(dim, size - 1, 1) / 2, atol=1e-5)


def test_both_paths_agree_inside_and_outside_of_the_volume_with_their_gradients() -> None:
    random = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, *SHAPE, generator=random)
    flow = torch.randn(2, 3, 5, 7, 3, generator=random) * 1.2  # a third lies outside
    results = []
    for how in PATHS:
        v, f = volume.clone().requires_grad_(), flow.clone().requires_grad_()
        out = warp_volume(v, f, how)
        out.square().sum().backward()
        results.append((out.detach(), v.grad, f.grad))
    native, decomposed = results
    assert native[0].shape == (2, 3, 3, 5, 7)
    assert torch.allclose(native[0], decomposed[0], atol=1e-5)
    assert torch.allclose(native[1], decomposed[1], atol=1e-4)
    assert torch.allclose(native[2], decomposed[2], atol=1e-3)


def test_one_slice_is_warped_in_two_dimensions_whatever_the_depth() -> None:
    volume = torch.rand(1, 2, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    grid = _grid(1, (1, 6, 8)) + torch.tensor([0.0, 0.0, 3.0])
    assert torch.allclose(warp_volume(volume, grid), volume, atol=1e-5)


class _Warp(nn.Module):
    def forward(self, volume: Tensor, flow: Tensor) -> Tensor:
        return warp_volume(volume, flow)


def test_while_a_graph_is_exported_nothing_is_sampled_in_five_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    volume = torch.rand(1, 2, *SHAPE, generator=random)
    flow = torch.rand(1, 2, 4, 4, 3, generator=random) * 2 - 1
    expected = warp_volume(volume, flow)
    ranks, sample = [], F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda x, *a, **k: ranks.append(x.ndim) or sample(x, *a, **k))
    warp_volume(volume, flow)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.allclose(warp_volume(volume, flow), expected, atol=1e-5)
    assert ranks == [5, 4, 4, 4, 4]


@pytest.mark.slow  # torch.export takes seconds to import
def test_an_exported_warp_has_no_five_dimensional_sampling() -> None:
    random = torch.Generator().manual_seed(0)
    inputs = (torch.rand(1, 2, 3, 4, 4, generator=random), torch.rand(1, 3, 4, 4, 3, generator=random) * 2 - 1)
    exported = torch.export.export(_Warp(), inputs, strict=False)
    sampled = [node.args[0].meta["val"].ndim for node in exported.graph.nodes if "grid_sampler" in str(node.target)]
    assert sampled == [4, 4, 4]
    assert torch.allclose(exported.module()(*inputs), warp_volume(*inputs, "native"), atol=1e-5)


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(InputError, match="the warp's path is 'natve'"):
        warp_volume(torch.rand(1, 1, *SHAPE), _grid(), "natve")  # type: ignore[arg-type]


# ------------------------------------------------------------------ the rigid motion


@pytest.fixture(scope="module")
def head() -> ProxyHead:
    return ProxyHead()


@pytest.fixture(scope="module")
def camera(head: ProxyHead) -> Camera:
    return Camera(head, "perspective")


def _seen(head: ProxyHead, camera: Camera, pose: Tensor, cameras: Tensor) -> Tensor:
    """Vertices (B, V, 3) in the picture's axes and half frames, by the renderer's own camera."""
    batch = len(pose)
    zeros = [torch.zeros(batch, n) for n in (head.layout.shape, head.layout.expression)]
    projected = camera.project(camera.centred(head.vertices(*zeros, pose)), cameras)
    into = (projected[..., 2] - camera.distance_cm) / camera.half_frame_cm * cameras[:, :1].exp()
    return torch.cat((projected[..., :2], into[..., None]), dim=-1)


def test_the_stated_geometry_is_the_bundled_head_s(head: ProxyHead) -> None:
    measured = HeadGeometry.of(head)
    assert measured.neck == pytest.approx(ICT_REDUCED.neck, abs=1e-3)
    assert measured.head == pytest.approx(ICT_REDUCED.head, abs=1e-3)
    assert measured.camera_distance == pytest.approx(ICT_REDUCED.camera_distance, abs=1e-3)


def test_the_skull_is_carried_exactly_as_the_renderer_does(head: ProxyHead, camera: Camera) -> None:
    random = torch.Generator().manual_seed(0)
    pose = torch.randn(4, 9, generator=random) * 20
    pose[:, 6:] = 0  # the eyes look ahead: they are no part of the skull
    cameras = torch.randn(4, 3, generator=random) * 0.2
    rigid = torch.from_numpy((head.arrays.bone_weights[:, 2] > 0.999) & (head.arrays.lid_of_vertex == 0))
    places = _seen(head, camera, pose, cameras)[:, rigid]
    motion = head_motion(pose, cameras)
    source, driving = motion.rows(slice(0, 2)), motion.rows(slice(2, 4))
    found = traced(places[2:], source, driving, ICT_REDUCED.camera_distance)
    assert rigid.sum() > 1000
    assert float((found - places[:2]).abs().max()) < 2e-3  # of half a frame: 0.06 pixels of 64


def test_a_turn_by_thirty_degrees_moves_the_nose_as_the_renderer_does(head: ProxyHead, camera: Camera) -> None:
    pose = torch.zeros(2, 9)
    pose[1, 0] = 30
    points = _seen(head, camera, pose, torch.zeros(2, 3))
    nose = int(head.arrays.landmark_vertices[30])
    shape = (16, 32, 32)
    grid = identity_volume_grid(shape)
    blob = torch.exp(-(grid - points[0, nose]).square().sum(-1) / 0.02)[None, None]
    motion = head_motion(pose, torch.zeros(2, 3))
    flow = rigid_grid(motion.rows(slice(0, 1)), motion.rows(slice(1, 2)), shape, 1.0, ICT_REDUCED.camera_distance)
    moved = warp_volume(blob, flow)[0, 0]
    centre = (moved[..., None] * grid).sum((0, 1, 2)) / moved.sum()
    assert points[1, nose, 0] > points[0, nose, 0] + 0.2  # to image right
    assert torch.allclose(centre, points[1, nose], atol=0.02)


@pytest.mark.parametrize("distance", [None, ICT_REDUCED.camera_distance])
def test_there_and_back_is_where_it_was(distance: float | None) -> None:
    source, driving = _motions(5, seed=0), _motions(5, seed=1)
    places = torch.rand(5, 50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    there = traced(places, source, driving, distance)
    assert float((there - places).abs().amax((1, 2)).min()) > 0.1
    assert torch.allclose(traced(there, driving, source, distance), places, atol=1e-5)
    still = rigid_grid(source, source, SHAPE, 0.7, distance)
    assert torch.allclose(still, _grid(5), atol=1e-5)


def test_without_perspective_it_is_the_formula() -> None:
    s, d = _motions(1, seed=0), _motions(1, seed=1)
    x = torch.tensor([0.3, -0.2, 0.1])
    # X_src = R_s R_dᵀ (X - t_d) (s_s / s_d) + t_s, t the whole translation in the picture
    t_s, t_d = (m.scale * m.offset[0] + torch.cat((m.shift[0], torch.zeros(1))) for m in (s, d))
    expected = s.rotation[0] @ d.rotation[0].T @ (x - t_d) * (s.scale / d.scale) + t_s
    assert torch.allclose(traced(x[None, None], s, d)[0, 0], expected, atol=1e-5)


def test_a_shallow_volume_is_turned_in_equal_lengths() -> None:
    still, turned = torch.zeros(1, 9), torch.zeros(1, 9)
    turned[:, 0] = 40
    camera = torch.zeros(1, 3)
    span = 0.5
    grid = rigid_grid(head_motion(still, camera), head_motion(turned, camera), SHAPE, span)[0]
    lengths = torch.tensor([1.0, 1.0, span])
    before, after = (g.reshape(-1, 3) * lengths for g in (_grid()[0], grid))
    exact = "donot_use_mm_for_euclid_dist"
    assert torch.allclose(torch.cdist(before, before, 2, exact), torch.cdist(after, after, 2, exact), atol=1e-4)
    # a voxel of the middle column that lies behind the axis shows, after a turn to the right, what was to its left
    assert grid[-1, 3, 4, 0] > grid[0, 3, 4, 0] + 0.3


def test_deep3d_coefficients_mean_its_row_vectors_and_its_camera() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randn(20, 3, generator=random) * 0.7
    angles, shift = torch.tensor([[0.2, -0.5, 0.1]]), torch.tensor([[0.1, -0.2, 0.3]])
    rows = torch.eye(3)
    for angle, (i, j) in zip(angles[0], ((1, 2), (2, 0), (0, 1))):
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = math.sin(angle), -math.sin(angle)  # transposed: for row vectors
        rows = rows @ turn
    posed = points @ rows + shift
    expected = DEEP3D_FOCAL * posed[:, :2] / (DEEP3D_DISTANCE - posed[:, 2:]) * torch.tensor([1.0, -1.0])
    half = DEEP3D_DISTANCE / DEEP3D_FOCAL
    resting = points * torch.tensor([1.0, -1.0, -1.0]) / half
    zeros = torch.zeros(1, 3)
    at_rest, motion = deep3d_motion(zeros, zeros, zeros), deep3d_motion(angles, shift, zeros)
    # under the motion of rest a place in front of the camera is seen where perspective puts it
    place = torch.cat((resting[:, :2] / (1 + resting[:, 2:] / DEEP3D_FOCAL), resting[:, 2:]), dim=1)
    found = traced(place[None], motion, at_rest, DEEP3D_FOCAL)[0]
    assert torch.allclose(found[:, :2], expected, atol=1e-5)


def test_relative_motion_of_no_change_leaves_the_source_and_from_the_source_is_the_driving() -> None:
    a, b = _motions(3, seed=0), _motions(3, seed=1)
    for found, expected in ((relative_motion(a, b, b), a), (relative_motion(a, b, a), b)):
        for name in ("rotation", "offset", "scale", "shift"):
            assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


def test_other_heads_coefficients_are_refused() -> None:
    with pytest.raises(InputError, match="needs 9 pose and 3 camera coefficients, got 6 and 3; use rigid_prior=false"):
        head_motion(torch.zeros(1, 6), torch.zeros(1, 3))
