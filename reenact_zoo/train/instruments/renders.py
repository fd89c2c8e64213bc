"""Training pictures of the instruments, rendered once into the user's cache: heads without background, with the truth.

A world is a seed of the synthetic data set. Its people are rendered in shards of a few people; a shard is written
under another name and renamed, so that an interrupted run goes on where it stopped and several processes share work.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.datasets._clip_cache import ClipCache
from reenact_zoo.datasets._scenes import scene
from reenact_zoo.datasets.synthetic import VERSION, Synthetic, SyntheticConfig
from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable.reduced import ReducedHead
from reenact_zoo.ops.rotation import euler_from_matrix
from reenact_zoo.train.instruments.states import random_states
from reenact_zoo.weights.store import cache_folder

SIZE = 96  # pixels; a face is about 50 of them high, so a 64-pixel crop of it shrinks a little
PEOPLE_PER_SHARD = 10
SCENES = 400  # backgrounds, put behind the heads anew in every batch
RECORDS_VERSION = 2  # raised when what is drawn or stored changes


@dataclass(frozen=True)
class World:
    """People of one seed: ``people`` of them in ``frames`` pictures each."""

    seed: int
    people: int
    frames: int
    head: str = "ict"
    reduced: bool = True  # whether coefficients of the reduced head are kept; making that head takes seconds

    def dataset(self) -> Synthetic:
        """Its clips; two frames a second, so that few frames show much of a person's play."""
        return Synthetic(
            SyntheticConfig(
                head=self.head,
                image_size=SIZE,
                split="train",
                train_identities=self.people,
                frames=self.frames,
                frame_rate=2,
                seed=self.seed,
            )
        )


def record_type(coefficients: int) -> np.dtype[np.void]:
    """What is kept of a picture; ``coefficients`` numbers of the reduced head."""
    return np.dtype(
        [
            ("premultiplied", "u1", (SIZE, SIZE, 3)),  # the head alone, over black
            ("matte", "u1", (SIZE, SIZE)),
            ("labels", "u1", (SIZE, SIZE)),  # most frequent parsing class
            ("landmarks", "<f4", (68, 2)),  # [-1, 1]
            ("expression", "<f4", (53,)),  # in the head model's order
            ("rotation_deg", "<f4", (3,)),
            ("reduced", "<f4", (coefficients,)),  # none where they are not kept
            ("person", "<i4"),
        ]
    )


class WorldCache:
    """Shards of a world on disk."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._dataset = world.dataset()
        self._reduced: ReducedHead | None = None
        clip = self._dataset.clips[0].name
        probe = self._dataset._render(clip, self._dataset.coefficients(clip)[0])
        settings = (VERSION, RECORDS_VERSION, SIZE, world.head, world.seed, world.frames, world.reduced)
        key = f"{settings} {ClipCache.digest(probe)}"
        self.digest = hashlib.sha256(key.encode()).hexdigest()[:24]
        self.folder = cache_folder() / "instruments" / self.digest

    @property
    def shards(self) -> int:
        """Number of shards of the whole world."""
        return -(-self.world.people // PEOPLE_PER_SHARD)

    def path(self, shard: int) -> Path:
        """File of a shard, there or not."""
        return self.folder / f"people_{shard * PEOPLE_PER_SHARD:05d}.npy"

    def missing(self) -> list[int]:
        """Shards that are not on disk."""
        return [shard for shard in range(self.shards) if not self.path(shard).is_file()]

    def render(self, part: int, parts: int, until: float) -> None:
        """Make every ``parts``-th missing shard; none is begun after ``time.monotonic()`` has passed ``until``."""
        for shard in self.missing()[part::parts]:
            if time.monotonic() > until:
                return
            if not self.path(shard).is_file():
                _save(self.path(shard), self._shard(shard))

    def _shard(self, shard: int) -> NDArray[np.void]:
        people = range(shard * PEOPLE_PER_SHARD, min((shard + 1) * PEOPLE_PER_SHARD, self.world.people))
        return np.concatenate([self._person(person) for person in people])

    def _person(self, person: int) -> NDArray[np.void]:
        dataset, clip = self._dataset, self._dataset.clips[person].name
        states = random_states(dataset, clip, np.random.SeedSequence([self.world.seed, 17, person]))
        reduced = self._reduce(states)
        parts = dataset.head.layout.split(states)
        turned = dataset.head.head_rotation(parts["pose"])
        records = np.zeros(len(states), record_type(reduced.shape[1]))
        records["expression"], records["reduced"], records["person"] = parts["expression"], reduced, person
        for row, (state, rotation) in enumerate(zip(states, turned)):
            # every other picture has no soft shadows: half the cost, and one look less to rely on
            dataset._ready().shadows = row % 2 == 0
            drawn = dataset._render(clip, state)
            records["premultiplied"][row] = _bytes(drawn.premultiplied[0]).permute(1, 2, 0).numpy()
            records["matte"][row] = _bytes(drawn.alpha[0, 0]).numpy()
            records["labels"][row] = drawn.parsing[0].argmax(0).numpy()
            records["landmarks"][row] = drawn.landmarks[0].numpy()
            records["rotation_deg"][row] = euler_from_matrix(rotation).numpy()
        return records

    def _reduce(self, states: Tensor) -> Tensor:
        """(T, K) → (T, 120); the albedo, which is slow to project, is that of the first frame in all of them."""
        if not self.world.reduced:
            return states[:, :0]
        if self._reduced is None:
            reduced = load_head(f"{self.world.head}_reduced")
            assert isinstance(reduced, ReducedHead)
            self._reduced = reduced
        full = self._dataset.head.layout.split(states)
        first = self._reduced.layout.split(self._reduced.from_full(states[:1]))
        return self._reduced.layout.join(
            shape=first["shape"].expand(len(states), -1),
            texture=first["texture"].expand(len(states), -1),
            expression=full["expression"] @ self._reduced._expression_map,
            pose=full["pose"],
            camera=full["camera"],
            light=full["light"],
        )

    def load(self) -> dict[str, Tensor]:
        """All shards on disk as one tensor per field; people are numbered without gaps."""
        files = [self.path(shard) for shard in range(self.shards) if self.path(shard).is_file()]
        maps = [np.load(path, mmap_mode="r") for path in files]
        fields = {name: torch.from_numpy(np.concatenate([m[name] for m in maps])) for name in maps[0].dtype.names}
        fields["person"] = fields["person"].unique(return_inverse=True)[1]
        return fields


def scenes(folder: Path, count: int = SCENES) -> Tensor:
    """(count, 3, SIZE, SIZE) uint8 backgrounds, from ``folder`` where they are."""
    path = folder / f"scenes_{SIZE}_{count}.npy"
    if not path.is_file():
        made = [scene(np.random.SeedSequence([911, number]), SIZE) for number in range(count)]
        _save(path, (np.stack(made) * 255).round().astype(np.uint8))
    return torch.from_numpy(np.load(path)).permute(0, 3, 1, 2).contiguous()


def _bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _save(path: Path, array: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
