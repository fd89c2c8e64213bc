"""Errors inside named areas and of flow, against loops over pixels and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.metrics._flow_error import end_point_error
from reenact_zoo.metrics._regions import area_l1, uncovered_background
from reenact_zoo.registry import METRICS
from reenact_zoo.types import PairBatch, ReenactmentOutput

PARSED = {
    "l1_skin_brows": {"skin", "nose", "brow_left", "brow_right"},
    "l1_hair": {"hair"},
    "l1_mouth_interior": {"mouth"},
    "l1_eyes": {"eye_left", "eye_right"},
}
SIZE = 16


def pair(**more: Tensor) -> tuple[PairBatch, Tensor]:
    generator = torch.Generator().manual_seed(1)
    driving, reenacted = torch.rand(2, 2, 3, SIZE, SIZE, generator=generator)
    rows = torch.ones(2, dtype=torch.bool)
    return {"source": driving, "driving": driving, "same_identity": rows, **more}, reenacted  # type: ignore[typeddict-item]


def value(name: str, batch: PairBatch, reenacted: Tensor, **aux: Tensor) -> Tensor:
    return METRICS.get(name)().pair_values(batch, ReenactmentOutput(reenacted, aux))


def parsing() -> Tensor:
    """(2, 19, 16, 16) shares that sum to 1."""
    return torch.rand(2, len(CLASSES), SIZE, SIZE, generator=torch.Generator().manual_seed(2)).softmax(1)


def by_loops(reenacted: Tensor, target: Tensor, weight: Tensor) -> float:
    total = size = 0.0
    for y in range(SIZE):
        for x in range(SIZE):
            error = sum(abs(float(reenacted[c, y, x]) - float(target[c, y, x])) for c in range(3)) / 3
            total, size = total + float(weight[y, x]) * error, size + float(weight[y, x])
    return total / size


@pytest.mark.parametrize("name", PARSED)
def test_a_parsed_area_is_weighted_by_the_share_of_its_own_classes(name: str) -> None:
    batch, reenacted = pair(target_parsing=parsing())
    weight = sum(batch["target_parsing"][:, i] for i, label in enumerate(CLASSES) if label in PARSED[name])
    expected = [by_loops(reenacted[i], batch["driving"][i], weight[i]) for i in range(2)]  # type: ignore[index]
    assert value(name, batch, reenacted).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", [*PARSED, "l1_disoccluded", "l1_background_uncovered", "epe", "epe_head"])
def test_pairs_whose_area_nobody_knows_have_no_value(name: str) -> None:
    batch, reenacted = pair()
    assert value(name, batch, reenacted, flow=torch.zeros(2, SIZE, SIZE, 2)).isnan().all()
    unknown = torch.full((2, 1, SIZE, SIZE), float("nan"))
    half = {
        "target_parsing": parsing().index_fill_(0, torch.tensor(1), float("nan")),
        "target_flow": torch.zeros(2, SIZE, SIZE, 2).index_fill_(0, torch.tensor(1), float("nan")),
        "target_flow_valid": unknown.clone().index_fill_(0, torch.tensor(0), 0).masked_fill_(top(), 1),
        "target_source_matte": unknown.clone().index_fill_(0, torch.tensor(0), 1),
        "target_matte": unknown.clone().index_fill_(0, torch.tensor(0), 0).masked_fill_(top(), 1),
    }
    batch, reenacted = pair(**half)
    found = value(name, batch, reenacted, flow=torch.zeros(2, SIZE, SIZE, 2))
    assert found.isfinite().tolist() == [True, False]


def top() -> Tensor:
    """(2, 1, 16, 16) bool: first two rows of the first image."""
    mask = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.bool)
    mask[0, :, :2] = True
    return mask


def test_an_area_below_one_pixel_has_no_value() -> None:
    a, b = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert math.isnan(area_l1(a, b, torch.full((1, 1, 4, 4), 0.9 / 16)).item())
    assert area_l1(a, b, torch.full((1, 1, 4, 4), 1.1 / 16)).item() == pytest.approx(1)


def test_disoccluded_pixels_are_those_without_a_true_origin() -> None:
    valid = torch.ones(2, 1, SIZE, SIZE)
    valid[:, :, 3, 4:6] = 0
    batch, reenacted = pair(target_flow_valid=valid)
    expected = (reenacted - batch["driving"])[:, :, 3, 4:6].abs().mean((1, 2))
    torch.testing.assert_close(value("l1_disoccluded", batch, reenacted), expected)


def test_uncovered_background_lies_behind_the_source_and_three_pixels_off_the_target() -> None:
    source, target = torch.zeros(1, 1, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE)
    source[..., 8, :] = 1
    target[..., 8, 5] = 1
    batch, _ = pair(target_source_matte=source, target_matte=target)
    area = uncovered_background(batch)
    assert area is not None
    assert area[0, 0].nonzero().tolist() == [[8, x] for x in range(SIZE) if not 2 <= x <= 8]


def still(size: int, width: int | None = None) -> Tensor:
    y, x = ((2 * torch.arange(n) + 1) / n - 1 for n in (size, width or size))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]


def test_end_point_error_is_the_distance_in_pixels() -> None:
    true = still(8, 16)
    flow = true + torch.tensor([3 * 2 / 16, 4 * 2 / 8])  # 3 px right, 4 px down
    counts = torch.ones(1, 1, 8, 16)
    assert end_point_error(flow, true, counts).item() == pytest.approx(5, rel=1e-5)
    assert end_point_error(true, true, counts).item() == 0


def test_only_pixels_with_a_true_origin_count() -> None:
    true = still(8)
    flow = true.clone()
    flow[:, 0] += 2 / 8 * 6
    flow[:, 1] += float("nan")
    counts = torch.zeros(1, 1, 8, 8)
    counts[..., 0, :], counts[..., 2, :] = 1, 1
    expected = 6 * math.sqrt(2) / 2  # half of the pixels that count
    assert end_point_error(flow, true, counts).item() == pytest.approx(expected, rel=1e-5)
    assert end_point_error(flow, true, counts * 0).isnan().all()


def test_coarse_flow_is_enlarged_by_its_displacement() -> None:
    shift = torch.tensor([0.25, -0.5])
    assert end_point_error(still(4) + shift, still(16) + shift, torch.ones(1, 1, 16, 16)).item() < 1e-5


def test_the_head_form_counts_the_targets_head_only() -> None:
    true, valid, matte = still(SIZE).repeat(2, 1, 1, 1), torch.ones(2, 1, SIZE, SIZE), torch.zeros(2, 1, SIZE, SIZE)
    matte[..., :4, :] = 1
    batch, reenacted = pair(target_flow=true, target_flow_valid=valid, target_matte=matte)
    flow = true.clone()
    flow[:, :4, :, 0] += 2 / SIZE * 2  # 2 px on the head, a quarter of the picture
    assert value("epe_head", batch, reenacted, flow=flow).tolist() == pytest.approx([2, 2], rel=1e-5)
    assert value("epe", batch, reenacted, flow=flow).tolist() == pytest.approx([0.5, 0.5], rel=1e-5)
    assert value("epe", batch, reenacted).isnan().all()  # the method gives none
