"""Metrics of the synthetic judges under a measurer whose answers are known, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from test_face_metrics import NAN, KnownMeasurer, flat, pairs, values
from torch import Tensor

from reenact_zoo.metrics._synthetic import MISSED_DEG, pose_geodesic_deg
from reenact_zoo.registry import METRICS
from reenact_zoo.types import ReenactmentOutput

JUDGED = [name for name in METRICS.names() if name.endswith("_synthetic_judge")]


def poses() -> KnownMeasurer:
    return KnownMeasurer(
        {
            "pose_synthetic_judge": {
                0.1: [10.0, 0, 0],
                0.2: [-20.0, 3, 6],
                0.3: [-170.0, 0, 0],
                0.4: [170.0, 0, 0],
                0.9: [NAN, NAN, NAN],
            }
        }
    )


def test_pose_is_against_driving_and_a_lost_face_counts_as_a_quarter_turn() -> None:
    batch = pairs(source=flat(0.2, 0.2, 0.2, 0.2, 0.2), driving=flat(0.1, 0.3, 0.1, 0.9, 0.9))
    found = values("pose_synthetic_judge", poses(), batch, flat(0.2, 0.4, 0.9, 0.1, 0.9))
    assert found[:3].tolist() == pytest.approx([13, 20 / 3, MISSED_DEG])
    assert found[3:].isnan().all(), "where driving shows no face nothing can be said"


def test_an_image_that_was_not_made_counts_as_a_lost_face() -> None:
    reenacted = flat(0.1, 0.1)
    reenacted[1] = NAN
    measurer = poses()
    measurer.answers["pose_synthetic_judge"][0.5] = [10.0, 0, 0]  # of the stand-in that the instrument sees
    batch = pairs(source=flat(0.2, 0.2), driving=flat(0.1, 0.1))
    assert values("pose_synthetic_judge", measurer, batch, reenacted).tolist() == [0, MISSED_DEG]


def test_geodesic_angle_is_that_of_another_implementation() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(20, 3, generator=generator) * torch.tensor([160.0, 80, 60]) - 40 for _ in range(2))

    def rotations(angles: Tensor) -> Rotation:  # R = Ry(yaw) Rx(-pitch) Rz(roll)
        yaw, pitch, roll = angles.numpy().T
        return Rotation.from_euler("YXZ", [[y, -p, r] for y, p, r in zip(yaw, pitch, roll)], degrees=True)

    expected = torch.from_numpy((rotations(a).inv() * rotations(b)).magnitude() * 180 / math.pi).float()
    torch.testing.assert_close(pose_geodesic_deg(a, b), expected, atol=1e-3, rtol=1e-4)


def test_geodesic_metric_is_the_angle_between_reenacted_and_driving() -> None:
    batch = pairs(source=flat(0.2, 0.2, 0.2), driving=flat(0.1, 0.3, 0.1))
    found = values("pose_geodesic_synthetic_judge", poses(), batch, flat(0.3, 0.4, 0.9))
    assert found.tolist() == pytest.approx([180, 20, MISSED_DEG], abs=0.03)  # float32 near a half turn


def test_expression_is_the_length_of_the_difference_of_codes() -> None:
    measurer = KnownMeasurer(
        {"expression_synthetic_judge": {0.1: [0.0] * 20, 0.2: [3.0, 4.0] + [0.0] * 18, 0.9: [NAN] * 20}}
    )
    batch = pairs(source=flat(0.2, 0.2, 0.2), driving=flat(0.1, 0.1, 0.9))
    found = values("expression_synthetic_judge", measurer, batch, flat(0.2, 0.9, 0.1))
    assert found[0].item() == pytest.approx(5)
    assert found[1:].isnan().all()


@pytest.mark.parametrize(
    ("name", "answers", "expected"),
    [
        ("pose_target_synthetic_judge", poses().answers, [10.0, MISSED_DEG]),
        (
            "expression_target_synthetic_judge",
            {"expression_synthetic_judge": {0.1: [0.0], 0.2: [2.0], 0.4: [3.0], 0.9: [NAN]}},
            [3.0, NAN],
        ),
        (
            "identity_target_synthetic_judge",
            {"identity_synthetic_judge": {0.1: [1.0, 0], 0.2: [0, 1.0], 0.4: [0.6, 0.8], 0.9: [NAN, NAN]}},
            [0.6, NAN],
        ),
    ],
)
def test_target_forms_compare_with_the_true_target(
    name: str, answers: dict[str, dict[float, list[float]]], expected: list[float]
) -> None:
    if name.startswith("pose"):
        answers["pose_synthetic_judge"][0.4] = [40.0, 0, 0]
    batch = pairs(source=flat(0.2, 0.2), driving=flat(0.2, 0.2), target=flat(0.1, 0.1))
    found = values(name, KnownMeasurer(answers), batch, flat(0.4, 0.9))
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    truthless = pairs(source=flat(0.2), driving=flat(0.2))
    measurer = KnownMeasurer(answers)
    assert values(name, measurer, truthless, flat(0.4)).isnan().all()
    assert not measurer.asked, "no instrument runs where nothing is known"


def test_target_forms_use_driving_on_self_pairs_without_a_target() -> None:
    found = values("pose_target_synthetic_judge", poses(), pairs(flat(0.2), flat(0.1), same=True), flat(0.2))
    assert found.tolist() == pytest.approx([13])


def test_identity_is_with_the_source_and_leak_is_what_the_driver_adds() -> None:
    answers = {"identity_synthetic_judge": {0.1: [1.0, 0], 0.2: [0, 1.0], 0.3: [0.6, 0.8], 0.9: [NAN, NAN]}}
    batch = pairs(source=flat(0.1, 0.1, 0.9), driving=flat(0.2, 0.9, 0.2))
    reenacted = flat(0.3, 0.3, 0.3)
    kept = values("identity_synthetic_judge", KnownMeasurer(answers), batch, reenacted)
    assert kept.tolist() == pytest.approx([0.6, 0.6, NAN], nan_ok=True)
    leak = values("identity_leak_synthetic_judge", KnownMeasurer(answers), batch, reenacted)
    assert leak[0].item() == pytest.approx(0.2)
    assert leak[1:].isnan().all()


@pytest.mark.parametrize("name", JUDGED)
def test_the_mean_does_not_depend_on_the_batches(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    levels = [round(0.1 * i, 3) for i in range(1, 9)]
    kind = METRICS.get(name).card.quantities[0]
    table = {level: (50 * torch.randn(3, generator=generator)).tolist() for level in levels}
    table[0.8] = [NAN, NAN, NAN]
    images = [torch.tensor(levels).roll(i).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone() for i in range(4)]

    def mean(sizes: list[int]) -> float:
        metric = METRICS.get(name)(measurer=KnownMeasurer({kind: table}))
        parts = [tensor.split(sizes) for tensor in images]
        for source, driving, target, made in zip(*parts):
            metric.update(pairs(source, driving, target=target), ReenactmentOutput(made))
        assert metric.count > 3
        return float(metric.compute())

    assert mean([3, 1, 4]) == pytest.approx(mean([8]), rel=1e-6)
    assert mean([1] * 8) == pytest.approx(mean([8]), rel=1e-6)


def test_every_judge_says_that_it_is_synthetic_and_what_a_lost_face_costs() -> None:
    assert len(JUDGED) == 8
    for name in JUDGED:
        card = METRICS.get(name).card
        assert card.name == name
        assert "synthetic" in card.title
        assert "knows no real face" in card.reference
        assert ("90 degrees" in card.face_missing) == name.startswith("pose")
        assert all(quantity.endswith("_judge") for quantity in card.quantities)
        assert card.reads_target == ("_target_" in name)
