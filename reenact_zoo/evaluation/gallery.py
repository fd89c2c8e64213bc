"""Small pictures of some pairs, kept on disk for the report; the same pairs for every method."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reenact_zoo.data.pairs import Pair, evenly_spaced, pairs_hash
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import GalleryPair
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

NUM_PAIRS = 24
SHOWN_AUX = frozenset({"flow", "mask", "warped", "generated", "occlusion", "heat", "source_dots", "aimed_dots"})
"""What is kept of ``ReenactmentOutput.aux``: flow (B, H, W, 2), masks (B, 1, H, W), pictures (B, 3, H, W)."""
_LARGEST_PX = 256
_JPEG: dict[str, Any] = {"quality": 92, "subsampling": 0}
_LARGEST_AUX_PX = 128
_FULL_COLOUR = 0.5  # offset of a flow, in normalised coordinates, that is drawn in full colour: a quarter of the width
_LOSSLESS_PX = 128  # above it PNG outweighs what it shows


class Gallery:
    """Writes pictures while a run goes on, and finds those that an earlier run wrote.

    Folders are named after what they hold, so an interrupted run never mixes its pictures with those of another.

    Args:
        out: folder of results.
        protocol: its hash is part of the folders' names.
        row: name of the method's row, for people.
        key: of what decides the reenacted pictures.
        pairs: of the whole run; ``NUM_PAIRS`` of them, evenly spaced, are kept.
    """

    def __init__(self, out: Path, protocol: Protocol, row: str, key: str, pairs: Sequence[Pair]) -> None:
        self._out, self._pairs = out, pairs
        inputs = hashlib.sha256(f"{protocol.hash} {pairs_hash(pairs)}".encode()).hexdigest()[:10]
        self._inputs = Path("gallery") / f"{protocol.name}-{inputs}"
        self._outputs = self._inputs / "-".join([re.sub(r"[^\w-]+", "-", row), key[:8]])
        self._chosen = evenly_spaced(0, len(pairs), NUM_PAIRS)

    def lacks(self, index: int, *, failed: bool, truth: bool) -> bool:
        """Whether a picture of the pair should be there and is not."""
        if index not in self._chosen:
            return False
        known = self._pair(index)
        wanted = [
            known.source,
            known.driving,
            *([known.truth] if truth else []),
            *([] if failed else [known.reenacted]),
        ]
        return not all(wanted)

    def keep(self, indices: list[int], batch: PairBatch, output: ReenactmentOutput, failed: Container[int]) -> None:
        """Write the chosen ones among the pairs with these indices."""
        for row, index in enumerate(indices):
            if index not in self._chosen:
                continue
            truth = batch["target"][row] if "target" in batch else batch["driving"][row]
            known = not truth.isnan().any() and ("target" in batch or bool(batch["same_identity"][row]))
            self._write(self._inputs, f"{index:05}.source", batch["source"][row])
            self._write(self._inputs, f"{index:05}.driving", batch["driving"][row])
            if known:
                self._write(self._inputs, f"{index:05}.truth", truth)
            if index not in failed:
                for name, picture in _aux_pictures(output, row).items():
                    self._write(self._outputs, f"{index:05}.{name}", picture, _LARGEST_AUX_PX)
                # last, so that a run that was killed before has to make them again
                self._write(self._outputs, f"{index:05}", output.reenacted[row])

    def kept(self, failed: Container[int]) -> list[GalleryPair]:
        """All chosen pairs whose pictures were written; those of ``failed`` have no reenacted one."""
        found = [(index, self._pair(index)) for index in self._chosen]
        return [replace(pair, reenacted="", aux={}) if i in failed else pair for i, pair in found if pair.source]

    def _pair(self, index: int) -> GalleryPair:
        inputs = {role: self._find(self._inputs, f"{index:05}.{role}") for role in ("source", "driving", "truth")}
        made = self._find(self._outputs, f"{index:05}")
        aux = {name: path for name in sorted(SHOWN_AUX) if (path := self._find(self._outputs, f"{index:05}.{name}"))}
        return GalleryPair(pair_id=self._pairs[index].pair_id, **inputs, reenacted=made, aux=aux)

    def _find(self, folder: Path, stem: str) -> str:
        paths = (folder / f"{stem}.{suffix}" for suffix in ("png", "jpg"))
        return next((path.as_posix() for path in paths if (self._out / path).is_file()), "")

    def _write(self, folder: Path, stem: str, picture: Tensor, largest: int = _LARGEST_PX) -> None:
        image = Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        lossless = max(image.size) <= _LOSSLESS_PX
        image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
        path = self._out / folder / f"{stem}.{'png' if lossless else 'jpg'}"
        # a name of its own for each writer: several processes may draw the source of one pair
        part = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(part, "png" if lossless else "jpeg", **({} if lossless else _JPEG))
            part.replace(path)
        except OSError as error:
            raise InputError(f"cannot write pictures to {path.parent}: {error.strerror or error}") from error


def _aux_pictures(output: ReenactmentOutput, row: int) -> dict[str, Tensor]:
    """Pictures (3, H, W) in [0, 1] of what is shown beside one reenacted picture; other shapes are left out."""
    found = {}
    for name in sorted(SHOWN_AUX & output.aux.keys()):
        tensor = output.aux[name]
        if tensor.ndim != 4 or len(tensor) != len(output.reenacted):
            continue
        if name == "flow" and tensor.shape[-1] == 2:
            found[name] = flow_colours(tensor[row])
        elif name != "flow" and tensor.shape[1] in (1, 3):
            found[name] = tensor[row].nan_to_num(0).clamp(0, 1).expand(3, -1, -1)
    return found


def flow_colours(flow: Tensor) -> Tensor:
    """Colours (3, H, W) of a backward flow (H, W, 2) in normalised coordinates.

    Hue is the direction from a pixel to where its colour comes from (red: from the right, then clockwise as seen),
    saturation the distance, full at a quarter of the width; white where nothing moves or nothing is known.
    """
    offset = flow.float() - identity_grid(flow.shape[0], flow.shape[1])
    offset = offset.nan_to_num(0)
    share = (offset.norm(dim=-1) / _FULL_COLOUR).clamp(0, 1)
    sixths = torch.atan2(offset[..., 1], offset[..., 0]) * (3 / torch.pi)
    turned = (torch.tensor([5.0, 3.0, 1.0])[:, None, None] + sixths) % 6  # of R, G, B around the circle of hues
    colours: Tensor = 1 - share * torch.minimum(turned, 4 - turned).clamp(0, 1)
    return colours
