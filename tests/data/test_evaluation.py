"""Evaluation batches: pixels always, truth where it is known, annotations only as an oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.data.evaluation import EvaluationPairs, as_tensor, collate, pair_labels
from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.types import InputError


class Knowing(ClipDataset):
    """Knows targets of pairs driven by clip "b" only; says which reference it was asked about."""

    @property
    def clips(self) -> list[Clip]:
        return [Clip("a", "a", "", 9), Clip("b", "b", "", 9)]

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        return np.full((8, 8, 3), 10 * ref.index, np.uint8)

    def annotations(self, ref: FrameRef) -> dict[str, NDArray[Any]]:
        return {"landmarks": np.full((68, 2), ref.index, np.float32)}

    def cross_target(
        self, source: FrameRef, driving: FrameRef, driving_reference: FrameRef | None = None
    ) -> dict[str, NDArray[Any]]:
        if driving.clip != "b":
            return {}
        level = 0 if driving_reference is None else 100 + driving_reference.index
        return {
            "target": np.full((8, 8, 3), level, np.uint8),
            "target_matte": np.ones((8, 8), np.float32),
            "target_landmarks": np.ones((68, 2), np.float32),
            "gossip": np.zeros(1),
        }


PAIRS = [
    Pair("0", FrameRef("a", 0), FrameRef("b", 3), FrameRef("b", 1), False),
    Pair("1", FrameRef("b", 0), FrameRef("a", 2), FrameRef("a", 1), False),
]


def pairs(size: int = 8, **options: Any) -> tuple[EvaluationPairs, list[FrameRef]]:
    dataset, read = Knowing(), []

    def image(ref: FrameRef) -> Tensor:
        read.append(ref)
        return as_tensor("source", dataset.frame(ref))

    return EvaluationPairs(dataset, PAIRS, image, size, **options), read


def test_pictures_are_channels_first_in_0_to_1() -> None:
    item = pairs()[0][0]
    assert item["driving"].shape == (3, 8, 8)
    assert item["driving"].unique().item() == pytest.approx(30 / 255)
    assert item["pair_id"] == "0"


def test_truth_comes_with_its_axes_and_nothing_else() -> None:
    item = pairs()[0][0]
    shapes = {key: tuple(value.shape) for key, value in item.items() if key.startswith("target")}
    assert shapes == {"target": (3, 8, 8), "target_matte": (1, 8, 8), "target_landmarks": (68, 2)}
    assert "gossip" not in item


def test_absolute_motion_has_no_reference_and_relative_motion_has_its_own_truth() -> None:
    absolute, relative = pairs()[0][0], pairs(relative=True)[0][0]
    assert "driving_reference" not in absolute
    assert absolute["target"].max() == 0
    assert relative["driving_reference"].unique().item() == pytest.approx(10 / 255)
    assert relative["target"].unique().item() == pytest.approx(101 / 255)


def test_annotations_come_only_as_an_oracle_and_only_those_asked_for() -> None:
    assert not [key for key in pairs()[0][0] if key.endswith("landmarks") and not key.startswith("target")]
    item = pairs(oracle=frozenset({"driving_landmarks", "driving_matte"}))[0][0]
    assert item["driving_landmarks"].unique().item() == 3
    assert not {"source_landmarks", "driving_matte"} & item.keys()


def test_extra_sources_are_other_frames_of_the_sources_clip() -> None:
    data, read = pairs(sources=4)
    item = data[0]
    assert item["extra_sources"].shape == (3, 3, 8, 8)
    assert {ref.clip for ref in read if ref.clip != "b"} == {"a"}
    assert (item["extra_sources"].mean((1, 2, 3)) * 255 / 10).round().tolist() == [2, 5, 7]  # of frames 1 to 8
    assert "extra_sources" not in pairs()[0][0]
    with pytest.raises(InputError, match=r"clip 'a' has 9 frame\(s\), the protocol asks for 10 sources"):
        pairs(sources=10)[0][0]


def test_cropped_frames_have_no_truth() -> None:
    assert "target" not in pairs(whole_frames=False)[0][0]


def test_a_target_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="8 pixels wide, the protocol's resolution is 64"):
        pairs(size=64)[0][0]


def test_rows_without_truth_are_nan_when_others_have_it() -> None:
    data, _ = pairs()
    batch = collate([data[1], data[0]])
    assert batch["target"][0].isnan().all()
    assert batch["target"][1].isfinite().all()
    assert batch["pair_id"] == ["1", "0"]
    assert batch["same_identity"].tolist() == [False, False]


def test_a_frame_shared_by_neighbouring_pairs_is_read_once() -> None:
    data, read = pairs()
    for _ in range(2):
        data[0], data[1]
    assert len(read) == len(set(read)) == 4


def test_labels_say_which_pairs_belong_together_whatever_else_is_run() -> None:
    both, _ = pairs()
    assert both[0]["persons"].tolist() == [0, 1]
    assert both[1]["persons"].tolist() == [1, 0]
    assert [int(both[i]["sequence_frame"]) for i in range(2)] == [3, 2]
    dataset = Knowing()
    labels = pair_labels(dataset, [PAIRS[1], replace(PAIRS[0], driving=FrameRef("b", 4)), PAIRS[0]])
    assert labels["sequence"][1] == labels["sequence"][2] == both[0]["sequence"]
    assert labels["sequence"][0] == both[1]["sequence"] != both[0]["sequence"]
    assert (labels["sequence"] >= 0).all()
    assert labels["persons"].dtype == labels["sequence"].dtype == torch.int64
