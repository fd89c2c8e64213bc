"""fomm as a method: its motions are what the paper says, both ways of transfer, and its losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.methods.fomm import losses
from reenact_zoo.methods.fomm.blocks import Shrink
from reenact_zoo.methods.fomm.config import Config
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.dense_motion import Motion
from reenact_zoo.methods.fomm.keypoints import gaussians
from reenact_zoo.methods.fomm.module import Fomm
from reenact_zoo.methods.fomm.motion import Keypoints, inverse, local_motions, product, transfer
from reenact_zoo.methods.fomm.pictures import dots, heat_picture
from reenact_zoo.methods.fomm.transforms import Transform, random_transform
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.ops.hulls import hull_area
from reenact_zoo.testing import overfit, synthetic_batch
from reenact_zoo.types import InputError, PairBatch

GAN: dict[str, Any] = {"lambda_adversarial": 1.0, "discriminator_sees_keypoints": True}


def build(**changes: Any) -> Fomm:
    torch.manual_seed(0)
    return Fomm(dataclasses.replace(Config.tiny(), **changes))


def pairs(count: int = 2, *keys: str) -> PairBatch:
    return synthetic_batch(64, count, keys)


def random_keypoints(batch: int = 2, count: int = 6, seed: int = 0) -> Keypoints:
    random = torch.Generator().manual_seed(seed)
    values = torch.rand(batch, count, 2, generator=random) - 0.5
    return Keypoints(values, torch.eye(2) + 0.3 * torch.randn(batch, count, 2, 2, generator=random))


def random_plane(seed: int = 0, bend: float = 0.02) -> Transform:
    torch.manual_seed(seed)
    return random_transform(2, Config(affine_sigma=0.1, spline_sigma=bend), torch.zeros(()))


# --- motion ----------------------------------------------------------------------------------------------------------


def test_keypoints_that_move_by_one_affine_map_all_say_this_map() -> None:
    source = random_keypoints()
    affine = torch.tensor([[1.1, 0.2], [-0.3, 0.8]])
    driving = Keypoints(source.values @ affine.mT + 0.1, product(affine, source.jacobians))
    grid = identity_grid(5, 7)
    expected = (grid - 0.1) @ torch.linalg.inv(affine).mT
    assert torch.allclose(local_motions(grid, source, driving), expected.expand(2, 6, 5, 7, 2), rtol=1e-4, atol=2e-5)


def test_a_flat_jacobian_gives_a_large_finite_inverse() -> None:
    flat = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    assert inverse(flat).isfinite().all()
    exact = torch.randn(5, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(inverse(exact), torch.linalg.inv(exact), rtol=1e-4)


@pytest.mark.parametrize("preset", ["clean", "official", "official_unaligned"])
def test_equal_keypoints_leave_the_picture_where_it_is(preset: str) -> None:
    method, batch = build(preset=preset, shrink=1).eval(), pairs()
    with torch.no_grad():
        aux = method(cast(PairBatch, {**batch, "driving": batch["source"]})).aux
    still = torch.allclose(aux["warped"], batch["source"], atol=1e-4)
    # the released grids, sampled as PyTorch does today, enlarge the picture a little
    assert still == (preset != "official_unaligned")
    if still:
        assert torch.allclose(aux["flow"], identity_grid(64, 64).expand(2, -1, -1, -1), atol=1e-5)


def test_a_small_flow_is_enlarged_without_moving_the_border() -> None:
    still = Convention("clean").grid(8, 8, torch.zeros(()))[None]
    assert torch.allclose(Convention("clean").resized(still, 32, 32), identity_grid(32, 32)[None], atol=1e-6)


@pytest.mark.parametrize("preset", ["clean", "official"])
def test_grid_and_sampling_of_a_preset_agree(preset: str) -> None:
    convention, image = Convention(preset), pairs(1)["source"]
    grid = convention.grid(64, 64, image)
    assert torch.allclose(convention.sample(image, grid[None]), image, atol=1e-5)
    assert torch.allclose(convention.as_project(grid, 64, 64), identity_grid(64, 64), atol=1e-6)


def test_the_released_way_of_shrinking_begins_at_the_first_pixel() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8, 4] = 1
    small = Shrink(4, released=True)(image)
    assert (small[0, 0] == small.max()).nonzero().tolist() == [[2, 1]]
    assert torch.equal(Shrink(4, released=False)(image)[0, 0, 2], torch.tensor([0, 1 / 16, 0, 0]))


def test_what_the_source_hides_does_not_reach_the_picture() -> None:
    method, batch = build().eval(), pairs()
    still = Convention("clean").grid(16, 16, torch.zeros(())).expand(2, -1, -1, -1)
    with torch.no_grad():
        one, other = (method.generator.encode(image).features for image in (batch["source"], batch["driving"]))
        for visible, same in ((0.0, True), (1.0, False)):
            motion = Motion(still, torch.full((2, 1, 16, 16), visible), torch.empty(0), torch.empty(0))
            a, b = (method.generator.decode(features, motion) for features in (one, other))
            assert torch.equal(a, b) == same


# --- transfer --------------------------------------------------------------------------------------------------------


def test_relative_motion_of_nothing_is_the_source() -> None:
    source, driving = random_keypoints(seed=1), random_keypoints(seed=2)
    aim = transfer(source, driving, driving)
    assert torch.equal(aim.values, source.values)
    assert torch.allclose(aim.jacobians, source.jacobians, atol=1e-5)
    assert transfer(source, driving) is driving


def test_movements_are_scaled_by_the_size_of_the_hulls_row_by_row() -> None:
    source = random_keypoints(seed=1)
    factor = torch.tensor([2.0, 0.5])[:, None, None]
    reference = Keypoints(factor * source.values + 0.2, source.jacobians)
    step = torch.tensor([0.3, -0.1])
    driving = Keypoints(reference.values + step, source.jacobians)
    adapted = transfer(source, driving, reference).values - source.values
    plain = transfer(source, driving, reference, adapt_scale=False).values - source.values
    assert torch.allclose(adapted, (step / factor).expand_as(adapted), atol=1e-5)
    assert torch.allclose(plain, step.expand_as(plain), atol=1e-5)


def test_keypoints_on_one_line_are_not_scaled() -> None:
    line = torch.linspace(-0.5, 0.5, 6)
    flat = Keypoints(torch.stack((line, line), -1).expand(2, -1, -1), random_keypoints().jacobians)
    source = random_keypoints()
    assert hull_area(flat.values).tolist() == pytest.approx([0, 0], abs=1e-9)
    moved = transfer(source, Keypoints(flat.values + 0.1, flat.jacobians), flat).values - source.values
    assert torch.allclose(moved, torch.full_like(moved, 0.1), atol=1e-5)


def test_the_method_finds_its_best_frame_by_its_own_keypoints() -> None:
    method, batch = build().eval(), pairs(3)
    clip = torch.cat((batch["driving"], batch["source"][1:2]))
    assert method.best_frame(batch["source"][1], clip) == 3


def test_a_driving_reference_makes_motion_relative() -> None:
    method, batch = build().eval(), pairs(2, "driving_reference")
    absolute = cast(PairBatch, {key: value for key, value in batch.items() if key != "driving_reference"})
    rest = cast(PairBatch, {**batch, "driving_reference": batch["driving"]})
    with torch.no_grad():
        relative, plain, resting = method(batch).aux, method(absolute).aux, method(rest).aux
    assert torch.equal(plain["aimed_keypoints"], plain["driving_keypoints"])
    assert torch.allclose(resting["aimed_keypoints"], resting["source_keypoints"], atol=1e-5)
    assert torch.allclose(resting["warped"], batch["source"], atol=1e-3)
    assert not torch.allclose(relative["aimed_keypoints"], plain["aimed_keypoints"], atol=1e-4)


# --- equivariance ----------------------------------------------------------------------------------------------------


def test_the_jacobian_of_a_transform_is_its_derivative() -> None:
    plane = random_plane()
    points = (torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1).requires_grad_()
    moved = plane.points(points)
    rows = [torch.autograd.grad(moved[..., k].sum(), points, retain_graph=True)[0] for k in range(2)]
    assert torch.allclose(plane.jacobians(points), torch.stack(rows, -2), atol=1e-5)


def test_keypoints_that_move_along_have_no_equivariance_loss() -> None:
    plane, transformed = random_plane(), random_keypoints()
    jacobians = product(plane.jacobians(transformed.values), transformed.jacobians)
    driving = Keypoints(plane.points(transformed.values), jacobians)
    assert losses.equivariance_of_values(driving, transformed, plane) < 1e-6
    assert losses.equivariance_of_jacobians(driving, transformed, plane) < 1e-5
    assert losses.equivariance_of_values(transformed, driving, plane) > 0.01
    assert losses.equivariance_of_jacobians(transformed, driving, plane) > 0.01


@pytest.mark.parametrize("preset", ["clean", "official"])
def test_a_transformed_picture_shows_at_z_what_was_at_its_transform(preset: str) -> None:
    plane, convention = random_plane(bend=0.005), Convention(preset)
    grid = convention.grid(64, 64, torch.zeros(()))
    place = torch.tensor([[[0.3, -0.2]], [[-0.1, 0.4]]])
    blob = gaussians(place, grid, 0.003)
    seen = plane.images(blob, convention)
    found = (seen.unsqueeze(-1) * grid).sum((2, 3)) / seen.sum((2, 3)).unsqueeze(-1)
    assert torch.allclose(plane.points(found), place, atol=0.01)  # the blob is bent, its centre of mass moves a little
    assert (found - place).norm(dim=-1).min() > 0.03


# --- detector and pictures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "side"), [("clean", 16), ("official", 14)])
def test_a_fresh_detector_only_shifts_and_its_keypoints_are_centres_of_heat(preset: str, side: int) -> None:
    keypoints, heat = build(preset=preset).keypoint_detector(pairs()["source"])
    assert heat.shape == (2, 4, side, side)
    assert torch.allclose(keypoints.jacobians, torch.eye(2).expand(2, 4, 2, 2), atol=1e-5)
    x, y = (heat.sum(axis) @ Convention(preset).grid(side, side, heat)[0, :, 0] for axis in (2, 3))
    assert torch.allclose(keypoints.values, torch.stack((x, y), -1), atol=1e-5)


def test_dots_lie_on_their_keypoints() -> None:
    place = torch.tensor([[[-0.5, 0.25], [0.5, 0.25]]])
    picture = dots(torch.zeros(1, 3, 64, 64), place)
    assert picture[0, :, 40, 16].tolist() == [1, 0, 0]
    assert picture[0, :, 40, 48].tolist() == [0, 1, 1]
    assert picture[0, :, 40, 32].sum() == 0
    heat = torch.zeros(1, 2, 4, 4)
    heat[0, 0, 1, 2] = 0.2
    assert heat_picture(heat)[0, :, 1, 2].tolist() == [1, 0, 0]


# --- training --------------------------------------------------------------------------------------------------------


def test_a_loss_of_weight_zero_is_gone_and_the_others_stay() -> None:
    batch, every = pairs(), {**GAN, "lambda_gradient": 1.0}
    whole = build(**every)._generator_losses(batch, {}).keys()
    parts = {"colour", "gradient", "equivariance_value", "equivariance_jacobian", "feature_matching"}
    assert whole == parts | {"adversarial"}
    for part in parts:
        method = build(**{**every, f"lambda_{part}": 0.0})
        assert method._generator_losses(batch, {}).keys() == whole - {part}
    no_transform = {"lambda_equivariance_value": 0.0, "lambda_equivariance_jacobian": 0.0}
    assert build(**no_transform)._generator_losses(batch, {}).keys() == {"colour"}


def test_generator_and_discriminator_take_turns() -> None:
    method, batch = build(**GAN), pairs()
    assert [phase.name for phase in method.phases()] == ["generator", "discriminator"]
    assert [phase.name for phase in build().phases()] == ["generator"]
    before = {name: value.clone() for name, value in method.named_parameters()}
    overfit(method, batch, 1)
    still = {name for name, value in method.named_parameters() if torch.equal(value, before[name])}
    # batch norm takes back whatever a bias before it adds, and a norm over each map does so in the discriminator
    assert not {name for name in still if not name.endswith("bias")}


def test_the_jacobians_learn_from_equivariance_and_from_the_picture() -> None:
    for changes in ({"lambda_equivariance_jacobian": 0.0}, {"lambda_colour": 0.0}):
        method = build(**changes)
        torch.stack(list(method._generator_losses(pairs(), {}).values())).sum().backward()
        gradient = method.keypoint_detector.jacobian.weight.grad
        assert gradient is not None
        assert gradient.abs().max() > 0


def test_least_squares_and_feature_matching_are_zero_where_they_should_be() -> None:
    one, zero = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert losses.telling_apart(one, zero) == 0
    assert losses.telling_apart(zero, one) == 2
    assert losses.fooling(one) == 0
    assert losses.feature_matching([one, one], [one, zero]) == 1


def test_pairs_of_two_persons_are_refused_in_training() -> None:
    batch = cast(PairBatch, {**pairs(), "same_identity": torch.tensor([True, False])})
    with pytest.raises(InputError, match="same_identity: 1"):
        build()._generator_losses(batch, {})


def test_what_training_looks_through_is_named() -> None:
    method = build(lambda_perceptual=1.0)
    assert "perceptual" in method._generator_losses(pairs(1), {})
    assert method.instruments == ("synthetic_features",)
    with pytest.raises(InputError, match="vgg19_imagenet"):
        build(lambda_perceptual=1.0, perceptual="vgg19")._generator_losses(pairs(1), {})


def test_the_released_schedule_falls_at_six_and_nine_tenths() -> None:
    factor = build(schedule="steps").phases()[0].lr_scale
    assert [factor(progress) for progress in (0, 0.59, 0.6, 0.9)] == [1, 1, 0.1, 0.01]


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "offical"}, "official"),
        ({"perceptual": "vgg16"}, "vgg19"),
        ({"image_size": 72}, "no multiple of 32"),
        ({"head_kernel": 4}, "odd"),
        ({"decay_start": 1.5}, "share"),
        ({"preset": "official", "head_kernel": 33}, "below 32"),
        ({"num_keypoints": 0}, "at least 1"),
        ({"lambda_adversarial": 1.0, "discriminator_depth": 5}, "discriminator_depth"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(changes: Mapping[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Fomm(dataclasses.replace(Config(), **changes))


def test_pictures_of_another_size_are_refused_by_both_sizes() -> None:
    with pytest.raises(InputError, match=r"64x64.*'source' is 32x32"):
        build()(synthetic_batch(32, 1, ()))
    with pytest.raises(InputError, match=r"64x64.*'driving_reference' is 32x32"):
        build()(cast(PairBatch, {**pairs(1), "driving_reference": torch.zeros(1, 3, 32, 32)}))


def test_every_configuration_is_read_and_the_large_one_is_the_released_one() -> None:
    names = [name for name in packaged_names() if name.startswith("fomm")]
    assert names == ["fomm_synthetic", "fomm_voxceleb"]
    assert [load_train_config(name).method for name in names] == ["fomm", "fomm"]
    assert load_train_config("fomm_voxceleb").method_config == Config.released()


def test_the_small_configuration_keeps_its_budget() -> None:
    settings = load_train_config("fomm_synthetic")
    with torch.device("meta"):
        method = Fomm(settings.method_config).eval()
        images = torch.zeros(1, 3, 64, 64)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            source, heat = method.keypoint_detector(images)
            driving, _ = method.keypoint_detector(images)
            method.generator(method.generator.encode(images), source, driving)
    assert min(heat.shape[2:]) >= 32
    assert sum(p.numel() for p in method.parameters()) <= 3_000_000
    assert counter.get_total_flops() / 2 <= 500_000_000  # of a multiplication and an addition each
    stored = sum(2 * v.numel() if v.is_floating_point() else 8 * v.numel() for v in method.state_dict().values())
    assert stored < 6_000_000
    assert settings.settings.batch_size == 12
    assert method.discriminator is None


def test_bfloat16_autocast_keeps_places_exact() -> None:
    method, batch = build().eval(), pairs()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = method(batch)
    assert output.reenacted.dtype == output.aux["flow"].dtype == torch.float32
    still = cast(PairBatch, {**batch, "driving": batch["source"]})
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        flow = method(still).aux["flow"]
    np.testing.assert_allclose(flow.numpy(), identity_grid(64, 64).expand(2, -1, -1, -1).numpy(), atol=1e-5)
