from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reenact_zoo.data.training import PairRules, TrainingData, TrainingPairs, UpdateBatches
from reenact_zoo.datasets.base import Clip, FrameRef
from reenact_zoo.faces.annotate import split_key
from reenact_zoo.testing import PaintedClips, PaintedConfig
from reenact_zoo.types import TARGET_KEYS, InputError, PairBatch


def read(dataset: PaintedClips, ref: FrameRef) -> Tensor:
    return torch.from_numpy(dataset.frame(ref)).permute(2, 0, 1).float() / 255


def pairs(
    config: PaintedConfig | None = None, annotator: Callable[[], Any] | None = None, **rules: Any
) -> TrainingPairs:
    dataset = PaintedClips(config or PaintedConfig(image_size=16))
    clips = [clip for clip in dataset.clips if clip.split == "train"]
    return TrainingPairs(dataset, clips, partial(read, dataset), PairRules(**{"seed": 0, **rules}), annotator)


class Truthful(PaintedClips):
    """Would hand out targets if anybody asked."""

    def cross_target(self, *args: Any) -> dict[str, Any]:
        return {"target": np.zeros((16, 16, 3), np.uint8)}


class Counting:
    """Stands for the annotator: fills landmarks with the mean brightness, counting its calls."""

    calls = 0

    def fill(self, batch: PairBatch, requires: frozenset[str]) -> PairBatch:
        Counting.calls += 1
        filled: dict[str, Any] = dict(batch)
        for key in requires - batch.keys():
            mean = filled[split_key(key)[0]].mean((1, 2, 3))
            filled[key] = mean[:, None, None].expand(-1, 68, 2)
        return filled  # type: ignore[return-value]


class Blind:
    """An annotator that finds a face in no image but very bright ones."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def fill(self, batch: PairBatch, requires: frozenset[str]) -> PairBatch:
        filled: dict[str, Any] = dict(batch)
        for key in requires - batch.keys():
            seen = filled[split_key(key)[0]].mean() > self.threshold
            filled[key] = torch.full((1, 68, 2), 0.0 if seen else torch.nan)
        return filled  # type: ignore[return-value]


def test_a_number_means_one_pair_whoever_asks_and_when() -> None:
    one, two = pairs(), pairs()
    for number in (7, 3, 7, 0):
        a, b = one[number], two[number]
        assert a["pair_id"] == b["pair_id"]
        assert torch.equal(a["source"], b["source"])
    assert pairs(seed=1).draw(7) != one.draw(7)
    assert len({one.draw(number) for number in range(50)}) > 40


def test_self_pairs_are_two_frames_of_one_clip() -> None:
    for number in range(200):
        draw = pairs().draw(number)
        assert draw.source.clip == draw.driving.clip
        assert draw.source.index != draw.driving.index
        assert draw.source_identity == draw.driving_identity


def test_cross_pairs_join_two_persons_at_the_stated_share() -> None:
    drawn = [pairs(same_identity=0.3).draw(number) for number in range(1000)]
    same = sum(draw.source_identity == draw.driving_identity for draw in drawn)
    assert 250 < same < 350  # 3.4 standard deviations of a binomial of 1000 at 0.3
    for draw in drawn:
        assert (draw.source.clip == draw.driving.clip) == (draw.source_identity == draw.driving_identity)
    assert {draw.driving_identity for draw in drawn} == {0, 1, 2, 3}


def test_persons_are_drawn_equally_however_many_clips_they_have() -> None:
    dataset = PaintedClips(PaintedConfig(identities=4))
    owners = {"clip_00": "a", "clip_01": "a", "clip_02": "a", "clip_03": "b"}
    clips = [Clip(name, owner, "train", 6) for name, owner in owners.items()]
    drawn = [TrainingPairs(dataset, clips, partial(read, dataset), PairRules(0)).draw(n) for n in range(400)]
    assert 150 < sum(draw.source.clip == "clip_03" for draw in drawn) < 250


def test_a_clip_of_one_frame_pairs_with_itself() -> None:
    item = pairs(PaintedConfig(image_size=16, frames=1), requires=frozenset({"extra_sources"}), extra_sources=2)[0]
    assert torch.equal(item["source"], item["driving"])
    assert item["extra_sources"].shape == (2, 3, 16, 16)


def test_one_person_cannot_make_cross_pairs() -> None:
    with pytest.raises(InputError, match="at least two identities"):
        pairs(PaintedConfig(identities=1), same_identity=0.5)
    pairs(PaintedConfig(identities=1))


def test_no_clip_is_an_error() -> None:
    dataset = PaintedClips()
    with pytest.raises(InputError, match="no clip to train on"):
        TrainingPairs(dataset, [], partial(read, dataset), PairRules(0))


def test_truth_of_the_data_set_is_used_where_it_is_known() -> None:
    keys = frozenset({"source_landmarks", "driving_landmarks", "driving_reference_landmarks", "source_matte"})
    training = pairs(requires=keys)
    item, draw = training[5], training.draw(5)
    dataset = PaintedClips(PaintedConfig(image_size=16))
    for key, ref in (
        ("source", draw.source),
        ("driving", draw.driving),
        ("driving_reference", FrameRef(draw.driving.clip, 0)),
    ):
        known = dataset.annotations(ref)
        assert np.array_equal(item[f"{key}_landmarks"].numpy(), known["landmarks"])  # type: ignore[literal-required]
        assert torch.equal(item[key], read(dataset, ref))  # type: ignore[literal-required]
    assert item["source_matte"].shape == (1, 16, 16)


def test_only_what_is_required_is_in_a_batch_and_never_a_target() -> None:
    dataset = Truthful(PaintedConfig(image_size=16))
    training = TrainingPairs(dataset, dataset.clips, partial(read, dataset), PairRules(0))
    base = {"source", "driving", "same_identity", "pair_id", "source_identity", "driving_identity"}
    assert set(training[0]) == base
    for requires in ({"source_landmarks"}, {"driving_matte", "extra_sources"}):
        keys = set(pairs(requires=frozenset(requires))[0])
        assert keys == base | requires
        assert not keys & TARGET_KEYS


def test_maps_of_another_size_follow_the_images() -> None:
    dataset = PaintedClips(PaintedConfig(image_size=32))

    def small(ref: FrameRef) -> Tensor:
        return torch.nn.functional.avg_pool2d(read(dataset, ref), 2)

    training = TrainingPairs(dataset, dataset.clips, small, PairRules(0, requires=frozenset({"source_matte"})))
    whole = torch.from_numpy(dataset.annotations(training.draw(0).source)["matte"])
    matte = training[0]["source_matte"]
    assert matte.shape == (1, 16, 16)
    torch.testing.assert_close(matte.mean(), whole.mean(), atol=1e-3, rtol=0)  # resampling keeps the area


def test_what_the_data_set_does_not_know_is_estimated_once_per_pair() -> None:
    Counting.calls = 0
    unknown = PaintedConfig(image_size=16, annotated=False)
    item = pairs(unknown, Counting, requires=frozenset({"source_landmarks", "driving_landmarks"}))[0]
    assert Counting.calls == 1
    assert item["source_landmarks"].shape == (68, 2)
    torch.testing.assert_close(item["driving_landmarks"][0, 0], item["driving"].mean())


def test_truth_about_whole_frames_is_not_used_for_cropped_ones() -> None:
    item = pairs(None, Counting, requires=frozenset({"source_landmarks"}), whole_frames=False)[0]
    torch.testing.assert_close(item["source_landmarks"][0, 0], item["source"].mean())


def test_a_key_that_nobody_supplies_is_named() -> None:
    with pytest.raises(InputError, match="nobody supplies 'source_coefficients'"):
        pairs(requires=frozenset({"source_coefficients"}))[0]


def test_a_pair_without_a_face_is_drawn_again_and_a_faceless_data_set_is_refused() -> None:
    unknown, needs = PaintedConfig(image_size=16, annotated=False), frozenset({"source_landmarks"})
    means = [pairs(unknown)[number]["source"].mean().item() for number in range(40)]
    threshold = float(np.median(means))
    some = pairs(unknown, partial(Blind, threshold), requires=needs)
    assert all(some[number]["source"].mean() > threshold for number in range(40))
    first = min(number for number, mean in enumerate(means) if mean > threshold)
    assert some[first]["pair_id"] == pairs(unknown)[first]["pair_id"], "a pair with a face keeps its number"
    with pytest.raises(InputError, match="no face was found in 20 training pairs in a row"):
        pairs(unknown, partial(Blind, 2.0), requires=needs)[0]


def test_training_pairs_travel_to_workers_without_their_instruments() -> None:
    training = pairs(PaintedConfig(image_size=16, annotated=False), Counting, requires=frozenset({"source_landmarks"}))
    before = training[3]
    assert training._annotator is not None
    copy = pickle.loads(pickle.dumps(training))
    assert copy._annotator is None
    assert torch.equal(copy[3]["source_landmarks"], before["source_landmarks"])


def test_processes_share_each_update_without_overlap_and_resume_where_it_stopped() -> None:
    whole = list(islice(UpdateBatches(0, 6), 4))
    assert whole[0] == [0, 1, 2, 3, 4, 5]
    shares = [list(islice(UpdateBatches(0, 6, rank, 3), 4)) for rank in range(3)]
    assert [sorted(number for part in parts for number in part) for parts in zip(*shares)] == whole
    assert list(islice(UpdateBatches(2, 6), 2)) == whole[2:]
    with pytest.raises(InputError, match="cannot be shared among 4"):
        UpdateBatches(0, 6, 0, 4)


def test_the_fingerprint_changes_with_what_decides_the_pairs() -> None:
    variants = [pairs(), pairs(seed=1), pairs(same_identity=0.5), pairs(PaintedConfig(frames=7))]
    assert len({training.fingerprint() for training in variants}) == 4
    assert pairs().fingerprint() == pairs(requires=frozenset({"source_matte"})).fingerprint()


def test_validation_pairs_are_fixed_and_absent_where_not_wanted() -> None:
    data = TrainingData(pairs(), 4, pairs(seed=1), 5, workers=0)
    (loader,) = data.val_dataloader()
    seen = [name for batch in loader for name in batch["pair_id"]]
    assert seen == [pairs(seed=1)[number]["pair_id"] for number in range(5)]
    assert TrainingData(pairs(), 4, None, 5).val_dataloader() == []
