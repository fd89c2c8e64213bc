"""Metrics that ask an instrument, under a measurer whose answers are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reenact_zoo.metrics._landmark_error import normalised_landmark_error
from reenact_zoo.metrics._pose import pose_error_deg
from reenact_zoo.registry import METRICS
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

NAN = float("nan")


class KnownMeasurer:
    """Answers from a table keyed by the colour of the first pixel, and counts what it is asked."""

    def __init__(self, answers: dict[str, dict[float, list[float]]], lacking: str | None = None) -> None:
        self.answers, self.lacking = answers, lacking
        self.asked: list[tuple[str, int]] = []

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        assert images.isfinite().all(), "an instrument must never see NaN"
        self.asked.append((quantity, len(images)))
        rows = [self.answers[quantity][round(image[0, 0, 0].item(), 3)] for image in images]
        return torch.tensor(rows, dtype=torch.float32)

    def missing(self, quantity: str) -> str | None:
        return self.lacking


def flat(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone()


def pairs(source: Tensor, driving: Tensor, same: bool = False, **more: Tensor) -> PairBatch:
    rows = torch.full((len(driving),), same)
    return {"source": source, "driving": driving, "same_identity": rows, **more}  # type: ignore[typeddict-item]


def values(name: str, measurer: KnownMeasurer | None, batch: PairBatch, reenacted: Tensor) -> Tensor:
    return METRICS.get(name)(measurer=measurer).pair_values(batch, ReenactmentOutput(reenacted))


def test_identity_is_the_cosine_with_the_source_and_not_with_the_driving() -> None:
    measurer = KnownMeasurer(
        {"identity_mobilefacenet": {0.1: [3.0, 0, 0], 0.2: [1.0, 1, 0], 0.3: [0, 0, 5.0], 0.4: [NAN, NAN, NAN]}}
    )
    batch = pairs(source=flat(0.1, 0.1, 0.1, 0.4), driving=flat(0.3, 0.3, 0.3, 0.3))
    found = values("identity_mobilefacenet", measurer, batch, flat(0.1, 0.2, 0.4, 0.1))
    assert found[:2].tolist() == pytest.approx([1, 2**-0.5])
    assert found[2:].isnan().all()


@pytest.mark.parametrize("name", ["pose_3ddfa_v2", "pose_pnp"])
def test_pose_error_is_against_driving_and_goes_the_short_way_round(name: str) -> None:
    measurer = KnownMeasurer({name: {0.1: [10.0, 0, 0], 0.2: [-20.0, 3, 6], 0.3: [170.0, 0, 0], 0.4: [-170.0, 0, 0]}})
    batch = pairs(source=flat(0.2, 0.2), driving=flat(0.1, 0.3))
    assert values(name, measurer, batch, flat(0.2, 0.4)).tolist() == pytest.approx([13, 20 / 3])


def test_pose_error_is_symmetric_and_zero_for_equal_poses() -> None:
    a, b = torch.tensor([[5.0, -4, 3]]), torch.tensor([[-1.0, 2, 9]])
    assert pose_error_deg(a, b).equal(pose_error_deg(b, a))
    assert pose_error_deg(a, b).item() == pytest.approx(6)
    assert pose_error_deg(a, a).item() == 0


def test_expression_error_is_the_mean_square_against_driving() -> None:
    measurer = KnownMeasurer({"expression_3ddfa_v2": {0.1: [0.0] * 10, 0.2: [1.0] * 5 + [0.0] * 5, 0.3: [9.0] * 10}})
    batch = pairs(source=flat(0.3), driving=flat(0.1))
    assert values("expression_3ddfa_v2", measurer, batch, flat(0.2)).tolist() == pytest.approx([0.5])


def test_landmark_error_is_in_percent_of_the_reference_box() -> None:
    reference = torch.tensor([[[-0.5, -0.5], [0.5, 0.5]]])  # a box of 50 x 20 px in an image 100 wide and 40 high
    shifted = reference + torch.tensor([2 / 100 * 3, 2 / 40 * 4])  # 3 px right, 4 px down: 5 px
    assert normalised_landmark_error(shifted, reference, 40, 100).item() == pytest.approx(100 * 5 / (50 * 20) ** 0.5)


def landmark_answers() -> KnownMeasurer:
    square = torch.tensor([[-0.5, -0.5], [0.5, 0.5]])
    return KnownMeasurer({"landmarks": {x: (square + x).tolist() for x in (0.1, 0.2, 0.3)}})


def test_nme_prefers_the_true_targets_landmarks_over_the_drivers() -> None:
    known = torch.tensor([[[-0.5, -0.5], [0.5, 0.5]]]) + 0.3
    batch = pairs(flat(0.1), flat(0.1), target_landmarks=known)
    assert values("nme", landmark_answers(), batch, flat(0.3)).item() == pytest.approx(0, abs=1e-5)
    assert values("nme", landmark_answers(), batch, flat(0.2)).item() == pytest.approx(10 * 2**0.5, rel=1e-4)


def test_nme_without_truth_uses_the_driver_on_self_pairs_only() -> None:
    batch = pairs(flat(0.1, 0.1), flat(0.2, 0.2))
    batch["same_identity"] = torch.tensor([True, False])
    found = values("nme", landmark_answers(), batch, flat(0.1, 0.1))
    assert found[0].item() == pytest.approx(10 * 2**0.5, rel=1e-4)
    assert found[1].isnan()
    measurer = landmark_answers()
    assert values("nme", measurer, pairs(flat(0.1), flat(0.2)), flat(0.1)).isnan().all()
    assert not measurer.asked


def test_measured_nme_is_zero_for_the_true_image() -> None:
    batch = pairs(flat(0.1), flat(0.1), target=flat(0.3))
    assert values("nme_measured", landmark_answers(), batch, flat(0.3)).item() == 0
    assert values("nme_measured", landmark_answers(), batch, flat(0.2)).item() == pytest.approx(10 * 2**0.5, rel=1e-4)
    assert values("nme_measured", landmark_answers(), pairs(flat(0.1), flat(0.2)), flat(0.1)).isnan().all()


def test_detection_rate_counts_missing_faces_and_unmade_images_as_zero() -> None:
    measurer = KnownMeasurer({"detected": {0.1: 1.0, 0.2: 0.0, 0.5: 1.0}})  # type: ignore[dict-item]
    reenacted = flat(0.1, 0.2, 0.1)
    reenacted[2] = NAN
    batch = pairs(flat(0.1, 0.1, 0.1), flat(0.1, 0.1, 0.1))
    assert values("detection_rate", measurer, batch, reenacted).tolist() == [1, 0, 0]


def test_an_unmade_image_has_no_value_although_a_face_would_be_found_in_its_stand_in() -> None:
    measurer = KnownMeasurer({"identity_mobilefacenet": {0.1: [1.0, 0], 0.5: [1.0, 0]}})
    reenacted = flat(0.1, 0.1)
    reenacted[1] = NAN
    found = values("identity_mobilefacenet", measurer, pairs(flat(0.1, 0.1), flat(0.1, 0.1)), reenacted)
    assert found[0] == 1
    assert found[1].isnan()


def test_a_missing_instrument_is_named_in_one_line() -> None:
    batch = pairs(flat(0.1), flat(0.1))
    with pytest.raises(InputError, match="'pose_pnp' needs a measurer"):
        values("pose_pnp", None, batch, flat(0.1))
    with pytest.raises(InputError, match="unavailable: needs the embedder"):
        values("identity_mobilefacenet", KnownMeasurer({}, lacking="the embedder"), batch, flat(0.1))
