from __future__ import annotations

import torch

from reenact_zoo.registry import METHODS
from reenact_zoo.types import PairBatch


def batch() -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    source, driving = torch.rand(2, 2, 3, 16, 16, generator=generator)
    return {"source": source, "driving": driving, "same_identity": torch.zeros(2, dtype=torch.bool)}


def test_copy_source_hands_back_the_source() -> None:
    pairs = batch()
    output = METHODS.get("copy_source")().reenact(pairs)
    assert output.reenacted.equal(pairs["source"])
    assert output.reenacted.data_ptr() != pairs["source"].data_ptr()


def test_copy_driving_hands_back_the_driving_frame() -> None:
    pairs = batch()
    output = METHODS.get("copy_driving")().reenact(pairs)
    assert output.reenacted.equal(pairs["driving"])
    assert output.reenacted.data_ptr() != pairs["driving"].data_ptr()


def test_baselines_need_no_training_and_have_no_weights() -> None:
    for name in ("copy_source", "copy_driving", "landmark_warp"):
        method = METHODS.get(name)()
        assert not method.trainable
        assert method.phases() == []
        assert list(method.parameters()) == []
