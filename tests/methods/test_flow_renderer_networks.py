from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from reenact_zoo.methods.flow_renderer import compose as composition
from reenact_zoo.methods.flow_renderer.appearance import AppearanceSizes, VolumeSizes
from reenact_zoo.methods.flow_renderer.blocks import AdaptiveNorm
from reenact_zoo.methods.flow_renderer.flow import FlowNetwork, FlowSizes, Mapping, MappingSizes, flow_at
from reenact_zoo.methods.flow_renderer.inpainting import InpaintingSizes
from reenact_zoo.methods.flow_renderer.networks import Networks, Rendered, Sizes, Source
from reenact_zoo.methods.flow_renderer.refinement import RefinementSizes
from reenact_zoo.methods.flow_renderer.rigid import RigidMotion, head_motion, identity_volume_grid
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.types import InputError

N, B = 6, 2
SIZES = Sizes.tiny()
FLAT = replace(SIZES, volume=replace(SIZES.volume, depth=1))  # the ablation with a two-dimensional flow


def _motion(seed: int, batch: int = B) -> RigidMotion:
    random = torch.Generator().manual_seed(seed)
    return head_motion(torch.randn(batch, 9, generator=random) * 10, torch.randn(batch, 3, generator=random) * 0.1)


def _inputs(seed: int = 0, batch: int = B) -> tuple[Tensor, Tensor, Tensor, RigidMotion]:
    """Image, matte with some of everything, descriptor, motion."""
    random = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, 3, 64, 64, generator=random)
    x, y = identity_grid(64, 64).unbind(-1)
    matte = (3 - 6 * (x.square() + y.square())).clamp(0, 1).expand(batch, 1, -1, -1)
    return image, matte, torch.randn(batch, N, generator=random), _motion(seed, batch)


def _build(sizes: Sizes = SIZES, perturbed: bool = False, **options: bool) -> Networks:
    torch.manual_seed(0)
    networks = Networks(64, N, sizes, **options)
    if perturbed:  # layers that start at zero say nothing else
        for parameter in networks.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return networks


def _render(networks: Networks, matte: Tensor | None = None, batch: int = B) -> tuple[Source, Rendered]:
    image, own, descriptor, motion = _inputs(0, batch)
    source = networks.encode(image, own if matte is None else matte, descriptor, motion)
    return source, networks(source, _inputs(1, batch)[2], _motion(1, batch))


@pytest.fixture(scope="module")
def perturbed() -> Networks:
    return _build(perturbed=True).eval()


@pytest.fixture(scope="module")
@torch.no_grad()
def rendered(perturbed: Networks) -> tuple[Source, Rendered]:
    return _render(perturbed)


# ------------------------------------------------------------------ shapes, budgets, configurations


def test_everything_has_its_shape_and_range(perturbed: Networks, rendered: tuple[Source, Rendered]) -> None:
    source, made = rendered
    depth, side, _ = perturbed.shape
    assert source.volume.shape == (B, 4, depth, side, side) == made.warped.volume.shape
    field = made.warped.field
    assert field.flow.shape == (B, depth, side, side, 3)
    assert field.residual.shape == (B, 3, depth, side, side)
    assert field.flow_2d().shape == (B, side, side, 2)
    assert torch.allclose(field.depth_weights.sum(1), torch.ones(B, side, side))
    assert 0 < float(field.residual.abs().max()) <= SIZES.flow.limit
    rigid = perturbed.base_grid(source.motion, _motion(1))
    assert torch.allclose(field.flow, rigid + field.residual.permute(0, 2, 3, 4, 1))
    pictures = (made.warped_rgb, made.refined.rgb, made.composed.inpainted, made.composed.image)
    for picture in pictures:
        assert picture.shape == (B, 3, 64, 64)
        assert picture.min() >= 0
        assert picture.max() <= 1
    for mask in (made.composed.matte, made.composed.blank, source.known, made.refined.logit):
        assert mask.shape == (B, 1, 64, 64)
    assert field.occlusion.shape == (B, 1, side, side)


def test_at_64_pixels_the_method_stays_within_its_budget() -> None:
    networks = _build(Sizes())
    counted: list[float] = []

    def count(layer: nn.Module, _: object, result: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        counted.append(weight[0].numel() * result.numel())  # products of one output number, times their number

    for layer in networks.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        _render(networks, batch=1)  # source and frame together; what attention multiplies is under 1 % of it
    assert 300e6 < sum(counted) <= 490e6
    assert 1e6 < sum(p.numel() for p in networks.parameters()) <= 2.9e6


def test_at_256_pixels_the_volume_is_the_paper_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("normal_", "trunc_normal_", "uniform_", "kaiming_uniform_"):  # memory not written is not taken
        monkeypatch.setattr(nn.init, name, lambda tensor, *_args, **_kwargs: tensor)
    sizes = Sizes.paper()
    assert (sizes.volume.channels, *sizes.volume.shape(256)) == (32, 16, 64, 64)
    assert sizes.mapping.window == 27
    networks = Networks(256, 73, sizes)
    assert sum(p.numel() for p in networks.parameters()) == 37_009_548


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: VolumeSizes(stride=3), "stride must be a power of two, not 3"),
        (lambda: VolumeSizes(depth=0), "volume.depth must be at least 1"),
        (lambda: MappingSizes(window=4), "window must be 1, or odd and at least 7, not 4"),
        (lambda: FlowSizes(limit=0), "flow.limit must lie in"),
        (lambda: RefinementSizes(dim=30), "refinement.dim 30 must be divisible by refinement.heads 4"),
        (lambda: InpaintingSizes(widths=[8]), "two or more widths"),
        (lambda: Sizes(known_below=0), "known_below lie in"),
        (lambda: Networks(64, N, replace(SIZES, volume=VolumeSizes())), "unshuffle 4 with 1 widths leads to stride 4"),
        (lambda: Networks(62, N, SIZES), "62 must be divisible by volume.stride 4"),
        (lambda: Networks(64, N, replace(SIZES, flow=FlowSizes(widths=[4] * 5))), "cannot be halved 5 times"),
        (lambda: AppearanceSizes(widths=[]), "appearance.widths"),
    ],
)
def test_impossible_sizes_are_refused_with_what_to_change(change: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        change()  # type: ignore[operator]


# ------------------------------------------------------------------ the flow


def test_a_fresh_network_moves_rigidly_and_nothing_else() -> None:
    networks = _build()
    with torch.no_grad():
        source, made = _render(networks)
    base = networks.base_grid(source.motion, _motion(1))
    assert torch.equal(made.warped.field.flow, base)
    assert float((base - identity_volume_grid(networks.shape)).abs().max()) > 0.1
    assert torch.allclose(made.warped.field.depth_weights, torch.tensor(1 / networks.shape[0]))
    assert float(made.warped.field.occlusion.mean()) > 0.6


def test_without_the_rigid_prior_a_fresh_network_moves_nothing() -> None:
    networks = _build(rigid_prior=False)
    with torch.no_grad():
        source, made = _render(networks)
    assert torch.allclose(made.warped.unmasked, source.volume, atol=1e-5)


@pytest.mark.parametrize("rigid_prior", [True, False])
def test_a_single_slice_gives_a_flow_in_the_plane(rigid_prior: bool) -> None:
    networks = _build(FLAT, perturbed=True, rigid_prior=rigid_prior)
    with torch.no_grad():
        source, made = _render(networks)
    assert source.volume.shape[2] == 1
    field = made.warped.field
    assert torch.allclose(field.flow_2d(), field.flow[:, 0, ..., :2])
    assert made.warped.unmasked.abs().mean() > 0.1 * source.volume.abs().mean()  # not turned out of its own slice
    assert made.composed.image.isfinite().all()


def test_the_flow_depends_on_both_motions_and_the_volume(perturbed: Networks) -> None:
    volume = torch.randn(1, 4, *perturbed.shape)
    codes = torch.randn(2, 1, SIZES.mapping.code)
    still = _motion(0, 1)
    with torch.no_grad():
        first = perturbed.warp(volume, codes[0], codes[1], still, still).field.residual
        for other in ((volume, codes[1], codes[1]), (volume, codes[0], codes[0]), (volume + 1, codes[0], codes[1])):
            assert float((perturbed.warp(*other, still, still).field.residual - first).abs().max()) > 1e-4


def test_the_occlusion_s_gradient_can_be_stopped() -> None:
    networks = _build()
    volume, code = torch.randn(1, 4, *networks.shape), torch.randn(1, SIZES.mapping.code)
    for detach in (True, False):
        warped = networks.warp(volume, code, code, _motion(0, 1), _motion(1, 1), detach_occlusion=detach)
        assert torch.equal(warped.volume, warped.unmasked * warped.field.occlusion[:, :, None])
        networks.zero_grad()
        warped.volume.square().sum().backward()
        assert (networks.flow.to_occlusion.weight.grad is None) == detach


def test_a_flow_of_another_size_leaves_a_still_picture_still_to_its_edges() -> None:
    shift = torch.tensor([0.1, -0.2])
    finer = flow_at(identity_grid(8, 8)[None] + shift, 32, 32)
    assert torch.allclose(finer[0], identity_grid(32, 32) + shift, atol=1e-6)


def test_a_window_is_read_around_its_middle_and_one_frame_fills_it() -> None:
    torch.manual_seed(0)
    mapping = Mapping(N, replace(MappingSizes.tiny(), window=27))
    window = torch.randn(2, N, 27)
    code = mapping.describe(window)
    assert code.shape == (2, 16)
    longer = torch.cat((torch.randn(2, N, 2), window, torch.randn(2, N, 2)), dim=2)
    assert torch.equal(mapping.describe(longer), code)
    assert not torch.allclose(mapping.describe(longer[..., :27]), code)
    frame = window[..., 0]
    assert torch.equal(mapping.describe(frame), mapping.describe(frame[..., None].expand(-1, -1, 27)))
    with pytest.raises(InputError, match="a window of 9 frames has no 27 around its middle"):
        mapping.describe(window[..., :9])


def test_single_frames_are_read_from_the_middle_of_a_window() -> None:
    torch.manual_seed(0)
    mapping = Mapping(N, MappingSizes.tiny())
    window = torch.randn(2, N, 5)
    assert torch.equal(mapping.describe(window), mapping.describe(window[..., 2]))


# ------------------------------------------------------------------ once per source


def test_a_frame_needs_nothing_of_the_source_again(perturbed: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        source, first = _render(perturbed)
        asked = []
        for name in ("appearance", "inpainting"):
            part = getattr(perturbed, name)
            monkeypatch.setattr(part, "forward", lambda *a, n=name, f=part.forward: asked.append(n) or f(*a))
        again = perturbed(source, _inputs(1)[2], _motion(1))
    assert asked == ["inpainting"]
    assert torch.equal(again.composed.image, first.composed.image)


def test_a_row_does_not_depend_on_its_batch(perturbed: Networks, rendered: tuple[Source, Rendered]) -> None:
    image, matte, descriptor, motion = _inputs(0)
    one = slice(0, 1)
    with torch.no_grad():
        source = perturbed.encode(image[one], matte[one], descriptor[one], motion.rows(one))
        alone = perturbed(source, _inputs(1)[2][one], _motion(1).rows(one))
    assert torch.allclose(alone.composed.image, rendered[1].composed.image[one], atol=1e-5)


# ------------------------------------------------------------------ composition


def test_the_background_that_is_known_stays_bit_by_bit() -> None:
    random = torch.Generator().manual_seed(0)
    image, matte, _, _ = _inputs()
    known = composition.known_background(matte, 3, 0.2)
    logit = 20 * torch.randn(B, 1, 64, 64, generator=random)
    logit[0, :, :8] = -2.94  # σ just above the margin: a = 1e-4 to 1e-3
    a = composition.matte_from_logit(logit)
    assert 0 < float(a[0, :, :8].max()) < 1 / 255
    rgb, inpainted = torch.rand(2, B, 3, 64, 64, generator=random)
    rgb[:, :, 60:] = torch.inf
    a[:, :, 60:] = 0  # nothing of what overflowed is to be seen
    y = composition.compose(image, rgb, a, known, inpainted)
    kept = composition.untouched(known, a).expand_as(image)
    assert 0.1 < float(kept.float().mean()) < 0.9
    assert torch.equal(kept, (known & (a < 1 / 255)).expand_as(image))
    assert torch.equal(y[kept], image[kept])
    changed = ~kept & (a > 0.01)
    assert not (y == image)[changed].any()


def test_composition_is_foreground_over_background_and_inpainting_where_it_is_blank() -> None:
    ones = torch.ones(1, 1, 1, 4)
    image, rgb, inpainted = 0.2 * ones.expand(1, 3, 1, 4), 0.6 * ones.expand(1, 3, 1, 4), ones.expand(1, 3, 1, 4)
    known = torch.tensor([True, False, True, False])[None, None, None]
    a = torch.tensor([0.5, 0.5, 0.0, 0.0])[None, None, None]
    y = composition.compose(image, rgb, a, known, inpainted)
    assert torch.allclose(y[0, 0, 0], torch.tensor([0.4, 0.8, 0.2, 1.0]))
    assert composition.blank_area(known, a).flatten().tolist() == [0, 0.5, 0, 1]
    assert torch.allclose(composition.canvas(image, rgb, known, a)[0, 0, 0], torch.tensor([0.4, 0.3, 0.2, 0.0]))


def test_the_matte_reaches_both_ends() -> None:
    a = composition.matte_from_logit(torch.tensor([-50.0, -2.95, 0.0, 2.95, 50.0]))
    assert a.tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert a[1] == 0
    assert a[3] == 1


def test_known_background_keeps_its_distance_from_the_matte() -> None:
    matte = torch.zeros(1, 1, 16, 16)
    matte[..., 8, 8] = 0.5
    assert [composition.pool_size(size) for size in (32, 64, 128, 256, 512)] == [3, 3, 5, 7, 15]
    assert int((~composition.known_background(matte, 7, 0.02)).sum()) == 49
    assert composition.known_background(matte, 7, 0.6).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_and_an_all_foreground_matte_give_finite_pictures_and_gradients(value: float) -> None:
    networks = _build(perturbed=True)
    matte = torch.full((1, 1, 64, 64), value)
    source, made = _render(networks, matte, batch=1)
    assert bool(source.known.all()) == bool(source.known.any()) == (value == 0)
    (made.composed.image.sum() + made.warped_rgb.sum() + made.refined.logit.sum()).backward()
    assert made.composed.image.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in networks.parameters())


def test_every_parameter_learns() -> None:
    networks = _build(perturbed=True)
    _, made = _render(networks)
    (made.composed.image.square().sum() + made.composed.inpainted.square().sum() + made.refined.logit.sum()).backward()
    assert [name for name, p in networks.named_parameters() if p.grad is None or not p.grad.any()] == []


# ------------------------------------------------------------------ ablations and number formats


def test_without_transformer_there_are_no_blocks() -> None:
    without = replace(SIZES, refinement=SIZES.refinement.without_transformer())
    kinds = [{type(m).__name__ for m in _build(sizes).modules()} for sizes in (SIZES, without)]
    assert ["TransformerBlock" in kind for kind in kinds] == [True, False]
    with torch.no_grad():
        assert _render(_build(without, perturbed=True))[1].composed.image.isfinite().all()


def test_without_inpainting_refinement_draws_the_whole_picture_and_sees_the_background() -> None:
    networks = _build(perturbed=True, inpainting=False)
    image, matte, descriptor, motion = _inputs()
    image = image.clone().requires_grad_()
    made = networks(networks.encode(image, matte, descriptor, motion), _inputs(1)[2], _motion(1))
    assert networks.inpainting is None
    assert made.composed.image is made.refined.rgb
    made.composed.image.sum().backward()
    assert image.grad is not None
    assert image.grad[..., 0, 0].abs().max() > 0  # a corner, where the matte is 0


def test_under_autocast_pictures_are_in_single_precision_and_near(rendered: tuple[Source, Rendered]) -> None:
    networks = _build(perturbed=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        _, made = _render(networks)
    assert made.composed.image.dtype == made.warped.field.flow.dtype == torch.float32
    assert float((made.warped.field.flow - rendered[1].warped.field.flow).abs().mean()) < 0.02
    assert float((made.composed.image - rendered[1].composed.image).abs().mean()) < 0.05


def test_the_layout_of_the_weights_changes_nothing(rendered: tuple[Source, Rendered]) -> None:
    networks = _build(perturbed=True)
    for parameter in networks.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        _, made = _render(networks)
    assert torch.allclose(made.composed.image, rendered[1].composed.image, atol=1e-4)


def test_a_flow_network_of_an_odd_depth_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be halved"):
        FlowNetwork(VolumeSizes(channels=4, depth=3), (3, 16, 16), 8, FlowSizes.tiny())


def test_a_flow_whose_levels_are_shifted_below_zero_still_learns() -> None:
    """With plain ReLU it died in the first hundreds of updates of a training: every residual was one constant."""
    networks = _build(perturbed=True)
    for module in networks.flow.modules():
        if isinstance(module, AdaptiveNorm):
            module.read.bias.data.chunk(2)[1].fill_(-20.0)  # the shift
    source, _ = _render(networks)
    moved = networks.warp(source.volume, source.code, source.code.roll(1, 0), source.motion, _motion(1))
    moved.field.residual.square().sum().backward()
    for level in (networks.flow.last, *networks.flow.ups, *networks.flow.downs):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in level.parameters())


def test_a_step_of_adam_moves_a_fresh_flow_by_little() -> None:
    networks = _build()
    optimiser = torch.optim.Adam(networks.flow.parameters(), lr=1e-3)
    _, rendered = _render(networks)
    before = rendered.warped.field
    (before.residual.sum() + before.occlusion.sum()).backward()
    optimiser.step()
    _, after = _render(networks)
    assert 0 < (after.warped.field.residual - before.residual).abs().max() < 0.05
    assert 0 < (after.warped.field.occlusion - before.occlusion).abs().max() < 0.05
