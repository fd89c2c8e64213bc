"""Image metrics against independent implementations and closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.metrics
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure as reference_ssim

from reenact_zoo.metrics._inputs import head_region, truth
from reenact_zoo.metrics._ms_ssim import ms_ssim
from reenact_zoo.metrics._structural import EXPONENTS
from reenact_zoo.metrics.gradient_magnitude_similarity import gradient_magnitude_similarity
from reenact_zoo.metrics.l1 import l1
from reenact_zoo.metrics.l1_background import l1_background
from reenact_zoo.metrics.l1_head import l1_head
from reenact_zoo.metrics.lpips_alex import LpipsAlex
from reenact_zoo.metrics.psnr import psnr
from reenact_zoo.metrics.ssim import ssim
from reenact_zoo.registry import METRICS
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput
from reenact_zoo.weights.store import WeightStore

GMS = "gradient_magnitude_similarity"


def images(size: int, batch: int = 3, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    coarse = torch.rand(batch, 3, size // 8, size // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    a = smooth.clamp(0, 1)
    return a, (a + noise * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def batch_of(driving: Tensor, same: bool = True, **more: Tensor) -> PairBatch:
    rows = torch.full((len(driving),), same)
    return {"source": driving, "driving": driving, "same_identity": rows, **more}  # type: ignore[typeddict-item]


def value(name: str, batch: PairBatch, reenacted: Tensor) -> Tensor:
    return METRICS.get(name)().pair_values(batch, ReenactmentOutput(reenacted))


def test_every_metric_file_registers_a_card_of_its_own_name() -> None:
    cards = [METRICS.get(name).card for name in METRICS.names()]
    assert [card.name for card in cards] == METRICS.names()
    assert len({card.title for card in cards}) == len(cards)
    assert all(card.compares for card in cards)


def test_every_card_says_how_its_number_is_made() -> None:
    for name in METRICS.names():
        card = METRICS.get(name).card
        assert card.id == f"{name}.v{card.version}"
        for said in (card.colour_range, card.alignment, card.reduction, card.face_missing, card.compares):
            assert len(said) > 3, name


def test_l1_is_the_mean_absolute_difference() -> None:
    a, b = images(32)
    expected = [(a[i] - b[i]).abs().mean().item() for i in range(3)]
    assert l1(a, b).tolist() == pytest.approx(expected, rel=1e-5)


def test_psnr_agrees_with_scikit_image_and_stops_at_100_db() -> None:
    a, b = images(48)
    expected = [skimage.metrics.peak_signal_noise_ratio(a[i].numpy(), b[i].numpy(), data_range=1) for i in range(3)]
    assert psnr(a, b).tolist() == pytest.approx(expected, abs=1e-4)
    assert psnr(a, a).tolist() == [100.0] * 3
    assert psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1)).item() == pytest.approx(20, abs=1e-5)


def test_ssim_agrees_with_scikit_image() -> None:
    a, b = images(40)
    expected = [skimage_ssim(a[i], b[i]) for i in range(3)]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-6)


def test_ssim_of_flat_images_has_its_closed_form() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    assert ssim(a, b).item() == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4), abs=1e-6)


def skimage_ssim(a: Tensor, b: Tensor) -> float:
    return skimage.metrics.structural_similarity(
        a.double().numpy(),
        b.double().numpy(),
        channel_axis=0,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize(("size", "scales"), [(64, 3), (128, 4), (256, 5)])
def test_ms_ssim_agrees_with_factors_from_torchmetrics_and_scikit_image(size: int, scales: int) -> None:
    a, b = images(size, batch=1)
    betas = [e / sum(EXPONENTS[:scales]) for e in EXPONENTS[:scales]]
    expected, x, y = 1.0, a.double(), b.double()
    for scale, beta in enumerate(betas):
        # torchmetrics' structure factor; its SSIM pads by reflection, so the coarsest scale comes from scikit-image
        _, structure = reference_ssim(x, y, data_range=1.0, return_contrast_sensitivity=True)
        expected *= (skimage_ssim(x[0], y[0]) if scale == scales - 1 else structure.item()) ** beta
        x, y = torch.nn.functional.avg_pool2d(x, 2), torch.nn.functional.avg_pool2d(y, 2)
    assert ms_ssim(a, b, size).item() == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_exponents_are_those_stated_for_64_and_128_pixels() -> None:
    three = [e / sum(EXPONENTS[:3]) for e in EXPONENTS[:3]]
    assert three == pytest.approx([0.0711, 0.4530, 0.4760], abs=1e-4)
    four = [e / sum(EXPONENTS[:4]) for e in EXPONENTS[:4]]
    assert four == pytest.approx([0.0517, 0.3295, 0.3462, 0.2726], abs=1e-4)


def test_ms_ssim_of_equal_images_is_one_and_of_inverted_ones_zero() -> None:
    a, _ = images(64)
    assert ms_ssim(a, a, 64).tolist() == pytest.approx([1] * 3)
    assert ms_ssim(a, 1 - a, 64).tolist() == [0] * 3


def test_ms_ssim_refuses_another_resolution_than_its_card_states() -> None:
    a, b = images(128, batch=1)
    with pytest.raises(InputError, match=r"ms_ssim_64 is defined at 64x64 pixels.*128x128"):
        value("ms_ssim_64", batch_of(a), b)


def test_truth_is_the_target_else_driving_on_self_pairs_else_nothing() -> None:
    driving, target = images(16)
    batch = batch_of(driving)
    batch["same_identity"] = torch.tensor([True, False, False])
    assert truth(batch)[0].equal(driving[0])
    assert truth(batch)[1:].isnan().all()
    target = target.clone()
    target[0] = target[2] = float("nan")
    known = truth({**batch, "target": target})
    assert known[0].equal(driving[0])
    assert known[1].equal(target[1])
    assert known[2].isnan().all()


@pytest.mark.parametrize(
    "name", ["l1", "psnr", "ssim", "ms_ssim_64", "ms_ssim_head_64", "l1_head", "l1_background", GMS]
)
def test_pairs_without_truth_have_no_value(name: str) -> None:
    a, b = images(64)
    assert value(name, batch_of(a, same=False), b).isnan().all()


@pytest.mark.parametrize(
    "name", ["l1", "psnr", "ssim", "ms_ssim_64", "ms_ssim_head_64", "l1_head", "l1_background", GMS]
)
def test_an_image_the_method_could_not_make_has_no_value_and_spoils_no_other(name: str) -> None:
    a, b = images(64)
    disc = torch.zeros(3, 1, 64, 64)
    disc[:, :, 20:40, 20:40] = 1
    batch = batch_of(a, target_matte=disc, target_source_matte=disc)
    before = value(name, batch, b)
    b[1] = float("nan")
    after = value(name, batch, b)
    assert after[1].isnan()
    assert after[[0, 2]].equal(before[[0, 2]])


def test_head_region_is_the_union_of_both_mattes_grown_by_three_pixels() -> None:
    source, target = torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)
    source[..., 5, 5], target[..., 14, 12] = 1, 0.7
    expected = torch.zeros(20, 20)
    expected[2:9, 2:9] = 1
    expected[11:18, 9:16] = 1
    region = head_region(batch_of(torch.zeros(1, 3, 20, 20), target_source_matte=source, target_matte=target))
    assert region is not None
    assert region[0, 0].equal(expected)


def test_head_and_background_errors_are_means_over_their_own_pixels() -> None:
    head = torch.zeros(1, 1, 8, 8)
    head[..., :2] = 1
    a, b = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    b[..., :2], b[..., 2:] = 0.5, 0.1
    assert l1_head(a, b, head).item() == pytest.approx(0.5)
    assert l1_background(a, b, head).item() == pytest.approx(0.1)
    assert math.isnan(l1_head(a, b, head * 0).item())


def test_what_happens_outside_the_head_region_does_not_change_the_head_score() -> None:
    a, b = images(64)
    matte = torch.zeros(3, 1, 64, 64)
    matte[:, :, 20:44, 20:44] = 1
    batch = batch_of(a, target_matte=matte, target_source_matte=matte)
    changed = b.clone()
    changed[..., :10] = 0
    assert value("ms_ssim_head_64", batch, changed).equal(value("ms_ssim_head_64", batch, b))
    assert (value("ms_ssim_head_64", batch, a) == 1).all()
    inside = b.clone()
    inside[..., 25:30, 25:30] = 0
    assert (value("ms_ssim_head_64", batch, inside) < value("ms_ssim_head_64", batch, b)).all()


def test_a_shift_of_two_percent_scores_as_methods_9_1_says_it_roughly_does() -> None:
    a, _ = images(64)
    shifted = a.roll(round(0.02 * 64), dims=-1)
    assert (l1(a, shifted) > 0.005).all()
    assert (ms_ssim(a, shifted, 64) < 0.999).all()


def gms_by_scipy(a: Tensor, b: Tensor) -> float:
    """Xue et al. 2014 on 8-bit values, with scipy's Prewitt and scikit-image's luminance weights of BT.601."""
    strengths = []
    for image in (a, b):
        y = 255 * skimage.color.rgb2yiq(image.permute(1, 2, 0).double().numpy())[..., 0]
        half = (y[::2, ::2] + y[1::2, ::2] + y[::2, 1::2] + y[1::2, 1::2]) / 4
        across, down = (scipy.ndimage.prewitt(half, axis=axis) / 3 for axis in (1, 0))
        strengths.append(np.hypot(across, down)[1:-1, 1:-1])
    m, n = strengths
    return float(((2 * m * n + 170) / (m**2 + n**2 + 170)).mean())


def test_gradient_magnitude_similarity_agrees_with_scipy() -> None:
    a, b = images(48)
    expected = [gms_by_scipy(a[i], b[i]) for i in range(3)]
    # scikit-image's luminance weights have more digits than 0.299, 0.587, 0.114
    assert gradient_magnitude_similarity(a, b).tolist() == pytest.approx(expected, abs=1e-5)
    assert (gradient_magnitude_similarity(a, a) == 1).all()


def test_gradient_similarity_falls_with_blur_and_not_with_a_flat_change_of_colour() -> None:
    sharp = images(64, noise=0.4)[1].clamp(0, 0.9)
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2, count_include_pad=False)
    assert (gradient_magnitude_similarity(blurred, sharp) < 0.9).all()
    torch.testing.assert_close(gradient_magnitude_similarity(sharp + 0.1, sharp), torch.ones(3, dtype=torch.float64))


class Distance(torch.nn.Module):
    """In the place of LPIPS: a sum over pixels, so that a wrong picture or value range shows."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - 2 * b).flatten(1).sum(1)


def test_lpips_compares_reenacted_with_the_truth() -> None:
    a, b = images(32)
    target = a.flip(0)
    rows = LpipsAlex(network=Distance()).pair_values(batch_of(a, same=False, target=target), ReenactmentOutput(b))
    torch.testing.assert_close(rows, (b - 2 * target).flatten(1).sum(1))


def test_lpips_without_its_weights_is_unavailable_and_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WeightStore, "available", lambda store, name: False)
    metric = LpipsAlex(store=WeightStore(tmp_path))
    assert "alex" in (metric.missing() or "")
    assert metric.weights() == {}
    assert set(metric.judges()) == {"lpips_alex", "alexnet_imagenet"}


def test_lpips_refuses_pictures_that_its_network_cannot_see() -> None:
    a, b = images(16)
    with pytest.raises(InputError, match="at least 32 px"):
        LpipsAlex(network=Distance()).pair_values(batch_of(a), ReenactmentOutput(b))
