"""Parts of latent_pose: generator, discriminator, background, augmentation and losses, each by its own words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.methods.latent_pose import augmentation, losses
from reenact_zoo.methods.latent_pose.background import without_head
from reenact_zoo.methods.latent_pose.discriminator import Discriminator
from reenact_zoo.methods.latent_pose.generator import Generator, generator_widths
from reenact_zoo.methods.latent_pose.official import official_state
from reenact_zoo.testing import synthetic_batch


def _described(state: dict[str, Tensor], identity: Tensor, pose: Tensor, residual: int) -> tuple[Tensor, Tensor]:
    """Head and segmentation from released keys alone, written from golden/spec_latent_pose.md."""

    def weight(name: str) -> Tensor:
        original, u, v = (state[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        return original / (u @ original.reshape(len(original), -1) @ v)

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weight(name), state[f"{name}.bias"])

    hidden = linear("affine_params_projector.0", torch.cat([identity, pose], 1)).relu()
    numbers = linear("affine_params_projector.2", hidden)
    used = 0

    def adain(x: Tensor) -> Tensor:
        nonlocal used
        channels = x.shape[1]
        bias, scale = numbers[:, used : used + channels], numbers[:, used + channels : used + 2 * channels]
        used += 2 * channels
        return F.instance_norm(x, eps=1e-4) * scale[:, :, None, None] + bias[:, :, None, None]

    x = state["constant.constant"].expand(len(identity), -1, -1, -1)
    blocks = 1 + max(int(key.split(".")[1]) for key in state if ".block." in key)
    for index in range(blocks):
        up, name = int(index >= residual), f"decoder_blocks.{index}"
        inner = adain(x).relu()
        inner = F.interpolate(inner, scale_factor=2) if up else inner
        inner = F.conv2d(inner, weight(f"{name}.block.{3 + up}"), padding=1)
        inner = F.conv2d(adain(inner).relu(), weight(f"{name}.block.{7 + up}"), padding=1)
        if up:
            x = F.conv2d(F.interpolate(x, scale_factor=2), weight(f"{name}.skip.1"), state[f"{name}.skip.1.bias"])
        x = inner + x
    last = f"decoder_blocks.{blocks + 2}"
    numbers_out = F.conv2d(adain(x).relu(), weight(last), state[f"{last}.bias"], padding=1).tanh()
    assert used == numbers.shape[1]
    return numbers_out[:, :3] * 0.75 + 0.5, numbers_out[:, 3:] * 0.5 + 0.5


@torch.no_grad()
def test_the_generator_is_the_described_one() -> None:
    torch.manual_seed(0)
    generator = Generator(32, 4, 16, identity_size=6, pose_size=3).eval()
    generator.constant.normal_()  # ones would hide its channels
    identity, pose = torch.randn(2, 6), torch.randn(2, 3)
    head, segmentation = generator(identity, pose)
    expected = _described(official_state(generator), identity, pose, residual=2)
    assert head.std() > 1e-3
    torch.testing.assert_close(head, expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(segmentation, expected[1], rtol=1e-4, atol=1e-5)


def test_widths_are_the_released_ones_at_256_pixels() -> None:
    assert generator_widths(256, 64, 512) == [512, 512, 512, 512, 256, 128, 64]


def test_fresh_weights_start_at_the_scale_that_is_asked_for() -> None:
    torch.manual_seed(0)
    generator = Generator(32, 4, 16, 6, 3, norm_group=4, scale_start=1.0)
    numbers = generator.affine(torch.zeros(1, 6), torch.zeros(1, 3))
    pieces = numbers.split([width for width in generator.norms for _ in range(2)], 1)
    assert all((shift.abs() < 0.5).all() for shift in pieces[::2])
    assert all(((scale - 1).abs() < 0.5).all() for scale in pieces[1::2])


def test_what_lies_around_a_head_is_continued_over_it() -> None:
    colour = torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    head = torch.zeros(1, 1, 64, 64)
    head[..., 20:50, 16:48] = 1
    picture = torch.where(head > 0, torch.ones(()), colour)
    torch.testing.assert_close(without_head(picture, head), colour, atol=1e-4, rtol=0)
    far = torch.zeros(1, 1, 64, 64)
    far[..., :8, :8] = 1
    torch.testing.assert_close(without_head(picture, far)[..., 20:, 20:], picture[..., 20:, 20:])
    assert without_head(picture, torch.ones_like(head)).isfinite().all()


def test_the_score_is_linear_plus_the_product_with_the_persons_vector() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(32, 4, 8, identity_size=5, identities=3).eval()
    images = torch.rand(2, 3, 32, 32)
    plain, maps = discriminator(images)
    vectors = discriminator.vectors(torch.tensor([2, 0]))
    assert vectors is not None
    assert [tuple(x.shape[1:]) for x in maps] == [(4, 16, 16), (8, 8, 8), (8, 4, 4), (5, 4, 4)]
    product = (maps[-1].relu().sum((2, 3)) * vectors).sum(1)
    torch.testing.assert_close(discriminator(images, vectors)[0], plain + product)


def test_losses_are_those_of_their_formulas() -> None:
    half, ones = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)
    assert losses.dice(ones, ones).item() == pytest.approx(0, abs=1e-6)
    assert losses.dice(half, ones).item() == pytest.approx(-torch.log(torch.tensor(4.0 / 5)).item())
    assert losses.dice(0 * ones, ones).isfinite()
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert losses.telling_apart(real, made).item() == pytest.approx(0.25 + 0.5)
    assert losses.fooling(made).item() == pytest.approx(1.5)
    assert losses.matching([half, ones], [ones, ones]).item() == pytest.approx(0.25)


def test_truth_and_matte_move_together_and_landmarks_with_them() -> None:
    torch.manual_seed(1)
    axis = (2 * torch.arange(64) + 1) / 64 - 1
    ramp = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))[None].repeat(8, 1, 1, 1)
    (one, two), shift = augmentation.shifted_together(ramp, ramp[:, :1])
    assert torch.equal(one[:, :1], two)
    assert shift.abs().max() <= augmentation.SHIFT
    assert 0 < (shift == 0).all(1).sum() < 8
    inner = slice(16, 48)  # what was at x is now at x + shift
    torch.testing.assert_close(
        one[..., inner, inner], (ramp - shift[..., None, None])[..., inner, inner], atol=1e-4, rtol=0
    )


def test_the_pose_view_alters_every_way_and_stays_an_image() -> None:
    torch.manual_seed(0)
    images = synthetic_batch(16, 1)["driving"].repeat(64, 1, 1, 1)
    seen = augmentation.pose_view(images)
    assert 0 <= seen.min() <= seen.max() <= 1
    same = (seen - images).abs().amax((1, 2, 3)) < 1e-6
    assert 0 < same.sum() < 20  # all seven left out: 0.5 * 0.75**6 = 9 %
    for change in augmentation._CHANGES:
        assert not torch.allclose(change(images), images, atol=1e-3)
