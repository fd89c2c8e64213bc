from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reenact_zoo.config import TrainConfig, load_train_config, train_config
from reenact_zoo.testing import OnePhaseToy, TwoPhaseToy
from reenact_zoo.train import callbacks
from reenact_zoo.train import fit as fit_module
from reenact_zoo.train.callbacks import picture_grid, save_atomically
from reenact_zoo.train.fit import fit
from reenact_zoo.types import InputError

Configured = Callable[..., TrainConfig]


def same_training(one: Path, other: Path) -> None:
    """Both checkpoints hold the same weights, averages, gradients and optimiser states, bit for bit."""
    a, b = (torch.load(path, weights_only=True) for path in (one, other))
    torch.testing.assert_close(a["state_dict"], b["state_dict"], atol=0, rtol=0)
    for x, y in zip(a["optimizer_states"], b["optimizer_states"], strict=True):
        torch.testing.assert_close(x["state"], y["state"], atol=0, rtol=0)
    for key in ("averages", "gradients"):
        torch.testing.assert_close(a["reenact_zoo"][key], b["reenact_zoo"][key], atol=0, rtol=0)
    assert a["reenact_zoo"]["num_updates"] == b["reenact_zoo"]["num_updates"]


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_a_run_folder_holds_checkpoint_weights_configuration_and_events(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured()
    checkpoint = fit(config, out=tmp_path / "run", quiet=True)
    names = sorted(path.name.split(".0")[0].split("vents")[0] for path in (tmp_path / "run").iterdir())
    assert names == ["config.yaml", "e", "last.ckpt", "weights.safetensors"]
    assert checkpoint == tmp_path / "run" / "last.ckpt"
    assert train_config(yaml.safe_load((tmp_path / "run/config.yaml").read_text()), "again", "test") == config
    assert OnePhaseToy.load(checkpoint).num_updates == 4
    weights = OnePhaseToy.load(tmp_path / "run" / "weights.safetensors").state_dict()
    torch.testing.assert_close(weights, OnePhaseToy.load(checkpoint).state_dict(), atol=0, rtol=0)
    assert capsys.readouterr().out == "", "quiet means quiet"


def test_tensorboard_shows_losses_metrics_and_pictures_by_update(configured: Configured, tmp_path: Path) -> None:
    fit(configured("TwoPhaseToy", image_size=32), out=tmp_path, quiet=True)
    seen = events(tmp_path)
    assert [event.step for event in seen.Scalars("train/generate/total")] == [1, 2, 3, 4]
    assert [event.step for event in seen.Scalars("val/l1")] == [2, 4]
    assert [event.step for event in seen.Images("val/pairs")] == [2, 4]
    picture = seen.Images("val/pairs")[0]
    assert (picture.width, picture.height) == (3 * 34 + 2, 3 * 34 + 2)  # three pairs of three pictures, 2 px borders


def test_progress_is_shown_unless_quiet(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(configured(), out=tmp_path)
    out = capsys.readouterr().out
    for part in ("training reenact_zoo.testing:OnePhaseToy", "4/4", "updates/s", "left"):
        assert part in out


def test_six_updates_are_three_and_three_through_the_command(configured: Configured, tmp_path: Path) -> None:
    straight = fit(configured("TwoPhaseToy", max_updates=6), out=tmp_path / "straight", quiet=True)
    fit(configured("TwoPhaseToy", max_updates=3), out=tmp_path / "halves", quiet=True)
    resumed = fit(configured("TwoPhaseToy", max_updates=6), resume=tmp_path / "halves", quiet=True)
    assert resumed == tmp_path / "halves" / "last.ckpt", "a resume stays in its folder"
    same_training(straight, resumed)


def test_bfloat16_trains_and_resumes_exactly(configured: Configured, tmp_path: Path) -> None:
    more: dict[str, Any] = {"precision": "bf16-mixed", "same_identity": 0.5}
    straight = fit(configured(**more, max_updates=4), out=tmp_path / "straight", quiet=True)
    fit(configured(**more, max_updates=2), out=tmp_path / "halves", quiet=True)
    same_training(straight, fit(configured(**more, max_updates=4), resume=tmp_path / "halves", quiet=True))
    assert all(p.dtype == torch.float32 for p in OnePhaseToy.load(straight).parameters())


def test_checkpoints_come_every_so_many_updates_and_some_stay(configured: Configured, tmp_path: Path) -> None:
    fit(configured(max_updates=5, checkpoint_updates=2, keep_every=2), out=tmp_path, quiet=True)
    kept = sorted(path.name for path in tmp_path.glob("update_*"))
    assert kept == ["update_0000002.ckpt", "update_0000004.ckpt"]
    assert [OnePhaseToy.load(tmp_path / name).num_updates for name in [*kept, "last.ckpt"]] == [2, 4, 5]
    assert not list(tmp_path.glob(".*")), "no half-written file stays"


def test_checkpoints_come_by_the_clock(configured: Configured, tmp_path: Path, monkeypatch: Any) -> None:
    saved = []
    monkeypatch.setattr("reenact_zoo.train.callbacks.save_atomically", lambda trainer, path: saved.append(path))
    fit(configured(max_updates=3, checkpoint_minutes=0.0), out=tmp_path, quiet=True)
    assert len(saved) == 3
    fit(configured(max_updates=3, checkpoint_minutes=None), out=tmp_path, quiet=True)
    assert len(saved) == 4, "the last update is always saved"


def test_a_failed_save_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    class Full:
        is_global_zero = True

        def save_checkpoint(self, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    path = tmp_path / "last.ckpt"
    path.write_bytes(b"whole")
    with pytest.raises(InputError, match=r"cannot write the checkpoint '.*last.ckpt': No space left on device"):
        save_atomically(Full(), path)  # type: ignore[arg-type]
    assert path.read_bytes() == b"whole"
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]


def test_mistakes_are_named_in_one_line(configured: Configured, tmp_path: Path) -> None:
    fit(configured(max_updates=1), out=tmp_path / "run", quiet=True)
    (tmp_path / "file").write_text("")
    baseline = train_config({"method": "copy_source", "dataset": "reenact_zoo.testing:PaintedClips"}, "here", "x")
    cases: list[tuple[TrainConfig, dict[str, Path], str]] = [
        (baseline, {"out": tmp_path / "a"}, "'copy_source' has nothing to train"),
        (configured(), {"out": tmp_path / "run"}, "holds a training already; go on with --resume"),
        (configured(), {"out": tmp_path / "file" / "run"}, "cannot write to the run folder"),
        (configured(), {"resume": tmp_path / "nowhere"}, "nothing to resume: no file"),
        (configured(), {"resume": tmp_path / "file"}, "is not a readable checkpoint"),
        (configured(max_updates=1), {"resume": tmp_path / "run"}, "has 1 updates already; set max_updates above"),
        (configured(seed=1), {"resume": tmp_path / "run"}, "other clips, seed or same_identity"),
        (configured(method_fields={"width": 12}), {"resume": tmp_path / "run"}, "width is 8 there and 12 here"),
        (configured("TwoPhaseToy"), {"resume": tmp_path / "run"}, "OnePhaseToy', not of '.*TwoPhaseToy'"),
        (configured(split="tets"), {"out": tmp_path / "b"}, "no split 'tets'; it has train, val"),
        (configured(devices=2), {}, "give a run folder with --out"),
        (configured(validation_metrics=["l2"]), {"out": tmp_path / "c"}, "unknown metric 'l2'"),
    ]
    for config, where, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            fit(config, quiet=True, **where)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value), message


def test_without_a_gpu_asking_for_one_is_refused(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU is usable here; use accelerator=cpu"):
        fit(configured(accelerator="gpu"), out=tmp_path, quiet=True)


def test_training_is_given_what_its_losses_need_beside_what_use_requires(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = OnePhaseToy._losses, []

    def looking(self: OnePhaseToy, batch: Any, shared: Any) -> Any:
        seen.append("driving_matte" in batch)
        return original(self, batch, shared)

    monkeypatch.setattr(OnePhaseToy, "_losses", looking)
    monkeypatch.setattr(OnePhaseToy, "training_requires", frozenset({"driving_matte"}))
    fit(configured(max_updates=1), out=tmp_path, quiet=True)
    assert seen == [True]
    assert "driving_matte" not in OnePhaseToy.requires


@pytest.mark.parametrize("log_every", [1, 100])
def test_losses_that_are_no_numbers_stop_the_training_before_they_are_saved(
    log_every: int, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = OnePhaseToy._losses

    def exploding(self: OnePhaseToy, batch: Any, shared: Any) -> Any:
        losses = dict(original(self, batch, shared))
        return losses if self.num_updates < 2 else {"pixel": losses["pixel"] * float("inf")}

    monkeypatch.setattr(OnePhaseToy, "_losses", exploding)
    with pytest.raises(InputError, match=r"update 3: train/reconstruct/pixel, .* not finite; lower the learning rate"):
        fit(configured(checkpoint_updates=1, log_every=log_every), out=tmp_path, quiet=True)
    assert OnePhaseToy.load(tmp_path / "last.ckpt").num_updates == 2


def test_without_held_out_clips_the_pictures_are_called_train(configured: Configured, tmp_path: Path) -> None:
    config = configured(validation_split="train")
    fit(config, out=tmp_path, quiet=True)
    assert "train/pairs" in events(tmp_path).Tags()["images"]


def test_validation_can_be_left_out(configured: Configured, tmp_path: Path) -> None:
    fit(configured(validation_pairs=0), out=tmp_path, quiet=True)
    assert events(tmp_path).Tags()["images"] == []


def test_a_mistake_inside_a_worker_process_is_one_line() -> None:
    text = "Caught InputError in DataLoader worker process 0.\nTraceback:\nreenact_zoo.types.InputError: no face\n"
    with pytest.raises(InputError, match=r"^no face$"):
        fit_module._reraise_in_one_line(InputError(text))


def test_the_picture_grid_has_a_row_per_pair() -> None:
    triples = [torch.stack([torch.full((3, 4, 4), value) for value in (0.0, 0.5, float("nan"))]) for _ in range(2)]
    grid = picture_grid(triples)
    assert grid.shape == (3, 2 * 6 + 2, 3 * 6 + 2)
    assert np.allclose(grid[0, 4, [4, 10, 16]], [0, 0.5, 0]), "a failed pair is black"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_update_saves_and_can_be_resumed(
    number: signal.Signals, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = fit(configured(max_updates=5), out=tmp_path / "straight", quiet=True)
    original = OnePhaseToy._losses

    def interrupted(self: OnePhaseToy, batch: Any, shared: Any) -> Any:
        if self.num_updates == 2:
            os.kill(os.getpid(), number)
        return original(self, batch, shared)

    with monkeypatch.context() as patch:
        patch.setattr(OnePhaseToy, "_losses", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(configured(max_updates=5), out=tmp_path / "run", quiet=True)
    assert OnePhaseToy.load(tmp_path / "run" / "last.ckpt").num_updates == 3
    assert OnePhaseToy.load(tmp_path / "run" / "weights.safetensors").num_updates == 3
    same_training(straight, fit(configured(max_updates=5), resume=tmp_path / "run", quiet=True))


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_with_status_130_and_no_traceback(configured: Configured, tmp_path: Path) -> None:
    config = configured("TwoPhaseToy", max_updates=100_000, validation_pairs=0)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    code = (
        "import sys, pathlib; from reenact_zoo.config import load_train_config; from reenact_zoo.train.fit import fit\n"
        "try:\n    fit(load_train_config(sys.argv[1]), out=pathlib.Path(sys.argv[2]))\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    out = tmp_path / "run"
    command = [sys.executable, "-c", code, str(tmp_path / "c.yaml"), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None and not any(path.stat().st_size > 2000 for path in out.glob("events*")):
        time.sleep(0.1)  # the events file grows once updates are being made
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    done = TwoPhaseToy.load(out / "last.ckpt").num_updates
    assert f"stopped at update {done}; go on with --resume {out}" in stdout.replace("\n", "")
    assert 0 < done < 100_000
    resumed = load_train_config(tmp_path / "c.yaml", [f"max_updates={done + 2}"])
    assert TwoPhaseToy.load(fit(resumed, resume=out, quiet=True)).num_updates == done + 2


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "PATIENCE_S", 0.0)
    stop = callbacks.StopOnSignal()
    before = signal.getsignal(signal.SIGINT)
    stop.on_train_start(None, None)  # type: ignore[arg-type]
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.interrupted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        stop.restore()
    assert signal.getsignal(signal.SIGINT) is before
