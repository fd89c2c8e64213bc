"""one_shot as a method: it learns, its phases own what they should, and bad samples spoil only themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.faces.landmark_model import face_model
from reenact_zoo.methods.copy_source import CopySource
from reenact_zoo.methods.one_shot import losses, sampling
from reenact_zoo.methods.one_shot.config import Config
from reenact_zoo.methods.one_shot.module import OneShot, Pair
from reenact_zoo.methods.one_shot.pictures import from_network, to_network
from reenact_zoo.testing import overfit, synthetic_batch
from reenact_zoo.types import InputError, PairBatch

KEYS = OneShot.requires


def build(**changes: Any) -> OneShot:
    torch.manual_seed(0)
    return OneShot(dataclasses.replace(Config.tiny(), **changes))


def pairs(count: int = 2) -> PairBatch:
    return synthetic_batch(64, count, KEYS)


def with_entries(batch: PairBatch, **entries: Tensor) -> PairBatch:
    return cast(PairBatch, {**batch, **entries})


def total(parts: dict[str, Tensor]) -> float:
    return float(torch.stack(list(parts.values())).sum().detach())


def test_thirty_updates_on_one_pair_halve_the_loss() -> None:
    method, batch = build(fusion_start=1.0, fusion="none", adversarial_start=1.0), pairs(1)
    torch.manual_seed(1)
    before = total(method._generator_losses(batch, {}))
    overfit(method, batch, 30)
    torch.manual_seed(1)
    method.num_updates = 0
    assert total(method.train()._generator_losses(batch, {})) < before / 2


def test_fusion_net_is_trained_alone_at_the_end() -> None:
    method, batch = build(), pairs()
    method.max_updates = 10
    phases = {phase.name: phase for phase in method.phases()}
    assert [name for name, phase in phases.items() if phase.active(5)] == ["generator", "discriminator"]
    assert [name for name, phase in phases.items() if phase.active(6)] == ["fusion"]
    found = method._fusion_losses(batch, {})
    torch.stack(list(found.values())).sum().backward()
    assert all(p.grad is not None for p in method.fusion_net.parameters())
    for network in (method.encoder, method.decoder, method.generator):
        assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("shape", ["driving", "personalised"])
def test_fusion_net_learns_on_landmarks_of_another_persons_shape(shape: str) -> None:
    method, model = build(driving_shape=shape), face_model()
    shapes = np.zeros((2, len(model.identity)))
    shapes[:, 1] = 2.0, -2.0  # a wide and a narrow face
    points = model.points(shapes, np.zeros((2, len(model.expression))))[:, :68, :2]
    people = torch.from_numpy(points * [1, -1]).float() / 11
    images = torch.rand(2, 3, 8, 8)
    pair = Pair(images, people, images, images, people, people)
    found, between = method._of_another_shape(pair), (people[0] - people[1]).norm(dim=-1).mean()
    to_own, to_other = ((found - one).norm(dim=-1).mean(1) for one in (people, people.flip(0)))
    if shape == "driving":
        assert (to_other < 0.7 * between).all(), "the driver seems to be the other one"
    else:
        assert (to_own < 0.3 * between).all(), "giving it the source's shape undoes that"
    lost = dataclasses.replace(pair, source_landmarks=torch.stack([people[0], people[1] * torch.nan]))
    assert torch.equal(method._of_another_shape(lost)[0], people[0]), "without another person they stay as they are"


def test_the_adversarial_term_begins_with_the_discriminators() -> None:
    method, batch = build(adversarial_start=0.5), pairs()
    method.max_updates = 20  # the generator has 12
    start = {phase.name: phase.start for phase in method.phases()}["discriminator"]
    assert start == 6
    method.num_updates = start - 1
    assert "adversarial" not in method._generator_losses(batch, {})
    method.num_updates = start
    assert "adversarial" in method._generator_losses(batch, {})


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("lambda_appearance", "appearance"),
        ("lambda_pixel", "pixel"),
        ("lambda_perceptual", "perceptual"),
        ("lambda_identity", "identity"),
        ("lambda_adversarial", "adversarial"),
    ],
)
def test_a_loss_of_weight_zero_is_gone_and_the_others_stay(field: str, part: str) -> None:
    batch = pairs()
    whole = build()._generator_losses(batch, {}).keys()
    method = build(**{field: 0.0})
    method.phases()
    assert method._generator_losses(batch, {}).keys() == whole - {part}


def test_the_weighted_pixel_loss_is_that_of_the_released_code() -> None:
    made, truth, importance = (
        torch.zeros(1, 3, 2, 2),
        torch.ones(1, 3, 2, 2),
        torch.tensor([0.0, 1, 2, 3]).view(1, 1, 2, 2),
    )
    assert losses.weighted_pixel(made, truth, importance).item() == pytest.approx(0.5 + 1.5)


def test_least_squares_terms_are_zero_where_they_should_be() -> None:
    real, made = [torch.ones(1, 1, 2, 2)], [torch.zeros(1, 1, 2, 2)]
    assert losses.telling_apart(real, made) == 0
    assert losses.fooling(real) == 0
    assert losses.fooling(made + made) == 2


@pytest.mark.parametrize("key", sorted(KEYS))
def test_absent_landmarks_are_named_with_how_to_supply_them(key: str) -> None:
    batch = {name: value for name, value in pairs(1).items() if name != key}
    with pytest.raises(InputError, match=rf"'one_shot' needs '{key}'.*Annotator\.fill"):
        build()(cast(PairBatch, batch))


@pytest.mark.parametrize("key", sorted(KEYS))
def test_landmarks_of_another_scheme_are_named_with_both_counts(key: str) -> None:
    batch = pairs(1)
    with pytest.raises(InputError, match=r"98.*68"):
        build().eval()(cast(PairBatch, {**batch, key: torch.rand(1, 98, 2)}))


@pytest.mark.parametrize("preset", ["clean", "official"])
@pytest.mark.parametrize("key", sorted(KEYS))
@pytest.mark.parametrize("kind", ["missing", "collinear", "outside"])
def test_degenerate_landmarks_fail_alone(kind: str, key: str, preset: str) -> None:
    method, batch = build(preset=preset, scheme="68", fusion="fixed").eval(), pairs(3)
    method.encoder.sample = lambda mean: mean  # type: ignore[method-assign]  # the official noise would differ
    bad = cast("dict[str, Tensor]", batch)[key].clone()
    line = torch.linspace(-0.5, 0.5, 68)
    bad[1] = {
        "missing": torch.full((68, 2), torch.nan),
        "collinear": torch.stack((line, line), 1),
        "outside": bad[1] + 9,
    }[kind]
    with torch.no_grad():
        whole = method(batch).reenacted
        image = method(with_entries(batch, **{key: bad})).reenacted
    assert image[1].isnan().all()
    assert torch.allclose(image[[0, 2]], whole[[0, 2]], atol=1e-5)
    spoilt = with_entries(batch, **{key: bad})
    assert all(value.isfinite() for value in method._generator_losses(spoilt, {}).values())


def test_a_batch_without_a_usable_row_trains_nothing() -> None:
    method, batch = build(), pairs()
    empty = with_entries(batch, source_landmarks=torch.full((2, 68, 2), torch.nan))
    shared: dict[str, Any] = {}
    for found in (
        method._generator_losses(empty, shared),
        method._discriminator_losses(empty, shared),
        method._fusion_losses(empty, shared),
    ):
        assert total(dict(found)) == 0


def test_the_fused_image_is_what_the_mask_says() -> None:
    method, batch = build().eval(), pairs()
    with torch.no_grad():
        output = method(batch)
        method.config.fusion = "none"
        plain = method(batch)
        method.config.fusion = "fixed"
        fixed = method(batch)
    mask, generated, warped = (output.aux[key] for key in ("mask", "generated", "warped"))
    assert torch.allclose(output.reenacted, mask * warped + (1 - mask) * generated, atol=1e-5)
    assert torch.equal(plain.reenacted, generated)
    assert not torch.allclose(fixed.reenacted, plain.reenacted)


def test_a_pair_from_one_image_has_its_own_inner_face_and_another_contour() -> None:
    batch = pairs(4)
    torch.manual_seed(0)
    images, points = sampling.contour_swaps(batch["source"], batch["source_landmarks"])
    assert images.shape == batch["source"].shape
    for row in range(4):
        own, new = batch["source_landmarks"][row], points[row]
        matrix = sampling.similarity(own[None, 17:], new[None, 17:])
        brought = sampling.transform_points(matrix, own[None])[0]
        assert torch.allclose(brought[17:], new[17:], atol=1e-4)
        assert (brought[:17] - new[:17]).norm(dim=-1).max() > 1e-3


def test_single_image_training_never_looks_at_the_driving_frame() -> None:
    method = build(training="single_image", fusion="fixed")
    batch = pairs()
    blind = with_entries(
        batch, driving=torch.full_like(batch["driving"], torch.nan), driving_landmarks=torch.full((2, 68, 2), torch.nan)
    )
    found = method._generator_losses(blind, {})
    assert all(value.isfinite() for value in found.values())
    assert [phase.name for phase in method.phases()] == ["generator", "discriminator"]


def test_landmark_noise_is_in_units_of_the_eyes_distance() -> None:
    points = pairs(1)["source_landmarks"].repeat(500, 1, 1)
    torch.manual_seed(0)
    moved = sampling.estimated(points, 0.04) - points
    own = moved - moved.mean(1, keepdim=True)
    eyes = (points[0, 36:42].mean(0) - points[0, 42:48].mean(0)).norm()
    assert 0.035 < float(own.std() / eyes) < 0.05
    assert sampling.estimated(points, 0.0) is points


def test_several_sources_average_their_codes_and_warp_the_nearest() -> None:
    method, batch = build(sources=3).eval(), pairs()
    with pytest.raises(InputError, match=r"needs 2 more images of the source person in 'extra_sources'.*has 0"):
        method(batch)
    alone_of_landmarks = with_entries(batch, extra_sources=torch.stack([batch["source"]] * 2, 1))
    with pytest.raises(InputError, match=r"'extra_sources_landmarks' \(B, 2, N, 2\).*Annotator\.fill"):
        method(alone_of_landmarks)
    copies = with_entries(
        batch,
        extra_sources=torch.stack([batch["source"], batch["driving"]], 1),
        extra_sources_landmarks=torch.stack([batch["source_landmarks"], batch["driving_landmarks"]], 1),
    )
    with torch.no_grad():
        output = method(copies)
    assert torch.allclose(output.aux["warped"], batch["driving"], atol=0.02)
    same = with_entries(
        batch,
        extra_sources=torch.stack([batch["source"]] * 2, 1),
        extra_sources_landmarks=torch.stack([batch["source_landmarks"]] * 2, 1),
    )
    with torch.no_grad():
        together = method(same).reenacted
        method.config.sources = 1
        alone, unasked = method(batch).reenacted, method(copies)
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.equal(unasked.reenacted, output.reenacted)  # what the batch holds is used without being asked for
    assert not torch.allclose(unasked.aux["reconstruction"], method(batch).aux["reconstruction"], atol=1e-4)


def test_a_choice_that_cannot_work_is_refused() -> None:
    with pytest.raises(InputError, match="fusion"):
        build(training="single_image")
    with pytest.raises(InputError, match="learned"):
        build(fusion="lerned")
    with pytest.raises(InputError, match="scheme"):
        build(scheme="67")
    with pytest.raises(InputError, match="norm_group=1"):
        build(preset="official", norm_group=16)
    with pytest.raises(InputError, match="norm_group must be at least 1"):
        build(norm_group=0)


def test_pictures_and_weights_of_another_size_are_refused_by_both_sizes(tmp_path: Path) -> None:
    method = build()
    with pytest.raises(InputError, match=r"64x64.*32x32"):
        method(synthetic_batch(32, 1, KEYS))
    path = method.save_weights(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"64.*128"):
        OneShot.load(path, image_size=128)


def test_weights_of_another_method_are_refused_by_both_names(tmp_path: Path) -> None:
    path = CopySource().save_weights(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="of method 'copy_source', not of 'one_shot'"):
        OneShot.load(path)


def test_the_official_preset_composites_over_the_source_and_draws_noise() -> None:
    method, batch = build(preset="official", scheme="68", fusion="none").eval(), pairs(1)
    with torch.no_grad():
        one, two = method(batch).reenacted, method(batch).reenacted
    assert torch.equal(one[..., :4, :4], batch["source"][..., :4, :4])
    assert not torch.equal(one, two)


def test_the_official_preset_can_be_trained_on_black() -> None:
    made = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).requires_grad_()
    back = to_network(from_network(made, official=True), official=True)
    back.sum().backward()
    assert torch.allclose(back, made, atol=1e-5)
    assert made.grad is not None
    assert made.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(name for name in packaged_names() if name.startswith("one_shot")))
def test_every_configuration_is_read(name: str) -> None:
    assert load_train_config(name).method == "one_shot"
