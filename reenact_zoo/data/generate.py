"""Writes the synthetic dataset as ordinary clips: one folder per person, one video per clip, its truth beside it.

``dataset.json`` says what made it. ``<identity>/<clip>.mp4`` is H.264; the dataset ``clips`` reads the folder with
identity: folder. ``<identity>/<clip>.npz`` holds landmarks (T, 68, 2) normalised, coefficients (T, K), parsing
(T, S, S) uint8 labels and matte (T, S, S) uint8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np

from reenact_zoo.datasets.base import Clip, FrameRef
from reenact_zoo.datasets.synthetic import VERSION, Synthetic, SyntheticConfig
from reenact_zoo.types import InputError
from reenact_zoo.video.write import VideoWriter

SPLITS = ("train", "val", "test")


def generate(
    out: Path,
    *,
    head: str = "procedural",
    identities: int = 8,
    clips: int = 1,
    frames: int = 75,
    image_size: int = 256,
    split: str = "train",
    seed: int = 0,
    progress: bool = True,
) -> int:
    """Render ``identities`` people of one split into the new folder ``out``.

    Returns:
        Number of clips written.

    Raises:
        InputError: the folder is not empty, or a setting makes no sense.
    """
    if split not in SPLITS:
        raise InputError(f"split is {', '.join(SPLITS)}, not '{split}'")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already and not an empty folder; name a new one")
    config = SyntheticConfig(head=head, image_size=image_size, split=split, clips=clips, frames=frames, seed=seed)
    setattr(config, f"{split}_identities", identities)
    dataset = Synthetic(config)
    for clip in _shown(dataset.clips, progress):
        _write_clip(dataset, clip, out / clip.identity)
    about = {"dataset": "synthetic", "version": VERSION, "config": asdict(config)}
    (out / "dataset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return len(dataset.clips)


def _shown(clips: Iterable[Clip], progress: bool) -> Iterable[Clip]:
    if not progress:
        return clips
    from rich.progress import track

    return track(clips, "rendering clips")


def _write_clip(dataset: Synthetic, clip: Clip, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    size = dataset.config.image_size
    truth: dict[str, list[np.ndarray]] = {"landmarks": [], "coefficients": [], "parsing": [], "matte": []}
    with VideoWriter(folder / f"{clip.name}.mp4", clip.frame_rate or Fraction(25), (size, size)) as video:
        for index in range(clip.num_frames):
            ref = FrameRef(clip.name, index)
            video.write(dataset.frame(ref))
            known = dataset.annotations(ref)
            truth["landmarks"].append(known["landmarks"])
            truth["coefficients"].append(known["coefficients"])
            truth["parsing"].append(known["parsing"].argmax(axis=0).astype(np.uint8))
            truth["matte"].append(np.round(known["matte"][0] * 255).astype(np.uint8))
    np.savez_compressed(folder / f"{clip.name}.npz", allow_pickle=False, **{k: np.stack(v) for k, v in truth.items()})
