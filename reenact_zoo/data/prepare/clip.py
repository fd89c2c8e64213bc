"""One clip from its file to the bytes of its shard: a function of the clip and the settings alone."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from reenact_zoo.data.prepare.boxes import OfficialBox
from reenact_zoo.data.prepare.frames import chosen_frames
from reenact_zoo.data.prepare.spec import PrepareSpec
from reenact_zoo.datasets import _shards
from reenact_zoo.datasets.base import Clip, ClipDataset
from reenact_zoo.faces.align import CropPolicy, SquareBox, crop, to_crop, to_normalised
from reenact_zoo.faces.annotate import Annotator
from reenact_zoo.faces.measure import FaceMeasurer
from reenact_zoo.faces.track import FaceTracker
from reenact_zoo.types import InputError, PairBatch

_AT_ONCE = 32  # frames given to the annotating instruments together

Row = dict[str, Any]  # of the index, as JSON holds it


@dataclass(frozen=True)
class Context:
    """What every clip of a run shares.

    Attributes:
        dataset: where the clips are from.
        spec: what is done to them.
        boxes: official boxes by clip (policy "boxes").
    """

    dataset: ClipDataset
    spec: PrepareSpec
    boxes: Mapping[str, OfficialBox] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A clip and its number, which decides its place in the shards."""

    number: int
    clip: Clip


@dataclass(frozen=True)
class Done:
    """Tar members of a clip and its row of the index; of a clip that failed no bytes and a row with the reason."""

    data: bytes
    row: Row


def prepare_clip(context: Context, job: Job) -> Done:
    """Detect, track, crop, resize, annotate and encode one clip, on one thread.

    A clip that cannot be prepared gives a row with its reason. Faults of the machine (memory, a full disk) are raised.
    """
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)  # sums on several threads may round otherwise
    cv2.setNumThreads(1)
    try:
        return _prepared(context, job)
    except MemoryError:
        raise
    except Exception as error:  # any clip of a hundred thousand may find a fault that nobody thought of
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        return Done(b"", failed_row(job.clip.name, relative_reason(reason, context.dataset), job.clip))
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def failed_row(name: str, reason: str, clip: Clip | None = None) -> Row:
    """Row of a clip that is not there."""
    known = {} if clip is None else {"identity": clip.identity, "split": clip.split, "people": list(clip.people)}
    return {"clip": name, "frames": 0, "error": reason or "unknown", **known}


def relative_reason(reason: str, dataset: ClipDataset) -> str:
    """Without the folder, which differs from machine to machine."""
    root = getattr(dataset, "root", None)
    return reason if root is None else reason.replace(f"{root}{os.sep}", "")


def _prepared(context: Context, job: Job) -> Done:
    spec, clip = context.spec, job.clip
    points = list(_tracked(context, clip)) if spec.tracks else []
    found = [each for each in points if each is not None]
    if spec.tracks and len(found) < max(1, spec.min_tracked * len(points)):
        raise InputError(f"the face was found in {len(found)} of {len(points)} frames; is there one, large enough?")
    members, key = _shards.Members(), f"{job.number:08d}"
    row: Row = {
        "clip": clip.name,
        "identity": clip.identity,
        "split": clip.split,
        "people": list(clip.people),
        "unknown": sorted(clip.unknown),
        "frame_rate": _rate(spec, clip),
        "box_policy": spec.policy,
        "tracked": len(found) if spec.tracks else -1,
        "error": "",
    }
    members.add(f"{key}.json", json.dumps(row, sort_keys=True).encode())
    row |= _write_frames(members, key, context, clip, points)
    data = members.data
    return Done(data, row | {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()})


def _rate(spec: PrepareSpec, clip: Clip) -> str:
    if clip.frame_rate is None:
        return ""
    return str(spec.rate or clip.frame_rate)


def _tracked(context: Context, clip: Clip) -> Iterator[NDArray[np.float32] | None]:
    """(68, 2) px of every frame, None where the face is not found."""
    tracker = _tracker()
    tracker.reset()
    for _, image in chosen_frames(context.dataset, clip, context.spec.rate, context.spec.max_frames):
        face = tracker.track(image)
        yield None if face is None else face.landmarks_px


@cache
def _tracker() -> FaceTracker:
    return FaceTracker()


@cache
def _annotator() -> Annotator:
    return Annotator(FaceMeasurer())


def square_of(
    context: Context, clip: Clip, points: Sequence[NDArray[np.float32] | None], height: int, width: int
) -> SquareBox:
    """The square cut out of every frame (height x width) of a clip.

    Raises:
        InputError: no official box is known for it.
    """
    spec = context.spec
    if spec.policy == "none":
        return SquareBox.of_image(height, width)
    if spec.policy == "boxes":
        if clip.name not in context.boxes:
            raise InputError(f"the list of boxes has none for clip '{clip.name}'")
        return context.boxes[clip.name].square(width, height, spec.scale)
    tube = np.concatenate([each for each in points if each is not None])
    return CropPolicy(scale=spec.scale, shift_y=spec.shift_y, size=spec.size).square(tube)


def _write_frames(
    members: _shards.Members,
    key: str,
    context: Context,
    clip: Clip,
    points: Sequence[NDArray[np.float32] | None],
) -> Row:
    """Add frames and annotations; their places and what else the index says of them."""
    spec, suffix = context.spec, _shards.frame_suffix(context.spec.codec)
    numbers: list[int] = []
    frames: list[_shards.Place] = []
    pictures: dict[str, list[_shards.Place]] = {name: [] for name in spec.measured if name in _shards.PICTURES}
    arrays: dict[str, list[NDArray[np.float32]]] = {name: [] for name in spec.measured if name not in pictures}
    box, size = SquareBox(0, 0, 1), (0, 0)
    waiting: list[NDArray[np.uint8]] = []

    def annotate() -> None:
        first = len(numbers) - len(waiting)
        for name, values in _measured(waiting, spec.measured).items():
            if name in arrays:
                arrays[name] += list(values)
                continue
            for index, value in enumerate(values, first):
                content = _shards.encode_picture(name, value)
                pictures[name].append(members.add(f"{key}.{index:04d}.{name}.png", content))
        waiting.clear()

    for number, image in chosen_frames(context.dataset, clip, spec.rate, spec.max_frames):
        if not numbers:
            size = image.shape[1], image.shape[0]
            box = square_of(context, clip, points, *image.shape[:2])
        picture = crop(image, box, spec.size)
        content = _shards.encode_frame(picture, spec.codec, spec.quality)
        frames.append(members.add(f"{key}.{len(numbers):04d}.{suffix}", content))
        numbers.append(number)
        if spec.measured:
            waiting.append(_shards.decode_frame(content))  # what a reader will see
            if len(waiting) == _AT_ONCE:
                annotate()
    if waiting:
        annotate()
    if "landmarks" in spec.annotations:
        arrays["landmarks"] = [_in_crop(each, box, spec.size) for each in points]
    places: dict[str, list[_shards.Place]] = {"frame": frames, **pictures}
    for name in sorted(arrays):
        content = _shards.encode_array(np.stack(arrays[name]))
        places[name] = [members.add(f"{key}.{name}.npy", content)]
    described: Row = {"frames": len(numbers), "source_frames": numbers, "source_size": list(size)}
    described["box"] = [round(edge, 3) for edge in box.edges]
    for name, listed in places.items():
        described[f"{name}_offsets"] = [place[0] for place in listed]
        described[f"{name}_sizes"] = [place[1] for place in listed]
    return described


def _in_crop(points: NDArray[np.float32] | None, box: SquareBox, size: int) -> NDArray[np.float32]:
    """Landmarks (68, 2) px of the source → [-1, 1] of the crop; NaN where there are none."""
    if points is None:
        return np.full((68, 2), np.nan, np.float32)
    return to_normalised(to_crop(points, box, size), size, size)


def _measured(frames: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Annotations of some frames, (B, …) each."""
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    batch = cast(PairBatch, {"source": images})
    filled = cast("dict[str, torch.Tensor]", _annotator().fill(batch, frozenset(f"source_{name}" for name in names)))
    return {name: filled[f"source_{name}"].numpy() for name in names}
