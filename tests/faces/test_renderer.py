import math

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from torch.nn import functional as F

from reenact_zoo.faces.morphable.base import CoefficientLayout, HeadModel, Region
from reenact_zoo.faces.parsing import CLASS_OF_REGION, CLASSES, COLOURS, parsing_picture, region_classes
from reenact_zoo.faces.renderer import Renderer, correspondence
from reenact_zoo.ops.rotation import matrix_from_euler

RADIUS = 9.0


def _lattice(count: int) -> np.ndarray:
    k = np.arange(count)
    z, angle = 1 - (2 * k + 1) / count, k * np.pi * (3 - np.sqrt(5))
    return np.stack((np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z), 1)


class BallHead(HeadModel):
    """A ball with a nose, textured by position; its 68 landmarks are vertices. One shape direction, Euler pose."""

    name = "ball"
    layout = CoefficientLayout(1, 1, 1, 3, 3, 27)

    def __init__(self, count: int = 1500, nose: float = 0.0):
        unit = _lattice(count)
        triangles = ConvexHull(unit).simplices
        a, b, c = (unit[triangles[:, i]] for i in range(3))
        inward = (np.cross(b - a, c - a) * a).sum(1) < 0
        triangles[inward] = triangles[inward][:, ::-1]
        self.triangles = torch.from_numpy(triangles.astype(np.int64))
        points = torch.from_numpy(unit).float()
        self.rest = (
            RADIUS
            * points
            * (1 + nose * torch.exp(-((points - torch.tensor([0.0, 0, 1])).norm(dim=1) ** 2) / 0.02))[:, None]
        )
        self.uv, self.uv_triangles = (points[:, :2] * torch.tensor([0.5, -0.5]) + 0.5), self.triangles
        centre = points[self.triangles].mean(1)
        self.regions = torch.full((len(triangles),), int(Region.SKIN))
        self.regions[(centre[:, 0] > 0.2) & (centre[:, 1] > 0.2)] = int(Region.EYE_LEFT)
        self.regions[(centre[:, 0] < -0.2) & (centre[:, 1] > 0.2)] = int(Region.EYE_RIGHT)
        self.regions[centre[:, 1] < -0.6] = int(Region.TEETH)
        g = np.random.default_rng(0)
        wanted = g.normal(size=(68, 3)) * 0.3 + [0, 0, 1]
        angles = np.linspace(-np.pi, 0, 17)
        wanted[:17] = np.stack((np.cos(angles) * 0.8, np.sin(angles) * 0.8, 0.6 * np.ones(17)), 1)
        wanted[17:27] = np.stack((np.linspace(-0.5, 0.5, 10), 0.4 * np.ones(10), 0.7 * np.ones(10)), 1)
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        self.index = torch.from_numpy((wanted @ unit.T).argmax(1))

    def vertices(self, shape, expression, pose):
        grown = self.rest * (1 + 0.1 * shape[:, :, None]) + expression[:, :, None] * torch.tensor([0, 0, 0.1])
        return grown @ matrix_from_euler(pose).transpose(1, 2)

    def landmarks(self, vertices, pose):
        return vertices[:, self.index]

    def albedo(self, texture, size=256):
        axis = (torch.arange(size) + 0.5) / size
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        return torch.stack((0.3 + 0.4 * u, 0.3 + 0.4 * v, 0.5 + 0 * u)).expand(len(texture), -1, -1, -1)

    def head_rotation(self, pose):
        return matrix_from_euler(pose)

    def sample(self, generator, count):
        return torch.zeros(count, self.layout.total)

    def to(self, device):
        return self


def _coefficients(batch: int = 1, **parts: list[float]) -> torch.Tensor:
    c = torch.zeros(batch, BallHead.layout.total)
    for name, values in parts.items():
        BallHead.layout.split(c)[name][:] = torch.tensor(values)
    return c


@pytest.fixture(scope="module")
def ball() -> BallHead:
    return BallHead()


def test_the_silhouette_of_a_ball_is_the_closed_form_ellipse(ball):
    renderer = Renderer(ball, 128)
    camera = renderer.camera
    alpha = renderer.render(_coefficients()).alpha[0, 0]
    centre = -camera.centre  # of the ball, in camera space
    distance = camera.distance_cm - centre[2]
    assert abs(centre[0]) < 0.1
    # lines of sight tangent to the ball, in the plane through the camera axis and the centre: direction ± asin(r / d)
    range_ = torch.hypot(distance, centre[1])
    direction, spread = torch.atan2(centre[1], distance), torch.asin(RADIUS / range_)
    scale = camera.distance_cm / camera.half_frame_cm
    top, bottom = (scale * torch.tan(direction + s * spread) for s in (1, -1))
    half_height = (top - bottom) / 2
    half_width = scale * math.tan(spread) / math.cos(direction)  # to second order in the direction, 5e-4
    area = math.pi * half_width * half_height * 64**2
    assert alpha.sum().item() == pytest.approx(area.item(), rel=4e-3)  # the hull lies inside of the ball by 0.2 %
    rows = alpha.sum(1).nonzero().squeeze(1)
    assert rows[0].item() == pytest.approx((1 - top.item()) * 64, abs=1.1)
    assert rows[-1].item() + 1 == pytest.approx((1 - bottom.item()) * 64, abs=1.1)


def test_the_resting_face_fills_half_of_the_frame(ball):
    renderer = Renderer(ball, 64)
    points = renderer.render(_coefficients()).landmarks[0]
    brow_to_chin = points[8, 1] - points[17:27, 1].mean()
    assert 0.62 < brow_to_chin < 0.8  # of 2: half the frame for the face with its forehead, 1.42 times that
    assert abs(points[:17, 0].mean()) < 0.02


@pytest.mark.parametrize("kind", ["perspective", "weak"])
def test_camera_coefficients_scale_then_move(ball, kind):
    renderer = Renderer(ball, 64, camera=kind)
    still = renderer.render(_coefficients()).landmarks
    moved = renderer.render(_coefficients(camera=[math.log(1.5), 0.2, 0.1])).landmarks
    torch.testing.assert_close(moved, 1.5 * still + torch.tensor([0.2, -0.1]), atol=1e-5, rtol=0)


def test_perspective_enlarges_what_is_near_and_weak_does_not(ball):
    strong, weak = (Renderer(ball, 64, camera=kind).camera for kind in ("perspective", "weak"))
    points = torch.tensor([[[4.0, 0, 10], [4.0, 0, -10]]])
    near, far = strong.project(points, torch.zeros(1, 3))[0]
    assert near[0] / far[0] == pytest.approx((strong.distance_cm + 10) / (strong.distance_cm - 10), rel=1e-5)
    near, far = weak.project(points, torch.zeros(1, 3))[0]
    assert near[0] == far[0]
    assert near[2] < far[2]


def test_the_image_is_the_head_over_the_background(ball):
    background = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    out = Renderer(ball, 48).render(_coefficients(2), background)
    torch.testing.assert_close(out.image, out.premultiplied + (1 - out.alpha) * background)
    outside = out.alpha.expand_as(out.image) == 0
    assert torch.equal(out.image[outside], background.expand_as(out.image)[outside])
    assert out.image.min() >= 0
    assert out.image.max() <= 1
    levels = (out.alpha * 4).unique()
    assert torch.equal(levels, torch.arange(5.0))  # four samples a pixel


def test_supersampled_edges_approach_the_true_coverage(ball):
    fine = F.avg_pool2d(Renderer(ball, 512, 1, shadows=False).render(_coefficients()).alpha, 8)
    errors = [
        (Renderer(ball, 64, n, shadows=False).render(_coefficients()).alpha - fine).abs().mean() for n in (1, 2, 4)
    ]
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.7 * errors[1]


@pytest.mark.parametrize("kind", ["perspective", "weak"])
@pytest.mark.parametrize("shadows", [True, False])
def test_the_compiled_and_the_pytorch_path_draw_the_same_picture(kind, shadows):
    renderer = Renderer(BallHead(nose=0.5), 48, camera=kind, shadows=shadows)
    g = torch.Generator().manual_seed(2)
    c = _coefficients(2, pose=[20.0, -10, 15], camera=[0.1, 0.05, -0.1])
    c[:, -27:] = 0.15 * torch.randn(2, 27, generator=g)
    background = torch.rand(2, 3, 48, 48, generator=g)
    fast = renderer.render(c, background)
    exact = renderer.render(c.clone().requires_grad_(), background)
    assert exact.image.requires_grad
    assert not fast.image.requires_grad
    assert torch.equal(fast.alpha, exact.alpha.detach())
    difference = (fast.image - exact.image.detach()).abs()
    # snapped against exact positions: 1/1024 of a sample; slivers at the rim weigh most
    assert difference.max() < 0.02
    assert difference.mean() < 2e-4


def test_gradients_of_light_texture_and_background_match_finite_differences(ball):
    renderer = Renderer(ball, 24, shadows=False)
    c, weight = _coefficients(), torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    albedo = torch.full((1, 3, 8, 8), 0.5)
    background = torch.full((1, 3, 24, 24), 0.3)

    def loss(c, albedo, background):
        return (renderer.render(c, background, albedo).image * weight).sum().double()

    inputs = [t.clone().requires_grad_() for t in (c, albedo, background)]
    gradients = torch.autograd.grad(loss(*inputs), inputs)
    places = [(0, 0, -27), (0, 0, -20), (0, 0, -1), (1, 0, 1, 3, 4), (2, 0, 2, 0, 0)]
    for which, *at in places:
        step = torch.zeros_like(inputs[which])
        step[tuple(at)] = 2e-2
        plain = [t.detach() for t in inputs]
        plus, minus = ([t + s * step if i == which else t for i, t in enumerate(plain)] for s in (1, -1))
        numeric = (loss(*plus) - loss(*minus)) / 4e-2
        assert gradients[which][tuple(at)].item() == pytest.approx(numeric.item(), rel=2e-2, abs=2e-3)


def test_gradients_of_the_vertices_match_finite_differences_inside_the_silhouette(ball):
    """The whole ball fills the frame, so that no silhouette moves: what is left is differentiable."""
    renderer = Renderer(ball, 16, shadows=False)
    c = _coefficients(camera=[1.5, 0.0, 0.0])
    weight = torch.linspace(0, 1, 16).view(1, 1, 16, 1).expand(1, 3, 16, 16)
    posed = ball.vertices(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 3))

    def loss(turn):
        turned = posed @ matrix_from_euler(torch.stack((turn * 0, turn, turn * 0))).T
        return (renderer.render(c, vertices=turned).image * weight).sum()

    angle = torch.tensor(0.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(angle), angle)
    with torch.no_grad():
        numeric = (loss(torch.tensor(1.5)) - loss(torch.tensor(-1.5))) / 3.0
    assert gradient.item() == pytest.approx(numeric.item(), rel=0.05)


def test_normals_of_a_ball_point_from_its_centre_and_depth_is_exact(ball):
    out = Renderer(ball, 64).render(_coefficients())
    camera = out._renderer.camera
    mask = out.fragments.mask[0]
    axis = ((2 * torch.arange(64) + 1) / 64 - 1) * camera.half_frame_cm / camera.distance_cm
    x, y = torch.meshgrid(axis, -axis, indexing="xy")
    depth = out.depth[0, 0]
    points = torch.stack((x * depth, y * depth, camera.distance_cm - depth)) + camera.centre[:, None, None]
    inner = mask & (points.norm(dim=0) > 0)
    assert (points.norm(dim=0)[inner] - RADIUS).abs().max() < 0.05
    closed = points / RADIUS
    assert (out.normals[0] - closed).abs()[:, inner].max() < 0.05
    assert (out.uv[0] - torch.stack((closed[0], -closed[1])) * 0.5 - 0.5).abs()[:, inner].max() < 5e-3
    for empty in (out.depth, out.normals, out.uv):
        assert (empty[0][:, ~mask] == 0).all()


def test_left_is_the_persons_own_left_which_is_image_right(ball):
    parsing = Renderer(ball, 64).render(_coefficients()).parsing[0]
    columns = torch.arange(64.0)
    left, right = (parsing[CLASSES.index(name)] for name in ("eye_left", "eye_right"))
    assert (left.sum(0) @ columns) / left.sum() > 36
    assert (right.sum(0) @ columns) / right.sum() < 28


def test_parsing_is_a_distribution_with_the_background_outside(ball):
    out = Renderer(ball, 64).render(_coefficients(2, pose=[10.0, 0, 0]))
    assert out.parsing.shape == (2, 19, 64, 64)
    torch.testing.assert_close(out.parsing.sum(1), torch.ones(2, 64, 64))
    torch.testing.assert_close(out.parsing[:, :1], 1 - out.alpha)
    assert out.parsing[:, CLASSES.index("mouth")].sum() > 0  # teeth belong to the mouth


def test_both_parsing_paths_agree(ball):
    renderer = Renderer(ball, 32)
    fast = renderer.render(_coefficients())
    from reenact_zoo.faces._draw import parsing_torch

    torch.testing.assert_close(parsing_torch(fast._faces, renderer), fast.parsing)


def test_every_region_has_a_class_and_every_class_a_name_and_a_colour():
    assert set(CLASS_OF_REGION) == set(Region)
    assert len(CLASSES) == len(COLOURS) == 19
    assert CLASSES[region_classes()[Region.TEETH]] == "mouth"
    assert region_classes()[Region.HAIR] == 17
    picture = parsing_picture(F.one_hot(torch.tensor([[[1]]]), 19).permute(0, 3, 1, 2).float())
    torch.testing.assert_close(picture.flatten() * 255, torch.tensor(COLOURS[1]).float())


def test_landmarks_lie_on_their_vertices_and_hide_behind_the_ball(ball):
    renderer = Renderer(ball, 96)
    out = renderer.render(_coefficients(2))
    torch.testing.assert_close(out.landmarks, out.projected[:, ball.index, :2])
    assert out.landmarks_visible[:, 17:27].all()
    away = renderer.render(_coefficients(pose=[180.0, 0, 0]))
    assert not away.landmarks_visible[0, 17:27].any()
    outside = renderer.render(_coefficients(camera=[0.0, 5.0, 0]))
    assert not outside.landmarks_visible.any()


def test_correspondence_leads_every_pixel_to_the_same_place_of_the_atlas():
    renderer = Renderer(BallHead(nose=0.6), 96)
    source = renderer.render(_coefficients(pose=[-15.0, 5, 0]))
    target = renderer.render(_coefficients(pose=[25.0, -10, 10], camera=[0.2, 0.1, -0.1], shape=[0.3]))
    flow, valid = correspondence(source, target)
    seen = valid[0, 0] > 0
    assert seen.float().mean() > 0.3 * target.alpha.mean()
    # compare where bilinear sampling stays on one surface
    found = F.grid_sample(source.uv, flow, align_corners=False)
    inside = F.grid_sample(source.fragments.mask[:, None].float(), flow, align_corners=False)[0, 0] == 1
    error = (found - target.uv)[0].norm(dim=0)[seen & inside]
    assert error.median() < 1e-3
    assert error.quantile(0.98) < 1e-2  # bilinear sampling across facets and at the nose's outline


def test_correspondence_of_a_shift_is_the_shift_exactly(ball):
    renderer = Renderer(ball, 64, camera="weak")
    source, target = renderer.render(_coefficients()), renderer.render(_coefficients(camera=[0.0, 0.25, 0.125]))
    flow, valid = correspondence(source, target)
    axis = (2 * torch.arange(64) + 1) / 64 - 1
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    seen = target.fragments.mask[0]
    torch.testing.assert_close(flow[0][seen], (grid - torch.tensor([0.25, -0.125]))[seen], atol=1e-4, rtol=0)
    torch.testing.assert_close(flow[0][~seen], grid[~seen])
    assert valid[0, 0][seen].mean() > 0.97  # all but the very rim
    assert valid[0, 0][~seen].sum() == 0
    _, still = correspondence(source, target, static_background=True)
    assert torch.equal(still[0, 0].bool(), valid[0, 0].bool() | (~seen & ~source.fragments.mask[0]))


def test_what_the_source_does_not_see_is_not_valid(ball):
    renderer = Renderer(ball, 128)
    source, target = renderer.render(_coefficients()), renderer.render(_coefficients(pose=[60.0, 0, 0]))
    valid = correspondence(source, target)[1][0, 0]
    corners = ball.rest[ball.triangles[target.fragments.face.clamp(min=0)]]
    points = torch.einsum("bhwk,bhwkc->bhwc", target.fragments.barycentric, corners)[0]
    seen, facing = target.fragments.mask[0], points[..., 2]  # in the source's pose: 0 near its silhouette
    assert valid[seen & (facing > 2)].mean() > 0.99
    assert valid[seen & (facing < 0)].sum() == 0
    assert (seen & (facing < 0)).sum() > 500


@pytest.mark.parametrize("nose", [0.0, 0.8])
def test_the_silhouette_agrees_with_opencv_polygons(nose):
    model = BallHead(nose=nose)
    out = Renderer(model, 256, 1, shadows=False).render(_coefficients(pose=[35.0, 10, 0]))
    finer = 8  # OpenCV also fills pixels that its outline touches; 8 times finer that is 1/16 of a pixel
    pixels = ((out.projected[0, :, :2] + 1) * 256 * finer - 1) / 2
    mask = np.zeros((256 * finer, 256 * finer), np.uint8)
    for triangle in np.round(pixels[model.triangles].numpy() * 256).astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 1, shift=8)
    theirs = cv2.resize(mask.astype(np.float32), (256, 256), interpolation=cv2.INTER_AREA) > 0.5
    ours = out.alpha[0, 0].numpy() > 0
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.995


def test_a_row_does_not_depend_on_its_batch_or_on_threads(ball):
    renderer = Renderer(ball, 32)
    g = torch.Generator().manual_seed(0)
    c = _coefficients(3, pose=[10.0, 0, 0])
    c += 0.1 * torch.randn(c.shape, generator=g)
    c[1, -27:] *= 300  # a lamp far stronger than its neighbours', part of it negative
    whole = renderer.render(c)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if before != 3 else 2)
        for row in range(3):
            alone = renderer.render(c[row : row + 1])
            assert torch.equal(alone.image[0], whole.image[row])
            assert torch.equal(alone.parsing[0], whole.parsing[row])
    finally:
        torch.set_num_threads(before)


def test_an_albedo_is_painted_once_for_the_frames_of_a_clip(monkeypatch):
    model = BallHead(count=200)
    renderer = Renderer(model, 16, shadows=False)
    painted = []
    paint = BallHead.albedo
    monkeypatch.setattr(
        BallHead,
        "albedo",
        lambda self, t, size=256: painted.append(len(t)) or t[:, :, None, None] * paint(self, t, size),
    )
    c = _coefficients(3)
    model.layout.split(c)["texture"][:, 0] = torch.tensor([0.5, 1.0, 0.5])
    first = renderer.render(c)
    assert painted == [2]
    assert torch.equal(first.image[0], first.image[2])
    assert first.image[1].sum() > first.image[0].sum()
    assert torch.equal(renderer.render(c.flip(0)).image, first.image.flip(0))
    assert painted == [2]
    for step in range(20):
        model.layout.split(c)["texture"][:] = step / 20
        renderer.render(c)
    assert len(renderer._painted) <= 8


class _Renders(torch.utils.data.Dataset):
    def __init__(self, renderer: Renderer):
        self.renderer = renderer

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.renderer.render(_coefficients(pose=[10.0 * index, 0, 0])).image[0]


def test_forked_workers_draw_after_their_parent_has_drawn_with_threads(ball):
    renders = _Renders(Renderer(ball, 24))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = torch.stack([renders[k] for k in range(4)])
        loader = torch.utils.data.DataLoader(
            renders, batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        (drawn,) = loader
    finally:
        torch.set_num_threads(before)
    assert torch.equal(drawn, expected)


def test_wrong_sizes_are_named(ball):
    renderer = Renderer(ball, 32)
    with pytest.raises(ValueError, match="background must be 32"):
        renderer.render(_coefficients(), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="expected 36 coefficients"):
        renderer.render(torch.zeros(1, 7))
    with pytest.raises(ValueError, match="at least 1"):
        Renderer(ball, 0)
