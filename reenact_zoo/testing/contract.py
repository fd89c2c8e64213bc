"""What every method must keep to, as a test class to inherit; it needs no fixture and no test runner of its own.

class TestMine(MethodContract):
method = "mine"
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import unittest
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from reenact_zoo.methods.base import Phase, ReenactmentModule
from reenact_zoo.registry import METHODS
from reenact_zoo.testing.batches import synthetic_batch
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput


def overfit(method: ReenactmentModule[Any], batch: PairBatch, updates: int) -> None:
    """Train on one batch through Lightning, on the CPU in float32, without writing anything."""
    method.max_updates, method.seed = updates, 0
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(
                accelerator="cpu",
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            # The list is the data set: every item is the whole batch again.
            trainer.fit(method, DataLoader(cast(Any, [batch] * updates), batch_size=None))
    finally:
        logger.setLevel(level)


class MethodContract:
    """Inherit and set ``method``; every test builds the method with ``Config.tiny()`` and pseudo-random weights.

    Attributes:
        method: registered name, "module:Class", or the class.
        image_size: side of the test images where the tiny configuration does not say it.
        tolerance: largest difference between one sample alone and in a batch; convolutions choose their algorithm by
            batch size, which moves float32 by about 1e-5.
        overfit_updates: length of the overfitting test.
        overfit_factor: how far the L1 distance to the driving frame must fall in that test, as a share of the start.
    """

    method: ClassVar[str | type[ReenactmentModule[Any]]]
    image_size: ClassVar[int] = 64
    tolerance: ClassVar[float] = 1e-4
    overfit_updates: ClassVar[int] = 20
    overfit_factor: ClassVar[float] = 0.9

    def method_class(self) -> type[ReenactmentModule[Any]]:
        """The class under test."""
        return METHODS.get(self.method) if isinstance(self.method, str) else self.method

    def build(self, seed: int = 0) -> ReenactmentModule[Any]:
        """The tiny method in evaluation mode; a method whose weights are not at hand skips its test."""
        cls = self.method_class()
        torch.manual_seed(seed)
        try:
            method = cls(cls.Config.tiny()).eval()
        except InputError as error:
            raise unittest.SkipTest(f"{cls.__name__} cannot be built here: {error}") from error
        with torch.no_grad():
            for parameter in method.parameters():  # layers that start at zero would hide what lies before them
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn_like(parameter))
        return method

    def batch(self, size: int = 3, seed: int = 0, targets: bool = False) -> PairBatch:
        """Pairs with exactly the annotations that the method requires."""
        cls = self.method_class()
        side = getattr(cls.Config.tiny(), "image_size", self.image_size)
        return synthetic_batch(side, size, cls.requires, seed=seed, targets=targets)

    @torch.no_grad()
    def reenact(self, method: ReenactmentModule[Any], batch: PairBatch) -> Tensor:
        """Images of one call, checked to be what ``ReenactmentOutput`` promises."""
        output = method.reenact(batch)
        assert isinstance(output, ReenactmentOutput), f"reenact returned {type(output).__name__}"
        return output.reenacted

    def test_configuration_is_a_dataclass_with_a_tiny_form(self) -> None:
        """Schema and small form exist, and the configuration survives a checkpoint."""
        cls = self.method_class()
        tiny: Any = cls.Config.tiny()
        assert isinstance(tiny, cls.Config), "Config.tiny() must return a Config"
        assert dataclasses.is_dataclass(cls.Config), "Config must be a dataclass"

    def test_output_has_the_shape_and_range_of_an_image(self) -> None:
        """(B, 3, H, W), float32, finite, in [0, 1]."""
        batch = self.batch()
        image = self.reenact(self.build(), batch)
        assert image.shape == batch["driving"].shape, f"{tuple(image.shape)} instead of {tuple(batch['driving'].shape)}"
        assert image.dtype == torch.float32, f"images must be float32, not {image.dtype}"
        assert image.isfinite().all(), "images must be finite when every annotation is there"
        assert image.min() >= 0, f"darkest value {image.min().item()} is below 0"
        assert image.max() <= 1, f"brightest value {image.max().item()} is above 1"

    def test_a_sample_does_not_depend_on_its_neighbours(self) -> None:
        """Each row alone gives what it gives in the batch."""
        method, batch = self.build(), self.batch()
        together = self.reenact(method, batch)
        for index, row in enumerate(_rows(batch)):
            distance = (self.reenact(method, row)[0] - together[index]).abs().max().item()
            assert distance <= self.tolerance, f"row {index} alone differs by {distance}"

    def test_a_missing_face_spoils_only_its_own_row(self) -> None:
        """Rows of NaN in the annotations leave the other rows alone; the own row is an image or all NaN."""
        method, batch = self.build(), self.batch()
        whole = self.reenact(method, batch)
        spoilt: dict[str, Any] = dict(batch)
        for key in method.requires:
            if spoilt[key].is_floating_point() and key != "extra_sources" and spoilt[key].shape[1] != 3:
                spoilt[key] = spoilt[key].clone()
                spoilt[key][1] = torch.nan
        image = self.reenact(method, cast(PairBatch, spoilt))
        for index in (0, 2):
            distance = (image[index] - whole[index]).abs().max().item()
            assert distance <= self.tolerance, f"row {index} changed by {distance}"
        own = image[1].isnan()
        assert own.all() or not own.any(), "a row is an image or all NaN, never half of each"

    def test_evaluation_is_deterministic(self) -> None:
        """Two calls give the same bits."""
        method, batch = self.build(), self.batch()
        assert torch.equal(self.reenact(method, batch), self.reenact(method, batch)), "two calls differ in eval mode"

    def test_targets_are_neither_needed_nor_read(self) -> None:
        """A batch poisoned with every target key gives the same bits, and validation takes the keys away."""
        method = self.build()
        plain, poisoned = self.batch(), self.batch(targets=True)
        image = self.reenact(method, plain)
        assert torch.equal(self.reenact(method, poisoned), image), "a target key changed the image"
        with torch.no_grad():
            assert torch.equal(method.validation_step(poisoned, 0).reenacted, image)

    def test_a_missing_annotation_is_named(self) -> None:
        """Without one of the required keys the error names the key and the method."""
        method = self.build()
        for key in sorted(method.requires):
            lacking = cast(PairBatch, {k: v for k, v in self.batch().items() if k != key})
            message = _refusal(lambda lacking=lacking: method.reenact(lacking))  # type: ignore[misc]
            assert message, f"'{key}' is in requires, but reenact ran without it"
            assert key in message, f"the error does not name '{key}': {message}"
            assert method.registered_name() in message, f"the error does not name the method: {message}"

    def test_weights_survive_a_file(self) -> None:
        """save_weights and load give the same bits; another method's file is refused."""
        method, batch = self.build(seed=1), self.batch()
        with tempfile.TemporaryDirectory() as folder:
            path = method.save_weights(Path(folder) / "weights.safetensors")
            again = type(method).load(path)
            assert torch.equal(self.reenact(again, batch), self.reenact(method, batch)), "the loaded method differs"
            assert again.config == method.config, "the loaded configuration differs"
            message = _refusal(lambda: _Stranger.load(path))
            assert method.registered_name() in message, f"a foreign file is refused by name, not with '{message}'"

    def test_encoding_once_and_driving_is_the_same_as_reenacting(self) -> None:
        """``drive(encode_source(batch), batch)`` equals ``reenact``, and one state serves several driving frames."""
        method, batch, other = self.build(), self.batch(), self.batch(seed=7)
        with torch.no_grad():
            state = method.encode_source(batch)
            for frames in (batch, other):
                driving = {k: v for k, v in frames.items() if k.startswith("driving") or k == "same_identity"}
                whole = {**batch, **driving}
                split = method.drive(state, cast(PairBatch, driving)).reenacted
                distance = (split - self.reenact(method, cast(PairBatch, whole))).abs().max().item()
                assert distance <= self.tolerance, f"encode_source and drive differ from reenact by {distance}"

    def test_only_trainable_methods_have_phases(self) -> None:
        """``trainable`` says whether ``phases`` lists anything, and every trainable parameter has one owner."""
        method = self.build()
        assert bool(method.phases()) == method.trainable, f"trainable is {method.trainable}, phases: {method.phases()}"
        if method.trainable:
            method.configure_optimizers()

    def test_a_few_updates_on_one_batch_bring_the_driving_frame_nearer(self) -> None:
        """Training works: the L1 distance on self pairs falls."""
        method = self.build()
        if not method.trainable:
            raise unittest.SkipTest("nothing to train")
        cls = type(method)
        batch = self._training_batch()
        before = (self.reenact(method, batch) - batch["driving"]).abs().mean().item()
        overfit(method, batch, self.overfit_updates)
        after = (self.reenact(method.eval(), batch) - batch["driving"]).abs().mean().item()
        assert method.num_updates == self.overfit_updates
        assert after <= self.overfit_factor * before, f"{cls.__name__}: L1 went from {before:.4f} to {after:.4f}"

    def _training_batch(self) -> PairBatch:
        cls = self.method_class()
        side = getattr(cls.Config.tiny(), "image_size", self.image_size)
        return synthetic_batch(side, 4, {*cls.requires, *cls.training_requires, "source_identity", "driving_identity"})


class _Stranger(ReenactmentModule[Any]):
    """Another method, for the test that refuses foreign weights."""

    trainable = False

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"])

    def phases(self) -> list[Phase]:
        return []


def _refusal(action: Callable[[], Any]) -> str:
    """Message of the InputError that the action raises; empty where it raises none."""
    try:
        action()
    except InputError as error:
        return str(error)
    return ""


def _rows(batch: PairBatch) -> list[PairBatch]:
    rows = range(len(batch["source"]))
    return [cast(PairBatch, {key: cast(Any, value)[i : i + 1] for key, value in batch.items()}) for i in rows]
