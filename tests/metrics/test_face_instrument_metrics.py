"""Metrics of face instruments under a measurer whose answers are known, against independent references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from scipy.spatial.distance import cosine as cosine_distance
from scipy.spatial.transform import Rotation
from test_face_metrics import NAN, KnownMeasurer, flat, pairs, values
from torch import Tensor

from reenact_zoo.faces.landmark_model import face_model
from reenact_zoo.faces.quantities import QUANTITIES
from reenact_zoo.metrics._known import known_angles_deg
from reenact_zoo.metrics._synthetic import MISSED_DEG
from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.registry import METRICS
from reenact_zoo.types import InputError, ReenactmentOutput

TO_SOURCE = {"cosim": "identity_cosface"}
CSIM = {"csim": "identity_arcface_r50", "csim_r18": "identity_arcface_r18"}
LEAKS = {
    "identity_leak_cosface": "identity_cosface",
    "identity_leak_arcface": "identity_arcface_r50",
    "identity_leak_mobilefacenet": "identity_mobilefacenet",
}
MEAN_SQUARES = {
    "pose_mse": "pose_hopenet",
    "exp_mse1_3ddfa_v1": "expression_3ddfa_v1",
    "exp_mse1_3ddfa_v2": "expression_3ddfa_v2_mb1",
    "exp_mse2": "expression_deep3d",
}
MEAN_ABSOLUTES = {"pose_consistency": "pose_hopenet", "aed_expression": "expression_deep3d"}
LANDMARKS = ("akd", "mkr", "nme_interocular", "nme_driving")
KNOWN = ("pose_known_synthetic", "pose_geodesic_known_synthetic", "expression_known_synthetic")
EVERY = (
    *TO_SOURCE, *CSIM, *LEAKS, *MEAN_SQUARES, *MEAN_ABSOLUTES, *LANDMARKS, *KNOWN,
    "identity_leak_excess_synthetic", "aed_identity", "aed_identity_squared",
)  # fmt: skip
LEVELS = [round(0.1 * i, 3) for i in range(1, 9)]
LOST = 0.8  # the level at which no instrument finds a face


def rows(quantity: str, seed: int = 0) -> dict[float, list[float]]:
    """An answer per level, of the quantity's own shape; unit length for identities."""
    generator = torch.Generator().manual_seed(seed)
    table = {}
    for level in LEVELS:
        row = torch.randn(QUANTITIES[quantity].shape, generator=generator)
        if quantity.startswith("identity"):
            row = row / row.norm()
        elif quantity == "landmarks":
            row = face() + 0.05 * row
        elif not quantity.startswith("expression"):
            row = 20 * row
        table[level] = (row if level != LOST else torch.full_like(row, NAN)).tolist()
    return table


def face() -> Tensor:
    """(68, 2) points of a frontal face, normalised."""
    points = torch.from_numpy(face_model().mean[:68, :2]).float()
    return (points - points.mean(0)) * torch.tensor([1.0, -1.0]) / 16


def known(quantity: str) -> KnownMeasurer:
    return KnownMeasurer({quantity: rows(quantity)})


def answer(measurer: KnownMeasurer, quantity: str, level: float) -> np.ndarray:
    return np.array(measurer.answers[quantity][level], np.float64)


SOURCE, DRIVING, MADE = flat(0.1, 0.2, LOST, 0.4), flat(0.5, LOST, 0.6, 0.7), flat(0.3, 0.3, 0.3, LOST)


@pytest.mark.parametrize(("name", "quantity"), TO_SOURCE.items())
def test_cosim_is_the_cosine_with_the_source_whatever_the_driver_shows(name: str, quantity: str) -> None:
    measurer = known(quantity)
    found = values(name, measurer, pairs(SOURCE, DRIVING), MADE)
    expected = [1 - cosine_distance(answer(measurer, quantity, 0.3), answer(measurer, quantity, s)) for s in (0.1, 0.2)]
    assert found.tolist() == pytest.approx([*expected, NAN, NAN], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(("name", "quantity"), CSIM.items())
def test_csim_is_with_the_source_on_cross_pairs_and_with_the_true_frame_on_self_pairs(name: str, quantity: str) -> None:
    measurer = known(quantity)
    batch = pairs(flat(0.1, 0.1, 0.1), flat(0.5, 0.5, LOST))
    batch["same_identity"] = torch.tensor([False, True, True])
    found = values(name, measurer, batch, flat(0.3, 0.3, 0.3))
    expected = [1 - cosine_distance(answer(measurer, quantity, 0.3), answer(measurer, quantity, s)) for s in (0.1, 0.5)]
    assert found.tolist() == pytest.approx([*expected, NAN], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(("name", "quantity"), LEAKS.items())
def test_leak_is_what_the_driver_has_more_than_the_source(name: str, quantity: str) -> None:
    measurer = known(quantity)
    found = values(name, measurer, pairs(SOURCE, DRIVING), MADE)
    made, source, driving = (answer(measurer, quantity, level) for level in (0.3, 0.1, 0.5))
    expected = cosine_distance(made, source) - cosine_distance(made, driving)
    assert found.tolist() == pytest.approx([expected, NAN, NAN, NAN], rel=1e-4, nan_ok=True)
    assert METRICS.get(name).card.settings == {"cross"}


def test_leak_beyond_the_targets_is_zero_for_the_target_and_takes_its_likeness_off() -> None:
    name, quantity = "identity_leak_excess_synthetic", "identity_synthetic_judge"
    answers = {0.1: [1.0, 0.0], 0.5: [0.0, 1.0], 0.3: [0.6, 0.8], 0.2: [0.8, 0.6]}
    measurer = KnownMeasurer({quantity: answers})
    batch = pairs(flat(0.1, 0.1), flat(0.5, 0.5), target=flat(0.2, 0.2))
    assert values(name, measurer, batch, flat(0.2, 0.3)).tolist() == pytest.approx([0, 0.2 + 0.2])
    silent = KnownMeasurer({quantity: answers})
    assert values(name, silent, pairs(flat(0.1), flat(0.5)), flat(0.3)).isnan().all()
    assert not silent.asked


@pytest.mark.parametrize(("name", "quantity"), [*MEAN_SQUARES.items(), *MEAN_ABSOLUTES.items()])
def test_coefficient_errors_are_means_over_the_row_against_driving(name: str, quantity: str) -> None:
    measurer = known(quantity)
    found = values(name, measurer, pairs(SOURCE, DRIVING), MADE)
    made, size = answer(measurer, quantity, 0.3), QUANTITIES[quantity].shape[0]
    differences = [made - answer(measurer, quantity, level) for level in (0.5, 0.6)]
    power = 2 if name in MEAN_SQUARES else 1
    first, third = (sum(abs(d) ** power) / size for d in differences)
    assert found.tolist() == pytest.approx([first, NAN, third, NAN], rel=1e-4, nan_ok=True)


def test_embedding_distance_has_two_names_and_one_is_the_square_of_the_other() -> None:
    quantity = "identity_mobilefacenet"
    measurer = KnownMeasurer(
        {quantity: {0.1: [1.0, 0, 0], 0.2: [0.6, 0.8, 0], 0.3: [-1.0, 0, 0], 0.5: [1.0, 0, 0], LOST: [NAN] * 3}}
    )
    batch = pairs(flat(0.3, 0.3, 0.3, 0.3), flat(0.1, 0.1, LOST, 0.1))
    batch["same_identity"] = torch.tensor([True, True, True, False])
    made = flat(0.1, 0.2, 0.1, 0.1)
    distance = values("aed_identity", measurer, batch, made)
    assert distance.tolist() == pytest.approx([0, 0.8**0.5, NAN, NAN], nan_ok=True)
    squared = values("aed_identity_squared", measurer, batch, made)
    assert squared.tolist() == pytest.approx([0, 0.8, NAN, NAN], nan_ok=True)


def test_average_keypoint_distance_is_in_pixels_of_256_whatever_the_frame() -> None:
    points = torch.zeros(68, 2)
    shifted = points + torch.tensor([2 * 6 / 256, 2 * 3 / 256])  # 6 px right, 3 px down in a frame of 256
    measurer = KnownMeasurer(
        {"landmarks": {0.1: points.tolist(), 0.2: shifted.tolist(), LOST: (points * NAN).tolist()}}
    )
    batch = pairs(flat(0.3, 0.3, 0.3), flat(0.3, 0.3, 0.3), target=flat(0.1, 0.1, LOST))
    assert values("akd", measurer, batch, flat(0.2, LOST, 0.2)).tolist() == pytest.approx([4.5, NAN, NAN], nan_ok=True)


def test_missing_rate_counts_only_faces_that_should_be_there() -> None:
    points = torch.zeros(68, 2)
    answers = {0.1: points.tolist(), LOST: (points * NAN).tolist(), 0.5: points.tolist()}
    measurer = KnownMeasurer({"landmarks": answers})
    made = flat(0.1, LOST, 0.1, LOST, 0.1)
    made[4] = NAN  # not made; the instrument sees the grey stand-in, in which it would find a face
    batch = pairs(flat(*[0.1] * 5), flat(0.1, 0.1, LOST, LOST, 0.1))
    found = values("mkr", measurer, batch, made)
    assert found.tolist() == pytest.approx([0, 1, NAN, NAN, 1], nan_ok=True)
    batch["target"] = flat(LOST, 0.1, 0.1, 0.1, 0.1)
    batch["target"][1] = NAN  # not known: driving, which shows one
    found = values("mkr", measurer, batch, made)
    assert found.tolist() == pytest.approx([NAN, 1, 0, 1, 1], nan_ok=True)


def test_interocular_error_takes_the_references_eyes_and_leaves_turned_heads_out() -> None:
    frontal = face()
    turned = frontal * torch.tensor([0.6, 1.0])
    turned[27:36, 0] += 0.35 * (frontal[:, 0].max() - frontal[:, 0].min())  # the nose far to one side
    moved, half = frontal + torch.tensor([0.04, 0.0]), 0.5 * frontal
    answers = {0.1: moved, 0.2: frontal, 0.3: half, LOST: frontal * NAN}
    measurer = KnownMeasurer({"landmarks": {level: p.tolist() for level, p in answers.items()}})
    references = torch.stack([frontal, half, turned, frontal, frontal * NAN])
    batch = pairs(flat(*[0.2] * 5), flat(*[0.2] * 5), target_landmarks=references)
    found = values("nme_interocular", measurer, batch, flat(0.1, 0.3, 0.1, LOST, 0.1))
    eyes = float((frontal[36] - frontal[45]).norm())
    assert found.tolist() == pytest.approx([100 * 0.04 / eyes, 0, NAN, NAN, NAN], rel=1e-3, abs=1e-4, nan_ok=True)
    small = pairs(flat(0.2), flat(0.2), target_landmarks=half[None])
    expected = float(100 * (frontal - half).norm(dim=-1).mean() / (half[36] - half[45]).norm())
    assert values("nme_interocular", measurer, small, flat(0.2)).item() == pytest.approx(expected, rel=1e-3)


def test_interocular_error_falls_back_on_driving_on_self_pairs_alone() -> None:
    frontal = face()
    measurer = KnownMeasurer({"landmarks": {0.1: frontal.tolist(), 0.2: (frontal + 0.1).tolist()}})
    batch = pairs(flat(0.1, 0.1), flat(0.2, 0.2))
    batch["same_identity"] = torch.tensor([True, False])
    found = values("nme_interocular", measurer, batch, flat(0.1, 0.1))
    assert found[0] > 0
    assert found[1].isnan()
    silent = KnownMeasurer({})
    assert values("nme_interocular", silent, pairs(flat(0.1), flat(0.2)), flat(0.1)).isnan().all()
    assert not silent.asked


def test_error_to_driving_is_zero_for_a_copy_of_the_driver() -> None:
    measurer = known("landmarks")
    found = values("nme_driving", measurer, pairs(SOURCE, DRIVING), flat(0.5, 0.3, 0.3, 0.7))
    made, driving = (answer(measurer, "landmarks", level) for level in (0.3, 0.6))
    expected = 100 * np.linalg.norm(made - driving, axis=1).mean() / np.linalg.norm(driving[36] - driving[45])
    assert found.tolist() == pytest.approx([0, NAN, expected, 0], rel=1e-4, abs=1e-5, nan_ok=True)


# --- known coefficients ---------------------------------------------------------------------------------------------


def coefficients(head: list[float], neck: list[float], expression: Tensor | None = None, size: int = 241) -> Tensor:
    row = torch.randn(1, size, generator=torch.Generator().manual_seed(3))
    row[0, -39:-33] = torch.tensor([*head, *neck])
    if expression is not None:
        row[0, -92:-39] = expression
    return row


@pytest.mark.parametrize("size", [241, 161])  # ict and procedural: the kinds that matter are the last ones of both
def test_known_rotation_is_neck_after_head(size: int) -> None:
    head, neck = [20.0, 10.0, -5.0], [8.0, -4.0, 3.0]

    def rotation(angles: list[float]) -> Rotation:
        yaw, pitch, roll = angles
        return Rotation.from_euler("YXZ", [yaw, -pitch, roll], degrees=True)

    yaw, pitch, roll = (rotation(neck) * rotation(head)).as_euler("YXZ", degrees=True)
    found = known_angles_deg(coefficients(head, neck, size=size))
    assert found[0].tolist() == pytest.approx([yaw, -pitch, roll], abs=1e-3)


def test_the_layout_that_the_known_numbers_are_read_by_is_that_of_the_heads() -> None:
    from reenact_zoo.faces.morphable import load_head

    layout = load_head("procedural").layout
    row = torch.arange(layout.total).float()
    parts = layout.split(row)
    assert row[-39:-30].equal(parts["pose"])
    assert row[-92:-39].equal(parts["expression"])


def test_pose_to_the_known_rotation_counts_a_lost_face_as_a_quarter_turn() -> None:
    measurer = KnownMeasurer({"pose_synthetic_judge": {0.1: [30.0, 0, 0], 0.2: [20.0, 6, 0], LOST: [NAN] * 3}})
    truth = coefficients([20.0, 0, 0], [0.0, 0, 0]).repeat(3, 1)
    batch = pairs(flat(0.1, 0.1, 0.1), flat(0.1, 0.1, 0.1), target_coefficients=truth)
    made = flat(0.1, 0.2, LOST)
    found = values("pose_known_synthetic", measurer, batch, made)
    assert found.tolist() == pytest.approx([10 / 3, 2, MISSED_DEG], abs=1e-3)
    found = values("pose_geodesic_known_synthetic", measurer, batch, made)
    assert found.tolist() == pytest.approx([10, 6, MISSED_DEG], abs=1e-2)
    silent = KnownMeasurer({})
    assert values("pose_known_synthetic", silent, pairs(flat(0.1), flat(0.1)), flat(0.1)).isnan().all()
    assert not silent.asked


def test_expression_to_the_known_coefficients_is_zero_for_their_own_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    basis = torch.randn(20, 53, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr("reenact_zoo.metrics._known._basis", lambda: basis)
    weights = torch.rand(53, generator=torch.Generator().manual_seed(6))
    code = basis @ weights
    off = code.clone()
    off[:2] += torch.tensor([3.0, 4.0])
    answers = {0.1: code.tolist(), 0.2: off.tolist(), LOST: (code * NAN).tolist()}
    measurer = KnownMeasurer({"expression_synthetic_judge": answers})
    truth = coefficients([0.0] * 3, [0.0] * 3, weights).repeat(3, 1)
    batch = pairs(flat(0.3, 0.3, 0.3), flat(0.3, 0.3, 0.3), target_coefficients=truth)
    found = values("expression_known_synthetic", measurer, batch, flat(0.1, 0.2, LOST))
    assert found.tolist() == pytest.approx([0, 5, NAN], abs=1e-4, nan_ok=True)
    other_head = {**batch, "target_coefficients": truth[:, 80:]}
    assert values("expression_known_synthetic", measurer, other_head, flat(0.1, 0.2, 0.1)).isnan().all()  # type: ignore[arg-type]


def test_the_bundled_expression_matrix_is_that_of_the_head() -> None:
    from reenact_zoo.faces.morphable import load_head
    from reenact_zoo.metrics._known import _basis
    from reenact_zoo.weights.store import WeightStore

    if not WeightStore().available("ict_facekit"):
        pytest.skip("needs ict_facekit.npz in the folder that REENACT_ZOO_WEIGHTS names")
    from reenact_zoo.train.instruments.expression_code import expression_basis

    torch.testing.assert_close(_basis(), expression_basis(load_head("ict"), 20), atol=1e-3, rtol=1e-3)


# --- every card and every accumulation ------------------------------------------------------------------------------


def measurer_of(name: str) -> KnownMeasurer:
    return KnownMeasurer({quantity: rows(quantity) for quantity in METRICS.get(name).card.quantities})


def world() -> tuple[Tensor, ...]:
    """Source, driving, target, reenacted (8, 3, 4, 4); known coefficients and landmarks."""
    images = [torch.tensor(LEVELS).roll(i).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone() for i in range(4)]
    generator = torch.Generator().manual_seed(9)
    truth = 0.1 * torch.randn(8, 241, generator=generator)
    points = face() + 0.02 * torch.randn(8, 68, 2, generator=generator)
    return (*images, truth, points)


def add(metric: PairMetric, part: tuple[Tensor, ...]) -> None:
    source, driving, target, made, truth, points = part
    batch = pairs(source, driving, target=target, target_coefficients=truth, target_landmarks=points)
    metric.update(batch, ReenactmentOutput(made))


def mean(name: str, sizes: list[int]) -> float:
    metric = METRICS.get(name)(measurer=measurer_of(name))
    for part in zip(*(tensor.split(sizes) for tensor in world())):
        add(metric, part)
    assert metric.count > 3
    return float(metric.compute())


@pytest.mark.parametrize("name", EVERY)
def test_the_mean_does_not_depend_on_the_batches(name: str) -> None:
    together = mean(name, [8])
    assert mean(name, [3, 1, 4]) == pytest.approx(together, rel=1e-6)
    assert mean(name, [1] * 8) == pytest.approx(together, rel=1e-6)


def _worker(rank: int, meet: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    found = {}
    for name in EVERY:
        metric = METRICS.get(name)(measurer=measurer_of(name))
        mine = slice(0, 5) if rank == 0 else slice(5, 8)
        add(metric, tuple(tensor[mine] for tensor in world()))
        found[name] = float(metric.compute())
    torch.save(found, f"{out}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, args=(str(tmp_path / "meet"), str(tmp_path / "value")), nprocs=2)
    alone = {name: mean(name, [8]) for name in EVERY}
    for rank in range(2):
        assert torch.load(tmp_path / f"value.{rank}") == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_a_card_says_all_that_decides_its_value(name: str) -> None:
    card = METRICS.get(name).card
    assert card.id == f"{name}.v1"
    assert card.quantities
    assert card.face_missing != "not applicable"
    assert "mkr" in card.face_missing or "lost" in card.face_missing or "degrees" in card.face_missing or name == "mkr"
    assert card.reference
    assert card.higher_is_better is not None
    assert card.alignment != "none: whole frames as they are"


@pytest.mark.parametrize("name", EVERY)
def test_without_its_weights_a_metric_is_unavailable_and_says_what_it_needs(name: str) -> None:
    metric = METRICS.get(name)(measurer=KnownMeasurer({}, lacking="the file"))
    assert metric.missing() == "the file"
    truth = {"target": flat(0.1), "target_landmarks": face()[None], "target_coefficients": torch.zeros(1, 241)}
    with pytest.raises(InputError, match="unavailable: needs the file"):
        metric.pair_values(pairs(flat(0.1), flat(0.1), **truth), ReenactmentOutput(flat(0.1)))
