"""Pictures that somebody else made, as a row of the table: found by names or by a list, checked, scored like our own.

A pair without a picture is a failed pair with its reason. A square picture of another size is resized as the
protocol resizes its own frames, and the record's config says how many were; any other shape is refused, because
nobody could tell which part of it to score. Manipulated sequences of FaceForensics++ are whole frames of a video that
the protocol crops: they get the very same crop.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.data.crops import CroppedClips
from reenact_zoo.data.pairs import Pair
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.evaluation._found_pictures import (
    LAYOUTS,
    LIST_NAME,
    Finds,
    Place,
    clip_id,
    file_name,
    find_pictures,
)
from reenact_zoo.evaluation.makers import PREDICTION, Maker
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.share import Share
from reenact_zoo.faces.align import SquareBox, crop
from reenact_zoo.registry import METHODS
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput
from reenact_zoo.video.images import image_size, is_image
from reenact_zoo.video.read import RandomAccessVideo
from reenact_zoo.weights.folders import read_sha256

__all__ = [
    "LAYOUTS",
    "LIST_NAME",
    "PredictionMaker",
    "Rendered",
    "clip_id",
    "file_name",
    "load_predictions",
    "row_name",
]

_OPEN_VIDEOS = 4
_SHOWN = 20  # names of missing pairs in a record


@dataclass(frozen=True)
class Rendered:
    """Pictures that are there already.

    Attributes:
        place: folder of images, videos and folders of frames; or a list (CSV: pair_id, file, maybe frame).
        layout: one of ``LAYOUTS``; "auto" takes the list where there is one, the names of FaceForensics++ below the
            folder of one of its methods, and the names of pairs else.
    """

    place: Path
    layout: str = "auto"


@dataclass(kw_only=True)
class PredictionMaker(Maker):
    """Reads pictures instead of making them.

    Attributes:
        finds: where they lie.
        crops: the protocol's crop, for pictures that are whole frames of a clip.
    """

    finds: Finds
    crops: CroppedClips
    timed: bool = False
    _reasons: dict[str, str] = field(default_factory=dict)
    _open: OrderedDict[Path, RandomAccessVideo] = field(default_factory=OrderedDict)

    def make(self, batch: PairBatch) -> ReenactmentOutput:
        """The pictures of a batch; a row of NaN where a pair has none."""
        made = torch.full_like(batch["source"], torch.nan)
        for row, name in enumerate(batch["pair_id"]):
            if name not in self.finds.places:
                continue
            try:
                made[row] = self._picture(self.finds.places[name]).to(made)
            except InputError as error:
                self._reasons[name] = f"its picture cannot be read: {error}"
        return ReenactmentOutput(made)

    def why(self, pair_id: str) -> str:
        """Why a pair has no picture; "" where it has one."""
        return self.finds.reasons.get(pair_id) or self._reasons.get(pair_id, "")

    def _picture(self, place: Place) -> Tensor:
        """(3, S, S) RGB in [0, 1], by the same steps as the protocol's own frames."""
        pixels = self._pixels(place)
        size, box = self.crops.spec.size, SquareBox.of_image(*pixels.shape[:2])
        if place.framed_as:
            box = self._box(place.framed_as, pixels)
        if pixels.shape[:2] != (size, size) or box != SquareBox.of_image(size, size):
            pixels = crop(pixels, box, size)
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255

    def _pixels(self, place: Place) -> NDArray[np.uint8]:
        if place.path not in self._open:
            self._open[place.path] = RandomAccessVideo(place.path)
            while len(self._open) > _OPEN_VIDEOS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(place.path)
        return np.array(self._open[place.path].frame(place.frame))

    def _box(self, clip: str, pixels: NDArray[np.uint8]) -> SquareBox:
        """The square that the protocol cuts out of a clip whose frames have the size of ``pixels``."""
        height, width = self.crops.dataset.frame(FrameRef(clip, 0)).shape[:2]
        if pixels.shape[:2] != (height, width):
            have = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise InputError(f"it is {have} pixels, '{clip}' whose crop it would take is {width}x{height}")
        return self.crops.box(clip) if self.crops.spec.policy == "face" else SquareBox.of_image(height, width)


def row_name(rendered: Rendered, label: str) -> str:
    """Name of the row: ``label``, else that of the folder or list; never that of a registered method."""
    name = label or rendered.place.resolve().stem
    return f"{name} (pictures)" if name in METHODS.names() else name


def load_predictions(
    rendered: Rendered, label: str, protocol: Protocol, pairs: Sequence[Pair], crops: CroppedClips
) -> PredictionMaker:
    """A maker that hands out pictures which are there already; missing ones are told on stderr.

    Args:
        rendered: where they are.
        label: name of the row.
        protocol: whose pairs are scored.
        pairs: of the run.
        crops: the protocol's crop.

    Raises:
        InputError: not one picture is found, names are ambiguous, the list cannot be read, or a picture is not square.
    """
    finds = find_pictures(rendered.place, rendered.layout, pairs, protocol)
    resized = _resized(finds, protocol)
    missing = [pair.pair_id for pair in pairs if pair.pair_id not in finds.places]
    if Share.of_this_process().first:
        _tell(finds, resized, missing, len(pairs))
    config = {
        "pictures": rendered.place.resolve().name,
        "layout": finds.layout,
        "sha256": _content(finds, pairs),
        "found": len(finds.places),
        "missing": len(missing),
        "missing_pairs": missing[:_SHOWN],
        "unused": finds.unused,
        "resized": resized,
        "cropped_as_the_protocol": any(place.framed_as for place in finds.places.values()),
    }
    identity = [str(config["sha256"])]
    return PredictionMaker(name=PREDICTION + label, config=config, identity=identity, finds=finds, crops=crops)


def _tell(finds: Finds, resized: Mapping[str, int], missing: Sequence[str], count: int) -> None:
    """What a user should know before the scores: on stderr, so that results can be piped."""
    notes = [f"{number} pictures are resized from {which}" for which, number in resized.items()]
    if finds.unused:
        notes.append(f"{finds.unused} {'lines' if finds.layout == 'csv' else 'files'} belong to no pair of this run")
    if missing:
        some = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        notes.append(f"{len(missing)} of {count} pairs have no picture and count as failed: {some}")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _resized(finds: Finds, protocol: Protocol) -> dict[str, int]:
    """How many pictures have which other size; those that cannot be opened become reasons.

    Raises:
        InputError: a picture that is cropped already is not square.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    counts: Counter[str] = Counter()
    for name, place in list(finds.places.items()):
        try:
            if place.path not in sizes:
                sizes[place.path] = _size(place.path)
        except InputError as error:
            del finds.places[name]
            finds.reasons[name] = f"its picture cannot be read: {error}"
            continue
        if place.framed_as:
            continue
        width, height = sizes[place.path]
        if width != height:
            raise InputError(
                f"'{place.path}' is {width}x{height}: protocol '{protocol.name}' scores square pictures of "
                f"{protocol.resolution}x{protocol.resolution}; crop yours to the region that the protocol shows"
            )
        if width != protocol.resolution:
            counts[f"{width} to {protocol.resolution} pixels"] += 1
    return dict(sorted(counts.items()))


def _size(path: Path) -> tuple[int, int]:
    """(width, height) of an image or video."""
    if is_image(path):
        return image_size(path)
    with RandomAccessVideo(path) as video:
        return video.info.width, video.info.height


def _content(finds: Finds, pairs: Iterable[Pair]) -> str:
    """SHA-256 over the bytes of every pair's picture: changed ones are scored anew, renamed ones are not."""
    hashes: dict[Path, str] = {}
    digest = hashlib.sha256()
    for pair in pairs:
        place = finds.places.get(pair.pair_id)
        if place is None:
            digest.update(f"{pair.pair_id}\0{finds.reasons[pair.pair_id]}\n".encode())
            continue
        if place.path not in hashes:
            hashes[place.path] = _hash(place.path)
        digest.update(f"{pair.pair_id}\0{hashes[place.path]}\0{place.frame}\0{place.framed_as}\n".encode())
    return digest.hexdigest()


def _hash(path: Path) -> str:
    try:
        return read_sha256(path)
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror or error}") from error
