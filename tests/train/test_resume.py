"""Training 6 updates equals training 3, saving, and training 3 more in new objects, bit for bit on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from reenact_zoo.data.training import PairRules, TrainingData, TrainingPairs
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.methods.base import Phase, linear_decay
from reenact_zoo.testing import PaintedClips, PaintedConfig, TwoPhaseConfig, TwoPhaseToy
from reenact_zoo.train.callbacks import Checkpoints
from reenact_zoo.types import InputError, PairBatch


class Hard(TwoPhaseToy):
    """Everything that a resume could forget: noise, accumulation, every second update, a decaying rate, averages."""

    accumulate = 2

    def phases(self) -> list[Phase]:
        adam = partial(torch.optim.Adam, lr=1e-2)
        return [
            Phase("generate", ["generator"], self._generator_losses, adam, lr_scale=linear_decay(0.2)),
            Phase("discriminate", ["discriminator"], self._noisy, adam, accumulate=self.accumulate, clip_norm=1.0),
        ]

    def _noisy(self, batch: PairBatch, shared: dict[str, Any]) -> Mapping[str, Tensor]:
        shared["made"] = shared["made"] + 0.1 * torch.randn_like(shared["made"])
        return self._discriminator_losses(batch, shared)


class Recorder(TrainingData):
    """Remembers which pairs training has seen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[str] = []

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        assert self.trainer is not None
        if self.trainer.training:
            self.seen += batch["pair_id"]
        return batch


def read(dataset: PaintedClips, ref: FrameRef) -> Tensor:
    return torch.from_numpy(dataset.frame(ref)).permute(2, 0, 1).float() / 255


def data(batch_size: int = 4, seed: int = 5, workers: int = 0) -> Recorder:
    dataset = PaintedClips(PaintedConfig(image_size=16))
    clips = [clip for clip in dataset.clips if clip.split == "train"]
    pairs = TrainingPairs(dataset, clips, partial(read, dataset), PairRules(seed, same_identity=0.5))
    return Recorder(pairs, batch_size, pairs, 4, workers)


def method(config: TwoPhaseConfig | None = None) -> Hard:
    torch.manual_seed(0)
    return Hard(config or TwoPhaseConfig(width=4))


def stopped_after_three(folder: Path, workers: int = 0) -> tuple[Path, list[str]]:
    """A checkpoint written after the third update, as the callback of ``fit`` does it."""

    class Stop(Checkpoints):
        def on_train_batch_end(self, trainer: Trainer, module: Any, *args: Any) -> None:
            trainer.should_stop = module.num_updates == 3
            super().on_train_batch_end(trainer, module, *args)

    toy, source = method(), data(workers=workers)
    toy.seed, toy.max_updates = 3, 6
    callback = Stop(folder, None, None, None)
    trainer = quiet_trainer(callbacks=[callback])
    trainer.fit(toy, datamodule=source)
    assert toy.num_updates == 3
    return callback.last, source.seen


def quiet_trainer(**kwargs: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=2,
        use_distributed_sampler=False,
        **kwargs,
    )


def finished(toy: Hard, source: TrainingData, resume: Path | None = None) -> tuple[dict[str, Any], list[Any]]:
    """State of everything after the sixth update."""
    toy.seed, toy.max_updates = 3, 6
    trainer = quiet_trainer()
    trainer.fit(toy, datamodule=source, ckpt_path=resume, weights_only=True)
    assert toy.num_updates == 6
    toy.train()
    assert toy._averages is not None
    weights = {**toy.state_dict(), **{f"average.{k}": v for k, v in toy._averages.values.items()}}
    return weights, [optimiser.state_dict() for optimiser in trainer.optimizers]


def test_six_updates_are_three_and_three(tmp_path: Path) -> None:
    straight = data()
    weights, optimisers = finished(method(), straight)
    checkpoint, seen_before = stopped_after_three(tmp_path)
    resumed = data()
    torch.manual_seed(99)  # whatever state the new process is in
    again, again_optimisers = finished(method(), resumed, checkpoint)
    assert len(straight.seen) == 6 * 4
    assert seen_before + resumed.seen == straight.seen, "the data must go on where it stopped"
    torch.testing.assert_close(again, weights, atol=0, rtol=0)
    for one, other in zip(again_optimisers, optimisers, strict=True):
        torch.testing.assert_close(one["state"], other["state"], atol=0, rtol=0)
        assert one["param_groups"] == other["param_groups"]


def test_the_test_would_notice_a_forgotten_gradient_or_average(tmp_path: Path) -> None:
    weights, _ = finished(method(), data())
    checkpoint, _ = stopped_after_three(tmp_path)
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["reenact_zoo"]["gradients"], "update three is in the middle of an accumulation"
    for forget in ("gradients", "averages", "num_updates"):
        about = dict(stored["reenact_zoo"])
        about[forget] = {"gradients": {}, "averages": about["averages"], "num_updates": 4}[forget]
        if forget == "averages":
            about[forget] = {name: value + 0.01 for name, value in about[forget].items()}
        torch.save({**stored, "reenact_zoo": about}, tmp_path / "damaged.ckpt")
        again, _ = finished(method(), data(), tmp_path / "damaged.ckpt")
        assert any(not torch.equal(again[name], weights[name]) for name in weights), forget


def test_a_checkpoint_of_another_method_or_configuration_is_refused(tmp_path: Path) -> None:
    checkpoint, _ = stopped_after_three(tmp_path)
    with pytest.raises(InputError, match=r"of method '.*Hard', not of '.*TwoPhaseToy'"):
        quiet_trainer().fit(TwoPhaseToy(), datamodule=data(), ckpt_path=checkpoint, weights_only=True)
    with pytest.raises(InputError, match="width is 4 there and 8 here"):
        finished(method(TwoPhaseConfig(width=8)), data(), checkpoint)


def test_a_resume_on_other_data_is_refused(tmp_path: Path) -> None:
    checkpoint, _ = stopped_after_three(tmp_path)
    with pytest.raises(InputError, match="batch_size 4, not 2"):
        finished(method(), data(batch_size=2), checkpoint)
    with pytest.raises(InputError, match="other clips, seed or same_identity"):
        finished(method(), data(seed=6), checkpoint)


@pytest.mark.slow
def test_worker_processes_do_not_change_the_pairs(tmp_path: Path) -> None:
    straight = data()
    weights, _ = finished(method(), straight)
    checkpoint, seen_before = stopped_after_three(tmp_path, workers=2)
    resumed = data(workers=1)
    again, _ = finished(method(), resumed, checkpoint)
    assert seen_before + resumed.seen == straight.seen
    torch.testing.assert_close(again, weights, atol=0, rtol=0)
