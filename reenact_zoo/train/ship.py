"""Turns a finished run into weights that ship with the package: ``python -m reenact_zoo.train.ship --help``.

Beside the float16 file lies a card, a JSON file that says what made it: command, configuration, seed, updates, hours,
first and last losses. ``ReenactmentModule.ready`` finds the file by its name, <method>_<image size>.safetensors.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.train.callbacks import LAST
from reenact_zoo.types import InputError

BUNDLED = Path(__file__).resolve().parents[1] / "bundled" / "weights"
LIMIT_BYTES = 6_000_000  # of one method, so that the package stays small
SHARE = 0.05  # of the logged updates that "first" and "last" average


def ship(run: Path, command: str, out: Path = BUNDLED, name: str = "") -> Path:
    """Write weights and card of the run folder ``run``; returns the path of the weights.

    Args:
        run: folder that ``fit`` wrote.
        command: what started the run, for the card.
        out: folder of the result.
        name: file stem; default <method>_<image size>.

    Raises:
        InputError: no checkpoint there, or the weights are too large to ship.
    """
    if not command.strip():
        raise InputError("say with --command what started the run: weights ship with the command that made them")
    method: ReenactmentModule[Any] = ReenactmentModule.load(run / LAST)
    stem = name or f"{method.registered_name()}_{method.config.image_size}"
    part = out / f".{stem}.part.safetensors"
    try:
        method.save_weights(part, half=True)
        size = part.stat().st_size
        if size > LIMIT_BYTES:
            raise InputError(f"{stem} has {size:,} bytes, more than the {LIMIT_BYTES:,} a method may ship; shrink it")
        content = json.dumps(_card(method, run, command, stem, part), indent=2) + "\n"
        (out / f"{stem}.json").write_text(content, encoding="utf-8")
        part.replace(out / f"{stem}.safetensors")
    finally:
        part.unlink(missing_ok=True)
    return out / f"{stem}.safetensors"


def _card(method: ReenactmentModule[Any], run: Path, command: str, stem: str, file: Path) -> dict[str, Any]:
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    state = torch.load(run / LAST, map_location="cpu", weights_only=True)
    return {
        "name": stem,
        "method": method.registered_name(),
        "command": command,
        "config": config,
        "seed": config.get("seed"),
        "updates": method.num_updates,
        "instruments_looked_at": sorted(method.instruments),
        "parameters": sum(p.numel() for name, p in method.named_parameters() if name in state["state_dict"]),
        "precision_of_the_file": "float16",
        **_log(run),
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def _log(run: Path) -> dict[str, Any]:
    """Hours and losses from the TensorBoard files; time between two runs of a resumed training is not counted."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(run), size_guidance={"scalars": 0})
    log.Reload()
    found: dict[str, dict[str, float]] = {}
    seconds = 0.0
    for tag in log.Tags()["scalars"]:
        events = sorted(log.Scalars(tag), key=lambda event: event.step)
        few = max(1, int(SHARE * len(events)))
        mean = [round(sum(e.value for e in part) / few, 5) for part in (events[:few], events[-few:])]
        found[tag] = {"first": mean[0], "last": mean[1]}
        laps = [b.wall_time - a.wall_time for a, b in itertools.pairwise(events)]
        usual = 20 * sorted(laps)[len(laps) // 2] if laps else 0.0
        seconds = max(seconds, sum(lap for lap in laps if lap <= usual))
    return {"training_minutes": round(seconds / 60, 1), "log": dict(sorted(found.items()))}


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser("python -m reenact_zoo.train.ship", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of reenact-zoo train")
    parser.add_argument("--command", required=True, help="what started the run")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--name", default="", help="file stem; default <method>_<image size>")
    given = parser.parse_args(words)
    try:
        print(ship(given.run, given.command, given.out, given.name))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
