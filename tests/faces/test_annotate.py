from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reenact_zoo.faces.annotate import Annotator, split_key
from reenact_zoo.types import InputError, PairBatch


class Brightness:
    """Answers landmarks with the mean of the image, so that a mix-up of images shows."""

    def __init__(self, missing: str | None = None) -> None:
        self._missing, self.asked = missing, 0

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        self.asked += 1
        assert quantity == "landmarks"
        return images.mean((1, 2, 3))[:, None, None].expand(-1, 68, 2)

    def missing(self, quantity: str) -> str | None:
        return self._missing


def pairs() -> PairBatch:
    return {
        "source": torch.full((2, 3, 4, 4), 0.1),
        "driving": torch.full((2, 3, 4, 4), 0.2),
        "driving_reference": torch.full((2, 3, 4, 4), 0.3),
        "same_identity": torch.ones(2, dtype=torch.bool),
    }


def test_every_annotation_comes_from_its_own_image() -> None:
    keys = frozenset({"source_landmarks", "driving_landmarks", "driving_reference_landmarks"})
    filled = Annotator(Brightness()).fill(pairs(), keys)
    assert float(filled["source_landmarks"].mean()) == pytest.approx(0.1)
    assert float(filled["driving_landmarks"].mean()) == pytest.approx(0.2)
    assert float(filled["driving_reference_landmarks"].mean()) == pytest.approx(0.3)
    assert keys.isdisjoint(pairs())


def test_what_is_there_is_kept_and_nothing_else_is_added() -> None:
    batch, measurer = pairs(), Brightness()
    batch["source_landmarks"] = torch.full((2, 68, 2), 7.0)
    filled = Annotator(measurer).fill(batch, frozenset({"source_landmarks"}))
    assert filled.keys() == batch.keys()
    assert float(filled["source_landmarks"].mean()) == 7
    assert measurer.asked == 0


def test_relative_motion_asks_the_same_of_the_reference_frame() -> None:
    requires = frozenset({"source_landmarks", "driving_landmarks", "extra_sources"})
    filled = Annotator(Brightness()).fill({**pairs(), "extra_sources": torch.zeros(2, 1, 3, 4, 4)}, requires)
    assert float(filled["driving_reference_landmarks"].mean()) == pytest.approx(0.3)


def test_a_supplier_adds_another_kind_of_annotation() -> None:
    annotator = Annotator(Brightness(), {"matte": lambda images: images[:, :1] * 10})
    filled = annotator.fill(pairs(), frozenset({"driving_matte"}))
    assert filled["driving_matte"].shape == (2, 1, 4, 4)
    assert float(filled["driving_matte"].mean()) == pytest.approx(2)


def test_a_key_nobody_supplies_is_named() -> None:
    with pytest.raises(InputError, match=r"source_parsing.*landmarks"):
        Annotator(Brightness()).fill(pairs(), frozenset({"source_parsing"}))


def test_missing_weights_are_named() -> None:
    with pytest.raises(InputError, match=r"driving_landmarks.*some\.onnx"):
        Annotator(Brightness("weights (some.onnx)")).fill(pairs(), frozenset({"driving_landmarks"}))


def test_an_image_that_is_absent_is_named() -> None:
    batch = pairs()
    del batch["driving_reference"]  # type: ignore[misc]
    with pytest.raises(InputError, match=r"driving_reference_landmarks.*'driving_reference'"):
        Annotator(Brightness()).fill(batch, frozenset({"driving_reference_landmarks"}))


def test_keys_split_at_the_longest_image_name() -> None:
    assert split_key("driving_reference_landmarks") == ("driving_reference", "landmarks")
    assert split_key("driving_coefficients_window") == ("driving", "coefficients_window")
    with pytest.raises(InputError):
        split_key("pair_id")
