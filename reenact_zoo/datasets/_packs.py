"""Packs: the pictures and the truth of a frozen list of pairs in one file, so that evaluation needs no renderer.

A pack is a zip archive (stored, not deflated: its members are compressed already):
pack.json            what made it: dataset configuration, version, native size, sizes it answers for
LICENSE              notice of the head model
frames/<ref>.jpg     RGB picture at the native size; <ref> is clip@index
frames/<ref>.png     two planes side by side: labels of the 19 classes, then the matte (0 … 255)
targets/<key>.jpg    true target of a pair; <key> is source+driving or source+driving-reference
targets/<key>.png    its matte
flow/<key>.xz        true optical flow of a pair within one clip, at one size only (``pack.json``: flow_size)
truth.npz            names, landmarks and coefficients of frames and of targets

Smaller sizes are exact means over blocks of native pixels, which is what rendering with as many supersamples gives.
"""

from __future__ import annotations

import importlib.resources
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.types import InputError

CLASSES = 19


FLOW_STEPS = 16
"""Flow is kept in sixteenths of a pixel."""


def identity_flow(size: int) -> NDArray[np.float32]:
    """(size, size, 2) normalised pixel centres: nothing moves."""
    centres = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    return np.stack(np.meshgrid(centres, centres), axis=-1).astype(np.float32)


def encode_flow(flow: NDArray[np.float32], valid: NDArray[np.float32]) -> bytes:
    """(S, S, 2) normalised and (1, S, S) in {0, 1} → a few kilobytes; flow where it is invalid is lost."""
    size, seen = flow.shape[0], valid[0] > 0
    moved = np.where(seen[..., None], flow - identity_flow(size), 0) * size / 2
    steps = np.round(moved * FLOW_STEPS).astype(np.int16)
    change = np.diff(np.diff(steps, axis=1, prepend=np.int16(0)), axis=0, prepend=np.int16(0)).astype("<i2")
    low, high = change.view(np.uint8).reshape(-1, 2).T  # the high bytes are nearly all alike
    return lzma.compress(low.tobytes() + high.tobytes() + np.packbits(seen).tobytes())


def decode_flow(content: bytes, size: int) -> dict[str, NDArray[np.float32]]:
    """Inverse of ``encode_flow`` to half a step: target_flow and target_flow_valid."""
    raw = np.frombuffer(lzma.decompress(content), np.uint8)
    count = 2 * size * size
    change = np.ascontiguousarray(raw[: 2 * count].reshape(2, count).T).view("<i2").reshape(size, size, 2)
    steps = change.cumsum(axis=0, dtype=np.int16).cumsum(axis=1, dtype=np.int16)
    seen = np.unpackbits(raw[2 * count :], count=size * size).reshape(1, size, size)
    flow = identity_flow(size) + steps * np.float32(2 / (FLOW_STEPS * size))
    return {"target_flow": flow.astype(np.float32), "target_flow_valid": seen.astype(np.float32)}


def target_key(source: FrameRef, driving: FrameRef, reference: FrameRef | None) -> str:
    """Name of a pair inside a pack."""
    return f"{source}+{driving}" if reference is None else f"{source}+{driving}-{reference}"


class Pack:
    """Reads one pack; every answer is None where the pack does not have it.

    Args:
        path: the zip file.

    Raises:
        InputError: the file is missing or is no pack.
    """

    def __init__(self, path: Path) -> None:
        try:
            # from memory: worker processes that are forked would share the position of an open file
            self._zip = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
            self.about: dict[str, Any] = json.loads(self._zip.read("pack.json"))
            with np.load(io.BytesIO(self._zip.read("truth.npz")), allow_pickle=False) as truth:
                self._truth = {name: truth[name] for name in truth.files}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is not a pack of pre-rendered pairs: {error}") from error
        self._rows = {
            kind: {str(name): row for row, name in enumerate(self._truth[f"{kind}_names"])}
            for kind in ("frames", "targets")
        }

    @classmethod
    def bundled(cls, name: str) -> Pack:
        """A pack that ships with the package, or one given by its path (ending in .zip)."""
        path = Path(name) if name.endswith(".zip") else Path(str(importlib.resources.files("reenact_zoo") / "bundled"))
        return cls(path if name.endswith(".zip") else path / "pairs" / f"{name}.zip")

    def frame(self, ref: FrameRef, size: int) -> NDArray[np.uint8] | None:
        """(size, size, 3) RGB."""
        return self._picture("frames", str(ref), size) if self._has("frames", str(ref), size) else None

    def annotations(self, ref: FrameRef, size: int) -> dict[str, NDArray[Any]] | None:
        """Landmarks, coefficients, parsing (19, size, size) and matte (1, size, size) of a frame."""
        if not self._has("frames", str(ref), size):
            return None
        labels, matte = np.split(self._decoded(f"frames/{ref}.png"), 2, axis=1)
        parsing = np.stack([_mean((labels == k).astype(np.float32), size) for k in range(CLASSES)])
        return {**self._vectors("frames", str(ref)), "parsing": parsing, "matte": _matte(matte, size)}

    def target(
        self, source: FrameRef, driving: FrameRef, reference: FrameRef | None, size: int
    ) -> dict[str, NDArray[Any]] | None:
        """The target_* of ``cross_target``; within a clip the driving frame is the target, and only there is flow."""
        if source.clip == driving.clip and reference is None:
            return self._self_target(source, driving, size)
        key = target_key(source, driving, reference)
        if not self._has("targets", key, size) or not self._has("frames", str(source), size):
            return None
        return {
            "target": self._picture("targets", key, size),
            **{f"target_{name}": vector for name, vector in self._vectors("targets", key).items()},
            "target_matte": _matte(self._decoded(f"targets/{key}.png"), size),
            "target_source_matte": self._frame_matte(source, size),
        }

    def _self_target(self, source: FrameRef, driving: FrameRef, size: int) -> dict[str, NDArray[Any]] | None:
        if not self._has("frames", str(driving), size) or not self._has("frames", str(source), size):
            return None
        return {
            "target": self._picture("frames", str(driving), size),
            **{f"target_{name}": vector for name, vector in self._vectors("frames", str(driving)).items()},
            "target_matte": self._frame_matte(driving, size),
            "target_source_matte": self._frame_matte(source, size),
            **self._flow(f"flow/{target_key(source, driving, None)}.xz", size),
        }

    def _flow(self, member: str, size: int) -> dict[str, NDArray[Any]]:
        if size != self.about["flow_size"] or member not in self._zip.NameToInfo:
            return {}
        return dict(decode_flow(self._zip.read(member), size))

    def _frame_matte(self, ref: FrameRef, size: int) -> NDArray[np.float32]:
        return _matte(np.split(self._decoded(f"frames/{ref}.png"), 2, axis=1)[1], size)

    def _has(self, kind: str, name: str, size: int) -> bool:
        return size in self.about["sizes"] and name in self._rows[kind]

    def _vectors(self, kind: str, name: str) -> dict[str, NDArray[Any]]:
        row = self._rows[kind][name]
        return {what: self._truth[f"{kind}_{what}"][row] for what in ("landmarks", "coefficients")}

    def _picture(self, kind: str, name: str, size: int) -> NDArray[np.uint8]:
        native = self._decoded(f"{kind}/{name}.jpg")
        return np.asarray(np.round(_mean(native.astype(np.float32), size)), np.uint8)

    def _decoded(self, member: str) -> NDArray[np.uint8]:
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self._zip.read(member))))


def _matte(native: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    return _mean(native.astype(np.float32), size)[None] / np.float32(255)


def _mean(native: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Mean over blocks, (S, S, …) → (size, size, …); size divides S."""
    step = native.shape[0] // size
    blocks = native.reshape(size, step, size, step, *native.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
