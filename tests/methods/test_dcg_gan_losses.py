from __future__ import annotations

import dataclasses
import logging
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.methods.dcg_gan import losses
from reenact_zoo.methods.dcg_gan.losses import Calibration, Judges, LossWeights
from reenact_zoo.types import InputError


def test_terms_at_the_size_of_the_warp_average_the_picture() -> None:
    picture = torch.rand(2, 3, 8, 8)
    small = F.avg_pool2d(picture, 2)
    for term in (losses.proxy_warp, losses.cycle, losses.anchor):
        assert float(term(small, picture)) == pytest.approx(0, abs=1e-6)
        assert float(term(small + 0.25, picture)) == pytest.approx(0.25, abs=1e-6)


def test_the_pixel_loss_counts_paired_rows_alone() -> None:
    made = torch.zeros(3, 3, 4, 4, requires_grad=True)
    truth = torch.stack([torch.full((3, 4, 4), value) for value in (0.3, 9.0, 0.5)])
    paired = torch.tensor([True, False, True])
    assert float(losses.pixel_l2(made, truth, paired).detach()) == pytest.approx(0.4)
    halves = torch.cat([torch.full((1, 3, 4, 2), 0.8), torch.zeros(1, 3, 4, 2)], 3)
    assert float(losses.pixel_l2(halves, 0 * halves, paired[:1])) == pytest.approx(0.8 / math.sqrt(2))  # not the mean
    nothing = losses.pixel_l2(made, truth, torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not made.grad.any()
    same = losses.pixel_l2(made, made.detach(), paired)
    same.backward()
    assert made.grad.isfinite().all()


def test_the_parsing_loss_is_the_share_of_another_class() -> None:
    classes = torch.zeros(2, 8, 8, dtype=torch.int64)
    one = F.one_hot(classes, 19).permute(0, 3, 1, 2).float()
    classes[:, :4] = 17
    other = F.one_hot(classes, 19).permute(0, 3, 1, 2).float()
    small, paired = F.avg_pool2d(one, 4), torch.tensor([True, False])
    assert float(losses.parsing_warp(small, one, paired)) == 0
    assert float(losses.parsing_warp(small, other, paired)) == pytest.approx(0.5)
    assert float(losses.parsing_warp(small, other, torch.zeros_like(paired))) == 0


def test_hinges() -> None:
    real, made = torch.tensor([3.0, 0.5]), torch.tensor([-2.0, 0.0])
    assert float(losses.hinge_discriminator(real, made)) == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)
    assert float(losses.hinge_generator(made)) == pytest.approx(1.0)


def test_the_share_of_pairs_falls_over_the_first_half() -> None:
    assert [losses.paired_share(p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([0.8, 0.65, 0.5, 0.5])


def test_fixed_weights_multiply_and_leave_out_what_weighs_nothing() -> None:
    calibration = Calibration(LossWeights(cycle=0.0))
    parts = {"cycle": torch.tensor(1.0), "parsing": torch.tensor(0.5), "adversarial": torch.tensor(-2.0)}
    weighted = calibration(parts)
    assert {name: float(value) for name, value in weighted.items()} == pytest.approx(
        {"parsing": 1, "adversarial": -0.2}
    )
    assert not calibration.measuring
    with pytest.raises(ValueError, match="no weight for"):
        calibration({"pixels": torch.tensor(1.0)})


def test_calibration_measures_settles_and_rests(caplog: pytest.LogCaptureFixture) -> None:
    weights = LossWeights(calibrated=True, warm_up=2, adversarial=0.3)
    calibration = Calibration(weights)
    first = {"geometry": 4.0, "cycle": 0.5, "parsing": 1e-9, "adversarial": 50.0, "colour": 0.2}
    second = {"geometry": 2.0, "cycle": 0.3, "parsing": 1e-9, "adversarial": -7.0}  # no paired row
    tensors = [{k: torch.tensor(v, requires_grad=True) for k, v in parts.items()} for parts in (first, second)]
    assert calibration.measuring
    calibration.eval()(tensors[0])
    calibration.train()
    assert float(calibration(tensors[0])["cycle"]) == pytest.approx(2.0 * 0.5)  # given weights meanwhile
    with caplog.at_level(logging.INFO):
        total = torch.stack(list(calibration(tensors[1]).values())).sum()
    total.backward()  # settling must not disturb the graph
    found = calibration.values()
    assert found["geometry"] == 1
    assert found["adversarial"] == pytest.approx(0.3)
    assert found["cycle"] == pytest.approx(0.1 * 3.0 / 0.4)
    assert found["colour"] == pytest.approx(0.1 * 3.0 / 0.2)  # over the updates that had it
    assert found["parsing"] == pytest.approx(0.1 * 3.0 / 1e-3)  # the floor
    assert found["identity"] == 1.0  # never seen: as given
    assert "which stay" in caplog.text
    assert not calibration.measuring
    calibration({"cycle": torch.tensor(100.0)})
    assert calibration.values() == found
    again = Calibration(weights)
    again.load_state_dict(calibration.state_dict())
    assert again.values() == found
    assert not again.measuring


def test_calibration_needs_the_geometry_term() -> None:
    with pytest.raises(InputError, match="geometry a weight"):
        LossWeights(calibrated=True, geometry=0.0)
    calibration = Calibration(LossWeights(calibrated=True, warm_up=1))
    with pytest.raises(InputError, match="no geometry term"):
        calibration({"cycle": torch.tensor(1.0)})
    with pytest.raises(InputError, match="cycle must be 0 or more"):
        LossWeights(cycle=-1.0)
    with pytest.raises(InputError, match="adversarial_start is a share"):
        LossWeights(adversarial_start=40)


def test_judges_know_a_picture_again_and_teach_the_made_one_alone() -> None:
    torch.manual_seed(0)
    weights = LossWeights()
    judges = Judges(weights)
    assert judges.instruments == ("synthetic_coefficients", "synthetic_identity_train")
    smooth = F.interpolate(torch.rand(4, 3, 6, 6), (64, 64), mode="bicubic", align_corners=False).clamp(0, 1)
    one, two = smooth[:2], smooth[2:]
    angle = torch.arange(68) * 2 * math.pi / 68
    landmarks = 0.5 * torch.stack([angle.cos(), angle.sin()], 1).expand(2, -1, -1)
    for far in (
        lambda a, b: judges.identity(a, b, landmarks, landmarks),
        lambda a, b: judges.geometry(a, b, landmarks),
    ):
        made, truth = one.clone().requires_grad_(), two.clone().requires_grad_()
        distance = far(made, truth)
        distance.backward()
        assert float(far(one, one)) < 0.8 * float(distance.detach())
        assert made.grad.abs().sum() > 0
        assert truth.grad is None
    paired = torch.tensor([True, False])
    parts = judges.pixel(one, two, paired)
    assert set(parts) == {"colour", "gradient"}
    assert float(parts["colour"]) == pytest.approx(float(judges.pixel(one[:1], two[:1], paired[:1])["colour"]))
    assert judges.pixel(one, two, ~paired & paired) == {}
    none = Judges(LossWeights(identity=0, geometry=0))
    assert none.instruments == ()


def test_judges_take_another_instrument_for_coefficients() -> None:
    layout = dataclasses.replace(losses.LAYOUT, shape=1, texture=0, expression=2, pose=1, camera=0, light=1)

    def coefficients(images: Tensor, _landmarks_px: Tensor) -> Tensor:
        level = images.mean((1, 2, 3))
        return torch.stack([7 * level, level, 3 * level, 5 * level, 9 * level], 1)

    judges = Judges(LossWeights(identity=0), coefficients=coefficients, layout=layout)
    assert judges.instruments == ()
    torch.manual_seed(0)
    dark, bright = torch.full((2, 3, 64, 64), 0.25), torch.full((2, 3, 64, 64), 0.75)
    distance = judges.geometry(dark, bright, torch.rand(2, 68, 2) - 0.5)
    # pose 0.5 * 5; expression the mean of 0.5 * 1 and 0.5 * 3; shape and light do not count
    assert float(distance) == pytest.approx(2.5 + 1.0, abs=0.05)
