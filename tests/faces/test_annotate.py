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


def test_every_extra_source_gets_what_is_required_of_the_source() -> None:
    levels = torch.tensor([[0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    batch: PairBatch = {**pairs(), "extra_sources": levels[..., None, None, None].expand(-1, -1, 3, 4, 4)}
    filled = Annotator(Brightness()).fill(batch, frozenset({"source_landmarks"}))
    assert filled["extra_sources_landmarks"].shape == (2, 3, 68, 2)
    assert torch.allclose(filled["extra_sources_landmarks"][..., 0, 0], levels)
    assert "extra_sources_landmarks" not in Annotator(Brightness()).fill(batch, frozenset({"driving_landmarks"}))


def test_a_key_nobody_supplies_is_named() -> None:
    with pytest.raises(InputError, match=r"driving_coefficients_window.*coefficients, landmarks, matte, parsing"):
        Annotator(Brightness()).fill(pairs(), frozenset({"driving_coefficients_window"}))


class Table:
    """Answers several quantities; those named in ``lacking`` are not at hand."""

    def __init__(self, *lacking: str) -> None:
        self._lacking, self.asked = lacking, []  # type: ignore[var-annotated]

    def missing(self, quantity: str) -> str | None:
        return f"weights '{quantity}.bin'" if quantity in self._lacking else None

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        self.asked.append(quantity)
        if quantity == "parsing_synthetic":
            parsing = torch.zeros(len(images), 19, 4, 4)
            parsing[:, 0], parsing[:, 1] = images[:, 0], 1 - images[:, 0]
            return parsing
        return images.mean((1, 2, 3))[:, None].expand(-1, 7)


def test_coefficients_parsing_and_matte_are_estimated() -> None:
    keys = frozenset({"source_coefficients", "driving_coefficients", "driving_parsing", "source_matte"})
    measurer = Table("parsing_bisenet")
    filled = Annotator(measurer).fill({**pairs(), "driving_reference": torch.full((2, 3, 4, 4), 0.3)}, keys)
    assert float(filled["source_coefficients"][0, 0]) == pytest.approx(0.1)
    assert float(filled["driving_reference_coefficients"][0, 0]) == pytest.approx(0.3)
    assert filled["driving_parsing"].shape == (2, 19, 4, 4)
    assert filled["source_matte"].shape == (2, 1, 4, 4)
    assert float(filled["source_matte"].mean()) == pytest.approx(0.9), "everything that is not background"
    assert set(measurer.asked) == {"coefficients_synthetic", "parsing_synthetic"}


@pytest.mark.parametrize("name", ["coefficients", "parsing", "matte"])
def test_every_estimated_key_names_the_weights_it_lacks(name: str) -> None:
    measurer = Table("coefficients_synthetic", "parsing_bisenet", "parsing_synthetic")
    with pytest.raises(InputError, match=rf"'source_{name}' is required and cannot be estimated.*_synthetic\.bin"):
        Annotator(measurer).fill(pairs(), frozenset({f"source_{name}"}))


def test_a_method_may_ask_for_a_certain_instrument() -> None:
    measurer = Table("other")
    Annotator(measurer, quantities={"coefficients": "deca"}).fill(pairs(), frozenset({"source_coefficients"}))
    assert measurer.asked == ["deca"]
    with pytest.raises(InputError, match=r"other\.bin"):
        Annotator(measurer, quantities={"coefficients": "other"}).fill(pairs(), frozenset({"source_coefficients"}))


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
