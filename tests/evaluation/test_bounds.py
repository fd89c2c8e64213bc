"""Bounds made from the truth: closed forms, and where they have no meaning."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from reenact_zoo.data.evaluation import EvaluationPairs, collate
from reenact_zoo.evaluation.bounds import BOUNDS, is_bound, load_bound, missing, truth
from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.evaluation.table import BOUNDS as SHOWN
from reenact_zoo.types import InputError, PairBatch

SIZE = 8


def pair(level: float = 0.5, *, same: bool = False, **entries: Any) -> PairBatch:
    flat = torch.full((3, SIZE, SIZE), level)
    made = {"source": flat / 2, "driving": flat, "same_identity": torch.tensor(same), "pair_id": "p", **entries}
    return cast(PairBatch, made)


def cross(target: torch.Tensor, **entries: Any) -> PairBatch:
    return pair(target=target, **entries)


def identity() -> torch.Tensor:
    centres = (2 * torch.arange(SIZE) + 1) / SIZE - 1
    return torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)


def noise(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_every_bound_has_words_for_the_table() -> None:
    assert set(BOUNDS) <= set(SHOWN)
    assert set(SHOWN) - set(BOUNDS) == {"copy_source", "copy_driving"}
    assert all(is_bound(name) for name in BOUNDS)
    assert not is_bound("copy_source")


def test_truth_is_the_target_else_the_driving_frame_of_self_pairs_else_unknown() -> None:
    target = noise()
    batch = collate([cross(target), pair(0.25, same=True), pair(0.25)])
    true = truth(batch)
    assert torch.equal(true[0], target)
    assert torch.equal(true[1], torch.full_like(target, 0.25))
    assert true[2].isnan().all()


def test_blur_ceiling_is_two_by_two_means_enlarged_bilinearly() -> None:
    target = noise()
    made = load_bound("bound:blur_ceiling", [])(collate([cross(target)]))[0].numpy()
    means = target.numpy().reshape(3, SIZE // 2, 2, SIZE // 2, 2).mean((2, 4))
    padded = np.pad(means, ((0, 0), (1, 1), (1, 1)), mode="edge")
    expected = np.empty((3, SIZE, SIZE))
    for y in range(SIZE):
        for x in range(SIZE):  # an output pixel lies a quarter of a block from the nearest block's centre
            v, u = y // 2 + 1, x // 2 + 1
            w, t = (v - 1 if y % 2 == 0 else v + 1), (u - 1 if x % 2 == 0 else u + 1)
            near, far = 0.75 * padded[:, v, u] + 0.25 * padded[:, v, t], 0.75 * padded[:, w, u] + 0.25 * padded[:, w, t]
            expected[:, y, x] = 0.75 * near + 0.25 * far
    np.testing.assert_allclose(made, expected, atol=1e-6)  # float32 against float64


def test_oracle_warp_moves_the_source_and_leaves_it_where_the_flow_says_nothing() -> None:
    flow = identity()
    flow[..., 0] += 2 / SIZE  # every pixel comes from its right neighbour
    valid = torch.ones(1, SIZE, SIZE)
    valid[:, :, 2] = 0
    source = noise()
    batch = collate([cross(noise(1), source=source, target_flow=flow, target_flow_valid=valid), cross(noise(2))])
    made = load_bound("bound:oracle_warp", [])(batch)
    expected = torch.cat([source[:, :, 1:], source[:, :, -1:]], dim=-1)  # the border repeats itself
    expected[:, :, 2] = source[:, :, 2]
    torch.testing.assert_close(made[0], expected, atol=1e-5, rtol=0)  # coordinates in float32
    assert made[1].isnan().all(), "a pair without a true flow has no picture"


class Unreadable(list[Any]):
    """The second pair cannot be read."""

    def __getitem__(self, index: Any) -> Any:
        if index == 1:
            raise InputError("damaged")
        return super().__getitem__(index)


def test_mean_face_is_one_picture_for_all_the_mean_of_the_truths_that_can_be_read() -> None:
    pairs = Unreadable([cross(torch.full((3, SIZE, SIZE), 0.2)), pair(0.9, same=True), pair(0.6, same=True), pair(0.7)])
    made = load_bound("bound:mean_face", pairs)(collate([pairs[0], pairs[2]]))
    # a target, a driving frame of a self pair, and the driving frame of a pair whose truth nobody knows
    torch.testing.assert_close(made, torch.full((2, 3, SIZE, SIZE), (0.2 + 0.6 + 0.7) / 3))


def test_mean_face_of_many_pairs_looks_at_evenly_spaced_ones() -> None:
    levels = torch.linspace(0, 1, 640)
    made = load_bound("bound:mean_face", [pair(float(x), same=True) for x in levels])(collate([pair(0.5)]))
    assert made.mean() == pytest.approx(float(levels[::10].mean()), abs=1e-6)


def test_mean_face_of_nothing_readable_is_refused() -> None:
    with pytest.raises(InputError, match="none of 2 pairs can be read"):
        load_bound("bound:mean_face", Broken())(collate([pair()]))


class Broken:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> PairBatch:
        raise InputError("damaged")


def test_pairs_without_truth_have_only_the_mean_face() -> None:
    known = {name: missing(name, pair()) for name in BOUNDS}
    assert known["bound:mean_face"] == ""
    assert "nobody knows the true picture" in known["bound:blur_ceiling"]
    assert "does not know the true flow" in known["bound:oracle_warp"]
    assert missing("bound:blur_ceiling", pair(same=True)) == ""
    assert missing("bound:blur_ceiling", collate([pair(same=True), pair()])) != ""
    with pytest.raises(InputError, match="nobody knows the true picture"):
        load_bound("bound:blur_ceiling", [])(collate([pair()]))


def test_a_misspelt_bound_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'bound:oracle_warp'"):
        load_bound("bound:oracle_wrap", [])


@pytest.mark.slow
def test_on_the_embedded_pairs_bounds_come_closer_to_the_truth_than_the_source_does() -> None:
    from reenact_zoo.evaluation.runner import build_dataset

    protocol = load_protocol("synthetic_self_64")
    dataset = build_dataset(protocol, None)

    def image(ref: Any) -> torch.Tensor:
        return torch.from_numpy(dataset.frame(ref)).permute(2, 0, 1).float() / 255

    chosen = protocol.select_pairs(dataset)[:60:20]
    items = EvaluationPairs(dataset, chosen, image, 64)
    batch = collate([items[i] for i in range(len(items))])
    true = truth(batch)
    far = (batch["source"] - true).abs().mean()
    for name in ("bound:blur_ceiling", "bound:oracle_warp"):
        made = load_bound(name, items)(batch)
        assert 0 < (made - true).abs().mean() < far, name
