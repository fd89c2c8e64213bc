"""Pairs as batches for evaluation: pixels, and the truth where the dataset knows it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.data.pairs import Pair, evenly_spaced
from reenact_zoo.datasets.base import ClipDataset, FrameRef
from reenact_zoo.types import TARGET_KEYS, InputError, PairBatch

_REMEMBERED_IMAGES = 32  # consecutive pairs share their source; 32 pictures of 256 px are 25 MB


class EvaluationPairs:
    """Map-style: index → one pair as a PairBatch without its batch axis.

    Args:
        dataset: answers what is true about a pair.
        pairs: what to look up.
        images: frame → (3, S, S) RGB in [0, 1], cropped as the protocol says.
        resolution: S.
        relative: add ``driving_reference``, and ask for the truth of motion relative to it.
        whole_frames: False where frames are cropped: the dataset's truth is about whole frames and is left out then.
        oracle: annotation keys ("source_landmarks" …) that are taken from the truth instead of being estimated.
        sources: with more than one, ``extra_sources`` are as many less one other frames of the source's clip.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        pairs: Sequence[Pair],
        images: Callable[[FrameRef], Tensor],
        resolution: int,
        *,
        relative: bool = False,
        whole_frames: bool = True,
        oracle: frozenset[str] = frozenset(),
        sources: int = 1,
    ) -> None:
        self._dataset, self._pairs, self._read, self._resolution = dataset, pairs, images, resolution
        self._relative, self._whole_frames, self._oracle, self._sources = relative, whole_frames, oracle, sources
        self._remembered: OrderedDict[FrameRef, Tensor] = OrderedDict()
        self._labels = pair_labels(dataset, pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> PairBatch:
        """One pair.

        Raises:
            InputError: a frame cannot be read, no face is found to crop it, or the clip has fewer frames than sources.
        """
        pair = self._pairs[index]
        item: dict[str, Any] = {
            "source": self._image(pair.source),
            "driving": self._image(pair.driving),
            "same_identity": torch.tensor(pair.same_identity),
            "pair_id": pair.pair_id,
            **{key: values[index] for key, values in self._labels.items()},
        }
        if self._sources > 1:
            item["extra_sources"] = torch.stack([self._image(ref) for ref in self._extra_sources(pair.source)])
        reference = pair.driving_reference if self._relative else None
        if reference is not None:
            item["driving_reference"] = self._image(reference)
        item |= self._known_annotations(pair, reference)
        if self._whole_frames:
            item |= self._truth(pair, reference)
        return cast(PairBatch, item)

    def _extra_sources(self, source: FrameRef) -> list[FrameRef]:
        """Evenly spaced over the other frames of the clip: the same for every pair of a source."""
        others = [i for i in range(self._dataset.clip(source.clip).num_frames) if i != source.index]
        if len(others) < self._sources - 1:
            raise InputError(
                f"clip '{source.clip}' has {len(others) + 1} frame(s), the protocol asks for {self._sources} sources"
            )
        return [FrameRef(source.clip, others[i]) for i in evenly_spaced(0, len(others), self._sources - 1)]

    def _image(self, ref: FrameRef) -> Tensor:
        if ref not in self._remembered:
            self._remembered[ref] = self._read(ref)
            if len(self._remembered) > _REMEMBERED_IMAGES:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(ref)
        return self._remembered[ref]

    def _known_annotations(self, pair: Pair, reference: FrameRef | None) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        roles = {"source": pair.source, "driving": pair.driving, "driving_reference": reference}
        for role, ref in roles.items():
            wanted = {key for key in self._oracle if key.startswith(f"{role}_")}
            if ref is not None and wanted:
                known = self._dataset.annotations(ref)
                found |= {key: as_tensor(key, known[name]) for key in wanted if (name := key[len(role) + 1 :]) in known}
        return found

    def _truth(self, pair: Pair, reference: FrameRef | None) -> dict[str, Tensor]:
        truth = self._dataset.cross_target(pair.source, pair.driving, reference)
        found = {key: as_tensor(key, array) for key, array in truth.items() if key in TARGET_KEYS}
        if "target" in found and found["target"].shape[-1] != self._resolution:
            raise InputError(
                f"the dataset's true targets are {found['target'].shape[-1]} pixels wide, the protocol's resolution is "
                f"{self._resolution}: set the dataset's image_size to it"
            )
        return found


def pair_labels(dataset: ClipDataset, pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """The ``LABEL_KEYS`` of all pairs, each (n, …) int64; a pair's do not depend on which others are run."""
    people = {name: number for number, name in enumerate(dict.fromkeys(clip.identity for clip in dataset.clips))}
    persons = [[people[dataset.clip(ref.clip).identity] for ref in (pair.source, pair.driving)] for pair in pairs]
    return {
        "sequence": torch.tensor([_number(f"{p.source}+{p.driving.clip}") for p in pairs], dtype=torch.int64),
        "sequence_frame": torch.tensor([pair.driving.index for pair in pairs], dtype=torch.int64),
        "persons": torch.tensor(persons, dtype=torch.int64).reshape(len(pairs), 2),
    }


def _number(text: str) -> int:
    """The same 63 bits for the same text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def as_tensor(key: str, array: NDArray[Any]) -> Tensor:
    """A dataset's array as PairBatch holds ``key``: float32; uint8 pictures (H, W, 3) become (3, H, W) in [0, 1], masks
    (H, W) get their channel axis, everything else keeps its axes.
    """
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[-1] == 3:
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).float() / 255
    tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    return tensor[None] if tensor.ndim == 2 and key.endswith(("matte", "valid")) else tensor


def collate(items: Sequence[PairBatch]) -> PairBatch:
    """Stack pairs. A truth that only some of them have is NaN in the rows of the others."""
    rows = cast("Sequence[Mapping[str, Any]]", items)
    batch: dict[str, Any] = {"pair_id": [row["pair_id"] for row in rows]}
    for key in dict.fromkeys(key for row in rows for key in row if key != "pair_id"):
        example = next(row[key] for row in rows if key in row)
        blank = torch.full_like(example, torch.nan) if example.is_floating_point() else torch.zeros_like(example)
        batch[key] = torch.stack([row.get(key, blank) for row in rows])
    return cast(PairBatch, batch)
