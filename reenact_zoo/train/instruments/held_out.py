"""People that no bundled network has seen: the validation people of world 0, as the benchmark shows them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.datasets._clip_cache import ClipCache
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import VERSION, Synthetic, SyntheticConfig
from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable.reduced import ReducedHead
from reenact_zoo.ops.rotation import euler_from_matrix
from reenact_zoo.weights.store import cache_folder

SIZES = (64, 128)
CLIPS, FRAMES = 2, 6  # per person; light and place differ between clips


@dataclass(frozen=True)
class HeldOut:
    """Frames with their truth; index 0 of a dictionary's tensors is the frame."""

    images: dict[int, Tensor]
    """By size S: (N, 3, S, S) uint8."""
    labels: dict[int, Tensor]
    """By size S: (N, S, S) uint8 parsing classes."""
    landmarks: Tensor
    """(N, 68, 2) in [-1, 1]."""
    rotation_deg: Tensor
    """(N, 3)."""
    expression: Tensor
    """(N, 53)."""
    reduced: Tensor
    """(N, 120)."""
    person: Tensor
    """(N,)."""
    clip: Tensor
    """(N,)."""

    def picture(self, size: int) -> Tensor:
        """(N, 3, size, size) in [0, 1]."""
        return self.images[size].float() / 255

    def landmarks_px(self, size: int) -> Tensor:
        """(N, 68, 2)."""
        return ((self.landmarks + 1) * size - 1) / 2


def held_out(head: str, people: int, reduced: bool = True) -> HeldOut:
    """Rendered once, then read from the user's cache; without ``reduced`` there are no coefficients."""
    sets = {size: _dataset(head, people, size) for size in SIZES}
    probe = sets[SIZES[0]].render(FrameRef(sets[SIZES[0]].clips[0].name, 0))
    key = f"{VERSION} {head} {people} {reduced} {CLIPS} {FRAMES} {ClipCache.digest(probe)}"
    path = cache_folder() / "instruments" / f"held_out_{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    if not path.is_file():
        _save(path, _render(sets, head, reduced))
    with np.load(path) as file:
        stored = {name: torch.from_numpy(file[name]) for name in file.files}
    images, labels = ({size: stored.pop(f"{kind}_{size}") for size in SIZES} for kind in ("images", "labels"))
    return HeldOut(images, labels, **stored)


def _dataset(head: str, people: int, size: int) -> Synthetic:
    return Synthetic(
        SyntheticConfig(
            head=head, image_size=size, split="val", val_identities=people, clips=CLIPS, frames=FRAMES, frame_rate=1
        )
    )


def _render(sets: dict[int, Synthetic], head: str, with_reduced: bool) -> dict[str, np.ndarray[Any, Any]]:
    first = sets[SIZES[0]]
    reduced = load_head(f"{head}_reduced") if with_reduced else None
    rows: dict[str, list[Any]] = {}
    people = sorted({clip.identity for clip in first.clips})
    for number, clip in enumerate(first.clips):
        coefficients = first.coefficients(clip.name)
        parts = first.head.layout.split(coefficients)
        add = {
            "reduced": reduced.from_full(coefficients) if isinstance(reduced, ReducedHead) else coefficients[:, :0],
            "expression": parts["expression"],
            "rotation_deg": euler_from_matrix(first.head.head_rotation(parts["pose"])),
            "person": np.full(len(coefficients), people.index(clip.identity)),
            "clip": np.full(len(coefficients), number),
        }
        refs = [FrameRef(clip.name, index) for index in range(clip.num_frames)]
        for size, dataset in sets.items():
            drawn = [dataset.render(ref) for ref in refs]
            add[f"images_{size}"] = [(d.image[0].clamp(0, 1) * 255).round().byte().numpy() for d in drawn]
            add[f"labels_{size}"] = [d.parsing[0].argmax(0).byte().numpy() for d in drawn]
            add["landmarks"] = [d.landmarks[0].numpy() for d in drawn]
        for name, values in add.items():
            rows.setdefault(name, []).extend(np.asarray(values))
    return {name: np.stack(values) for name, values in rows.items()}


def _save(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
