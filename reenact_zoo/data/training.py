"""Training pairs, drawn by a counter: pair number n is the same on every machine, with any number of workers, and after
a resume, because its random numbers come from (seed, n) alone.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset, Subset

from reenact_zoo.data.evaluation import as_tensor, collate
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.faces.annotate import split_key
from reenact_zoo.types import TARGET_KEYS, InputError, PairBatch

ATTEMPTS = 20  # pairs drawn in place of one whose face is not found, before the data is called unusable


class Filler(Protocol):
    """What is asked of ``faces.annotate.Annotator``."""

    def fill(self, batch: PairBatch, requires: frozenset[str]) -> PairBatch:
        """The batch with missing annotations estimated from pixels."""


class Draw(NamedTuple):
    """The frames of one pair."""

    source: FrameRef
    driving: FrameRef
    source_identity: int
    driving_identity: int
    extra_sources: tuple[FrameRef, ...]


@dataclass(frozen=True)
class PairRules:
    """How pairs are drawn.

    Attributes:
        seed: everything random follows from it and the pair's number.
        same_identity: probability that both frames come from one clip; otherwise from two persons.
        requires: annotation keys the method needs.
        extra_sources: how many further source frames a pair has where ``requires`` names them.
        whole_frames: frames are square and not cropped, so that the dataset's own annotations fit them.
    """

    seed: int
    same_identity: float = 1.0
    requires: frozenset[str] = frozenset()
    extra_sources: int = 1
    whole_frames: bool = True


class TrainingPairs(Dataset[PairBatch]):
    """Map-style without end: number → one pair as a PairBatch without its batch axis; never a target key.

    An identity is drawn first, then one of its clips, then two different frames (one and the same where the clip has
    only one), so that people with many clips do not crowd out the others.

    Args:
        dataset: supplies the truth about frames where it knows it.
        clips: those of the split.
        images: frame → (3, S, S) RGB in [0, 1].
        rules: how to draw.
        annotator: makes the object that estimates what the dataset does not know; called once per process.

    Raises:
        InputError: no clip, or cross pairs asked of a single identity.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        clips: Sequence[Clip],
        images: Callable[[FrameRef], Tensor],
        rules: PairRules,
        annotator: Callable[[], Filler] | None = None,
    ) -> None:
        if not clips:
            raise InputError("the data set has no clip to train on; check its root folder and split")
        self.rules = rules
        self._dataset, self._images, self._make_annotator = dataset, images, annotator
        self._annotator: Filler | None = None
        by_identity: dict[str, list[Clip]] = {}
        for clip in clips:
            by_identity.setdefault(clip.identity, []).append(clip)
        self._people = [by_identity[identity] for identity in sorted(by_identity)]
        if len(self._people) < 2 and rules.same_identity < 1:
            raise InputError("cross pairs need at least two identities; set same_identity=1")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_annotator": None}  # instruments hold sessions that cannot travel to a worker

    def fingerprint(self) -> str:
        """sha256 over everything that decides which frames a number means."""
        clips = [f"{clip.name} {clip.identity} {clip.num_frames}" for person in self._people for clip in person]
        text = "\n".join([repr(self.rules.seed), repr(self.rules.same_identity), *clips])
        return hashlib.sha256(text.encode()).hexdigest()

    def draw(self, number: int, attempt: int = 0) -> Draw:
        """Frames of pair ``number``; further attempts give other frames."""
        rng = np.random.default_rng([self.rules.seed, number, attempt])
        person = int(rng.integers(len(self._people)))
        clip = self._clip(person, rng)
        count = min(clip.num_frames, 2 + self.rules.extra_sources)
        first, *rest = rng.choice(clip.num_frames, size=count, replace=False).tolist()
        source = FrameRef(clip.name, first)
        extra = tuple(FrameRef(clip.name, index) for index in (rest[1:] or [first]))
        if rng.random() < self.rules.same_identity:
            driving, other = FrameRef(clip.name, rest[0] if rest else first), person
        else:
            other = (person + 1 + int(rng.integers(len(self._people) - 1))) % len(self._people)
            driving_clip = self._clip(other, rng)
            driving = FrameRef(driving_clip.name, int(rng.integers(driving_clip.num_frames)))
        extra = tuple(extra[i % len(extra)] for i in range(self.rules.extra_sources))
        return Draw(source, driving, person, other, extra)

    def _clip(self, person: int, rng: np.random.Generator) -> Clip:
        clips = self._people[person]
        return clips[int(rng.integers(len(clips)))]

    def __getitem__(self, index: int) -> PairBatch:
        """Pair number ``index``.

        Raises:
            InputError: a required annotation that nobody can supply, or no face in many pairs in a row.
        """
        for attempt in range(ATTEMPTS):
            item = self._make(self.draw(index, attempt))
            if not any(_has_nan(value) for value in item.values()):
                return item
        raise InputError(
            f"no face was found in {ATTEMPTS} training pairs in a row; use crop.policy=face, larger images, or data "
            "that shows faces"
        )

    def _make(self, draw: Draw) -> PairBatch:
        needs = self.rules.requires
        refs = {"source": draw.source, "driving": draw.driving}
        if any(key.startswith("driving_reference") for key in needs):
            refs["driving_reference"] = FrameRef(draw.driving.clip, 0)
        item: dict[str, Any] = {role: self._images(ref) for role, ref in refs.items()}
        item["same_identity"] = torch.tensor(draw.source_identity == draw.driving_identity)
        item["pair_id"] = f"{draw.source} {draw.driving}"
        item["source_identity"] = torch.tensor(draw.source_identity)
        item["driving_identity"] = torch.tensor(draw.driving_identity)
        if "extra_sources" in needs:
            item["extra_sources"] = torch.stack([self._images(ref) for ref in draw.extra_sources])
        if self.rules.whole_frames:
            item |= self._truth(refs, needs - item.keys(), item["source"].shape[-2:])
        return self._filled(item)

    def _truth(self, refs: dict[str, FrameRef], keys: frozenset[str], size: torch.Size) -> dict[str, Tensor]:
        found = {}
        known = {role: self._dataset.annotations(ref) for role, ref in refs.items() if _of_role(role, keys)}
        for key in keys:
            role, name = split_key(key)
            if name in known.get(role, {}):
                found[key] = _sized(as_tensor(key, known[role][name]), name, size)
        return found

    def _filled(self, item: dict[str, Any]) -> PairBatch:
        missing = sorted(self.rules.requires - item.keys())
        if not missing:
            return cast(PairBatch, item)
        if self._make_annotator is None:
            raise InputError(f"nobody supplies '{missing[0]}': the data set does not know it; give an annotator")
        if self._annotator is None:
            self._annotator = self._make_annotator()
        batch = {key: value[None] if isinstance(value, Tensor) else [value] for key, value in item.items()}
        filled = self._annotator.fill(cast(PairBatch, batch), self.rules.requires)
        return cast(PairBatch, {**item, **{key: cast(dict[str, Any], filled)[key][0] for key in missing}})


def _of_role(role: str, keys: frozenset[str]) -> bool:
    return any(split_key(key)[0] == role for key in keys)


def _has_nan(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _sized(value: Tensor, name: str, size: torch.Size) -> Tensor:
    """Maps resampled to the images' size; anything else as it is."""
    if name not in ("matte", "parsing") or value.shape[-2:] == size:
        return value
    return interpolate(value[None], size=tuple(size), mode="bilinear", antialias=True, align_corners=False)[0]


class UpdateBatches:
    """Batch sampler: the numbers of the pairs of every update from ``first`` on, this process's equal share of each.

    It has no length on purpose: Lightning then never compares its own batch counter, which a resume distorts, with it.
    """

    def __init__(self, first: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size % world_size:
            raise InputError(f"batch_size {batch_size} cannot be shared among {world_size} processes equally")
        self.first, self.batch_size, self.share, self.rank = first, batch_size, batch_size // world_size, rank

    def __iter__(self) -> Iterator[list[int]]:
        update = self.first
        while True:
            begin = update * self.batch_size + self.rank * self.share
            yield list(range(begin, begin + self.share))
            update += 1


class TrainingData(LightningDataModule):
    """Loaders of training and validation pairs; continues at the method's ``num_updates``.

    Args:
        train: training pairs.
        batch_size: pairs per update over all processes together.
        validation: held-out pairs, of which the first ``validation_pairs`` are used; None for no validation.
        validation_pairs: how many.
        workers: loading processes; None for one less than the cores this process may use, at most 8.
    """

    def __init__(
        self,
        train: TrainingPairs,
        batch_size: int,
        validation: TrainingPairs | None = None,
        validation_pairs: int = 0,
        workers: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.batch_size, self.validation_pairs = batch_size, validation_pairs
        self.workers = min(8, max(0, _cores() - 1)) if workers is None else workers

    def state_dict(self) -> dict[str, Any]:
        """What must be equal for the data to go on where it stopped."""
        return {"pairs": self.train.fingerprint(), "batch_size": self.batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data.

        Raises:
            InputError: other clips, seed, share of cross pairs, or batch size.
        """
        if state_dict["batch_size"] != self.batch_size:
            raise InputError(f"the checkpoint used batch_size {state_dict['batch_size']}, not {self.batch_size}")
        if state_dict["pairs"] != self.train.fingerprint():
            raise InputError("the checkpoint was trained on other clips, seed or same_identity; they must be equal")

    def train_dataloader(self) -> DataLoader[PairBatch]:
        """Batches from the method's next update on, without end."""
        trainer = self.trainer
        assert trainer is not None
        first = cast(Any, trainer.lightning_module).num_updates
        sampler = UpdateBatches(first, self.batch_size, trainer.global_rank, trainer.world_size)
        return DataLoader(self.train, batch_sampler=cast(Any, sampler), **self._loading(self.workers))

    def val_dataloader(self) -> list[DataLoader[PairBatch]]:
        """The fixed validation pairs, whole on every process; loaded without workers, since they are few."""
        if self.validation is None or self.validation_pairs == 0:
            return []
        chosen = Subset(self.validation, range(self.validation_pairs))
        return [DataLoader(chosen, batch_size=min(8, self.validation_pairs), **self._loading(0))]

    @staticmethod
    def _loading(workers: int) -> dict[str, Any]:
        if workers == 0:
            return {"collate_fn": _collate_training, "num_workers": 0}
        return {
            "collate_fn": _collate_training,
            "num_workers": workers,
            "persistent_workers": True,
            # A fork would inherit OpenMP threads of the renderer, which numba forbids; a fork server would die of the
            # SIGTERM that a batch system sends to the whole group, and take its workers along.
            "multiprocessing_context": "spawn",
            "worker_init_fn": _prepare_worker,
        }


def _cores() -> int:
    """Cores this process may use; fewer than the machine has inside a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _collate_training(items: list[PairBatch]) -> PairBatch:
    batch = collate(items)
    assert not TARGET_KEYS & batch.keys(), "a target has reached training"
    return batch


def _prepare_worker(worker: int) -> None:
    """Signals to stop reach every process of the group; only the main one decides, and workers end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
