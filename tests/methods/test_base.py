from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reenact_zoo.methods import _weights
from reenact_zoo.methods.base import Phase, ReenactmentModule, linear_decay
from reenact_zoo.testing import OnePhaseConfig, OnePhaseToy, TwoPhaseConfig, TwoPhaseToy, overfit, synthetic_batch
from reenact_zoo.types import TARGET_KEYS, InputError, PairBatch, ReenactmentOutput

SGD = partial(torch.optim.SGD, lr=0.1)
KEYS = OnePhaseToy.requires


def train(method: ReenactmentModule[Any], batches: list[PairBatch], **kwargs: Any) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **kwargs,
    )
    trainer.fit(method, DataLoader(cast(Any, batches), batch_size=None))
    return trainer


class Scalar(ReenactmentModule[Any]):
    """Image times a learned gain; the loss is the gain itself, so that a step is the learning rate."""

    def __init__(self, **phase: Any) -> None:
        super().__init__()
        self.gain = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.gain.weight)
        self.fields: dict[str, Any] = {"optimiser": SGD, **phase}

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"] * self.gain.weight)

    def phases(self) -> list[Phase]:
        return [Phase("fall", ["gain"], lambda batch, shared: {"gain": self.gain.weight.sum()}, **self.fields)]

    def value_after(self, updates: int) -> float:
        overfit(self, synthetic_batch(8, 2), updates)
        return self.gain.weight.item()


class Brightness(ReenactmentModule[Any]):
    """Learns the mean of the driving image, by a mean over the batch: suits accumulation."""

    def __init__(self, accumulate: int = 1) -> None:
        super().__init__()
        self.level = nn.Linear(1, 3, bias=False)
        nn.init.zeros_(self.level.weight)
        self.accumulate = accumulate

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(self.level.weight.reshape(1, 3, 1, 1).expand_as(batch["driving"]))

    def losses(self, batch: PairBatch, shared: dict[str, Any]) -> Mapping[str, Tensor]:
        return {"square": (self.reenact(batch).reenacted - batch["driving"]).square().mean()}

    def phases(self) -> list[Phase]:
        return [Phase("level", ["level"], self.losses, SGD, accumulate=self.accumulate)]


def rows(batch: PairBatch, part: slice) -> PairBatch:
    return cast(PairBatch, {key: value[part] for key, value in batch.items()})


# --- phases ---------------------------------------------------------------------------------------------------------


def test_a_phase_runs_from_start_to_stop_at_every_so_many_updates() -> None:
    phase = Phase("p", ["a"], lambda batch, shared: {}, SGD, start=2, stop=9, every=3)
    assert [update for update in range(12) if phase.active(update)] == [2, 5, 8]


def test_one_update_is_one_step_of_the_learning_rate() -> None:
    assert Scalar().value_after(3) == pytest.approx(1 - 3 * 0.1)


def test_a_phase_outside_its_range_changes_nothing() -> None:
    assert Scalar(start=2, stop=4).value_after(6) == pytest.approx(1 - 2 * 0.1)


def test_every_skips_updates() -> None:
    assert Scalar(every=2).value_after(6) == pytest.approx(1 - 3 * 0.1)


def test_the_rate_decays_over_the_budget() -> None:
    # progress 0, 1/4, 2/4, 3/4: factors 1, 1, 1, 0.5
    assert Scalar(lr_scale=linear_decay(0.5)).value_after(4) == pytest.approx(1 - 0.35)


def test_gradients_are_clipped_by_norm() -> None:
    assert Scalar(clip_norm=0.25).value_after(2) == pytest.approx(1 - 2 * 0.1 * 0.25, abs=1e-6)


def test_accumulated_halves_are_the_whole_batch() -> None:
    whole, halves = Brightness(), Brightness(accumulate=2)
    batch = synthetic_batch(8, 4)
    train(whole, [batch])
    train(halves, [rows(batch, slice(0, 2)), rows(batch, slice(2, 4))])
    torch.testing.assert_close(halves.level.weight, whole.level.weight)
    assert whole.level.weight.abs().sum() > 0


def test_an_unfinished_accumulation_does_not_step_unless_the_phase_ends() -> None:
    assert Scalar(accumulate=4).value_after(3) == pytest.approx(1)
    assert Scalar(accumulate=4, stop=3).value_after(3) == pytest.approx(1 - 0.1 * 3 / 4)


@pytest.mark.parametrize(
    "wrong", [{"start": -1}, {"start": 3, "stop": 3}, {"every": 0}, {"accumulate": 0}, {"clip_norm": 0.0}]
)
def test_senseless_phases_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="phase 'p'"):
        Phase("p", ["a"], lambda batch, shared: {}, SGD, **wrong)


class Pair(ReenactmentModule[Any]):
    """Two networks under phases that the test chooses."""

    def __init__(self, *phases: tuple[str, list[str], dict[str, Any]]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(1, 1), nn.Linear(1, 1)
        self.chosen = phases

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"])

    def phases(self) -> list[Phase]:
        return [Phase(name, nets, lambda batch, shared: {}, SGD, **more) for name, nets, more in self.chosen]


def test_a_parameter_without_an_owner_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'b\.weight' is trainable, but no phase"):
        Pair(("one", ["a"], {})).configure_optimizers()


def test_a_parameter_with_two_owners_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="'one' and 'two' at once"):
        Pair(("one", ["a", "b"], {}), ("two", ["a"], {})).configure_optimizers()


def test_stages_may_train_the_same_network_one_after_the_other() -> None:
    Pair(("one", ["a"], {"stop": 5}), ("two", ["a", "b"], {"start": 5})).configure_optimizers()
    with pytest.raises(ValueError, match="at once"):
        Pair(("one", ["a"], {"stop": 6}), ("two", ["a", "b"], {"start": 5})).configure_optimizers()


def test_alternating_phases_may_share_a_network_only_without_accumulation() -> None:
    odd: dict[str, Any] = {"start": 1, "every": 2}
    Pair(("one", ["a", "b"], {"every": 2}), ("two", ["a"], odd)).configure_optimizers()
    with pytest.raises(ValueError, match="at once"):
        Pair(("one", ["a", "b"], {"every": 2, "accumulate": 2}), ("two", ["a"], odd)).configure_optimizers()


def test_phase_names_must_differ() -> None:
    with pytest.raises(ValueError, match="must differ"):
        Pair(("one", ["a"], {}), ("one", ["b"], {})).configure_optimizers()


# --- the training step ----------------------------------------------------------------------------------------------


class Watch(Callback):
    """Copies of both networks after every update, and which parameters hold gradients then."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        self.weights.append(copy.deepcopy(pl_module.state_dict()))
        assert all(parameter.requires_grad for parameter in pl_module.parameters()), "toggling was not undone"


def test_the_discriminator_waits_for_its_start_while_the_generator_trains() -> None:
    method, watch = TwoPhaseToy(TwoPhaseConfig(width=4, discriminate_from=2)), Watch()
    train(method, [synthetic_batch(16, 2)] * 3, callbacks=[watch])
    first, second, third = watch.weights
    for name in first:
        same = torch.equal(first[name], second[name])
        assert same == name.startswith("discriminator"), name
    assert not torch.equal(second["discriminator.0.weight"], third["discriminator.0.weight"])


def test_each_phase_leaves_the_other_network_without_gradients() -> None:
    method = TwoPhaseToy(TwoPhaseConfig.tiny())
    seen: list[tuple[str, set[str]]] = []
    original = method._run_phase

    def spy(phase: Phase, *args: Any) -> Any:
        object.__setattr__(phase, "accumulate", 2)  # keeps the gradients for us to see
        result = original(phase, *args)
        seen.append((phase.name, {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None}))
        method.zero_grad()
        return result

    method._run_phase = spy  # type: ignore[method-assign]
    train(method, [synthetic_batch(16, 2)])
    assert seen == [("generate", {"generator"}), ("discriminate", {"discriminator"})]


def test_updates_are_counted_not_optimiser_steps() -> None:
    method = TwoPhaseToy(TwoPhaseConfig.tiny())
    method.max_updates = 5
    trainer = train(method, [synthetic_batch(16, 2)] * 9)
    assert method.num_updates == 5, "max_updates must end the training"
    assert trainer.global_step == 10, "Lightning counts the steps of both optimisers"


def test_losses_are_logged_by_phase_and_part() -> None:
    trainer = train(TwoPhaseToy(TwoPhaseConfig.tiny()), [synthetic_batch(16, 2)])
    logged = trainer.callback_metrics
    assert logged["train/generate/total"] == pytest.approx(
        (logged["train/generate/pixel"] + logged["train/generate/adversarial"]).item()
    )
    assert {"train/discriminate/real", "train/discriminate/made"} <= logged.keys()


def test_a_training_batch_with_targets_is_refused() -> None:
    with pytest.raises(InputError, match="for evaluation only"):
        train(TwoPhaseToy(TwoPhaseConfig.tiny()), [synthetic_batch(16, 2, targets=True)])


def test_validation_hides_the_targets_from_the_method() -> None:
    class Nosy(Scalar):
        def reenact(self, batch: PairBatch) -> ReenactmentOutput:
            assert not TARGET_KEYS & batch.keys()
            return ReenactmentOutput(batch["source"])

    for step in ("validation_step", "test_step", "predict_step"):
        getattr(Nosy(), step)(synthetic_batch(8, 2, targets=True), 0)


# --- the interface --------------------------------------------------------------------------------------------------


def test_what_is_written_once_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match="training_step"):
        type("Wilful", (Scalar,), {"training_step": lambda self: None})


@pytest.mark.parametrize("when", ["requires", "training_requires"])
def test_a_method_cannot_require_a_target(when: str) -> None:
    with pytest.raises(TypeError, match="target_flow"):
        type("Greedy", (Scalar,), {when: frozenset({"target_flow"})})


def test_a_method_that_writes_nothing_is_told_so() -> None:
    class Empty(ReenactmentModule[Any]):
        def phases(self) -> list[Phase]:
            return []

    with pytest.raises(TypeError, match="must write reenact, or encode_source and drive"):
        Empty().reenact(synthetic_batch(8, 1))
    with pytest.raises(TypeError, match="must write reenact"):
        Empty().drive({}, synthetic_batch(8, 1))


def test_a_missing_annotation_names_method_key_and_remedy() -> None:
    method = OnePhaseToy(OnePhaseConfig.tiny())
    batch = synthetic_batch(32, 1, ["source_landmarks"])
    with pytest.raises(InputError, match=r"OnePhaseToy' needs 'driving_landmarks'.*Annotator"):
        method.reenact(batch)
    state = method.encode_source(batch)
    with pytest.raises(InputError, match="driving_landmarks"):
        method.drive(state, batch)


def test_images_of_the_wrong_shape_are_refused_at_the_door() -> None:
    batch = synthetic_batch(8, 1)
    batch["driving"] = batch["driving"][:, :1]
    with pytest.raises(InputError, match=r"'driving' must have shape \(B, 3, H, W\), not \(1, 1, 8, 8\)"):
        Scalar().reenact(batch)


def test_a_method_that_writes_only_reenact_can_be_driven() -> None:
    batch = synthetic_batch(8, 2)
    method = TwoPhaseToy(TwoPhaseConfig.tiny()).eval()
    driving = cast(PairBatch, {"driving": batch["driving"]})
    torch.testing.assert_close(
        method.drive(method.encode_source(batch), driving).reenacted, method.reenact(batch).reenacted
    )


def test_channels_last_changes_the_layout_and_not_the_image() -> None:
    method, batch = TwoPhaseToy(TwoPhaseConfig.tiny()).eval(), synthetic_batch(16, 2)
    with torch.no_grad():
        before = method.predict_step(batch, 0).reenacted
        method.use_channels_last()
        after = method.predict_step(batch, 0).reenacted
    assert method.generator[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)  # another summation order of float32


# --- averages -------------------------------------------------------------------------------------------------------


def test_averages_follow_their_formula_and_are_used_in_eval_mode_only() -> None:
    class Averaged(Scalar):
        averaged = ("gain",)

    method = Averaged()
    method.value_after(3)
    trained = method.train().gain.weight.item()
    expected, weights = 1.0, [0.9, 0.8, 0.7]
    for n, value in enumerate(weights, start=1):
        decay = min(0.999, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    assert trained == pytest.approx(0.7)
    assert method.eval().gain.weight.item() == pytest.approx(expected)
    assert method.eval().gain.weight.item() == pytest.approx(expected), "a second eval() must not swap back"
    assert method.train().gain.weight.item() == pytest.approx(0.7)


def test_averaged_weights_stand_beside_averaged_statistics() -> None:
    module = nn.ModuleDict({"net": nn.BatchNorm1d(2)})
    averages = _weights.Averages(module, ("net",), decay=0.5)
    norm = module["net"]
    start = {"weight": norm.weight.detach().clone(), "running_mean": norm.running_mean.clone()}
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.running_mean.fill_(8.0)
        norm.num_batches_tracked.fill_(9)
    averages.update(1000)  # late enough for the decay to be the one asked for
    averages.swap()
    torch.testing.assert_close(norm.weight.detach(), (start["weight"] + 3) / 2)
    torch.testing.assert_close(norm.running_mean, (start["running_mean"] + 8) / 2)
    assert norm.num_batches_tracked == 9, "a count is no statistic"
    averages.swap()
    assert (norm.running_mean == 8).all()


def test_a_checkpoint_saved_during_validation_holds_both_kinds_of_weights(tmp_path: Path) -> None:
    method = TwoPhaseToy(TwoPhaseConfig.tiny())
    trainer = train(method, [synthetic_batch(16, 2)] * 3)
    trainer.save_checkpoint(tmp_path / "train.ckpt")
    method.eval()
    trainer.save_checkpoint(tmp_path / "eval.ckpt")
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("train.ckpt", "eval.ckpt"))
    averages = [checkpoint["reenact_zoo"]["averages"] for checkpoint in (one, two)]
    torch.testing.assert_close(one["state_dict"], two["state_dict"], atol=0, rtol=0)
    torch.testing.assert_close(averages[0], averages[1], atol=0, rtol=0)
    assert not torch.equal(averages[0]["generator.0.weight"], one["state_dict"]["generator.0.weight"])


def test_loading_a_training_checkpoint_gives_the_averaged_weights(tmp_path: Path) -> None:
    method = TwoPhaseToy(TwoPhaseConfig.tiny())
    batch = synthetic_batch(16, 2)
    train(method, [batch] * 3).save_checkpoint(tmp_path / "a.ckpt")
    loaded = TwoPhaseToy.load(tmp_path / "a.ckpt")
    assert loaded.num_updates == 3
    with torch.no_grad():
        assert torch.equal(loaded.reenact(batch).reenacted, method.eval().reenact(batch).reenacted)
        assert not torch.equal(loaded.reenact(batch).reenacted, method.train().reenact(batch).reenacted)


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return OnePhaseToy(OnePhaseConfig.tiny()).save_weights(tmp_path / "folder" / "one.safetensors")


def test_weights_of_another_method_are_refused_by_both_names(weights: Path) -> None:
    with pytest.raises(InputError, match=r"is of method '.*OnePhaseToy', not of '.*TwoPhaseToy'"):
        TwoPhaseToy.load(weights)


def test_weights_of_another_size_are_refused_by_both_sizes(weights: Path) -> None:
    assert OnePhaseToy.load(weights, image_size=32).config == OnePhaseConfig.tiny()
    with pytest.raises(InputError, match=r"image_size 32, but 64 is wanted"):
        OnePhaseToy.load(weights, image_size=64)


def test_the_base_class_loads_registered_methods_only(weights: Path) -> None:
    with pytest.raises(InputError, match=r"OnePhaseToy', which is not registered"):
        ReenactmentModule.load(weights)


def test_tensors_of_another_shape_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    method = OnePhaseToy(OnePhaseConfig.tiny())
    method.network.last = nn.Conv2d(8, 5, 3)
    method.save_weights(path)
    with pytest.raises(InputError, match=r"network.last.weight is \(5, 8, 3, 3\) there and \(6, 8, 3, 3\) here"):
        OnePhaseToy.load(path)


class Malicious:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was_run"),))


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors"])
def test_damaged_foreign_and_malicious_files_are_refused(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    with pytest.raises(InputError, match="no checkpoint file"):
        OnePhaseToy.load(path)
    for content in (b"", b"not tensors at all", pickle.dumps(Malicious())):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a readable"):
            OnePhaseToy.load(path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="not a checkpoint of reenact-zoo"):
        OnePhaseToy.load(tmp_path / "other.ckpt")
    assert not (tmp_path / "was_run").exists()


def test_a_failed_write_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(InputError, match=r"cannot write the weights '.*taken.safetensors': Is a directory"):
        OnePhaseToy(OnePhaseConfig.tiny()).save_weights(tmp_path / "taken.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.safetensors"]


class Judged(Scalar):
    """Keeps a pretrained network that it never trains."""

    frozen = ("judge",)
    number = 0.5

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.judge = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))
        with torch.no_grad():
            for parameter in self.judge.parameters():
                parameter.fill_(self.number)


def test_frozen_networks_are_left_out_of_files_and_checked_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Judged()
    trainer = train(method, [synthetic_batch(8, 2)] * 2)
    assert not method.train().judge.training
    assert not any(parameter.requires_grad for parameter in method.judge.parameters())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert set(stored["state_dict"]) == {"gain.weight"}
    loaded = Judged.load(tmp_path / "a.ckpt")
    assert torch.equal(loaded.judge[1].weight, method.judge[1].weight)
    assert loaded.gain.weight.item() == pytest.approx(0.8)
    monkeypatch.setattr(Judged, "number", 0.25)
    with pytest.raises(InputError, match=r"other pretrained weights of \['judge'\]"):
        Judged.load(tmp_path / "a.ckpt")


@dataclass
class OldConfig:
    width: int = 8
    removed: int = 1


def test_a_configuration_that_no_longer_fits_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnePhaseToy, "Config", OldConfig)
    with pytest.raises(InputError, match=r"does not fit OldConfig"):
        OnePhaseToy.load(weights)


def test_bundled_weights_are_found_by_method_and_size(tmp_path: Path) -> None:
    for name in ("toy_64.safetensors", "toy_128.safetensors", "toy_part_256.safetensors", "toybox_512.safetensors"):
        (tmp_path / name).touch()
    assert _weights.bundled("toy", 64, tmp_path).name == "toy_64.safetensors"
    assert _weights.bundled("toy", None, tmp_path).name == "toy_128.safetensors"
    with pytest.raises(InputError, match="64, 128 px; give others for 256 px"):
        _weights.bundled("toy", 256, tmp_path)
    with pytest.raises(InputError, match="'fomm' has to be trained"):
        _weights.bundled("fomm", 64, tmp_path)


def test_half_precision_weights_load_with_altered_settings(tmp_path: Path) -> None:
    method = OnePhaseToy(OnePhaseConfig(image_size=16, width=4))
    path = method.save_weights(tmp_path / "toy.safetensors", half=True)
    loaded = OnePhaseToy.load(path, changes={"ema_decay": 0.5})
    assert (loaded.config.ema_decay, loaded.config.width, loaded.weights_file) == (0.5, 4, path)
    for mine, theirs in zip(loaded.parameters(), method.parameters(), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs.half().float(), rtol=0, atol=0)
    with pytest.raises(InputError, match="no setting 'wdith'; it has"):
        OnePhaseToy.load(path, changes={"wdith": 8})
