"""Packs: the pictures and the truth of a frozen list of pairs in one file, so that evaluation needs no renderer.

A pack is a zip archive (stored, not deflated: its members are compressed already):
pack.json            what made it: dataset configuration, version, native size, sizes it answers for
LICENSE              notice of the head model
frames/<ref>.jpg     RGB picture at the native size; <ref> is clip@index
frames/<ref>.png     two planes side by side: labels of the 19 classes, then the matte (0 … 255)
targets/<key>.jpg    true target of a pair; <key> is source+driving or source+driving-reference
targets/<key>.png    its matte
targets/absolute.xz  labels of the true targets of absolute motion, in the order of their names in truth.npz, at one
                     size only (``pack.json``: flow_size)
flow/<key>.xz        true optical flow of a pair of absolute motion, at the same size only
truth.npz            names, landmarks and coefficients of frames and of targets

Smaller sizes are exact means over blocks of native pixels, which is what rendering with as many supersamples gives.
"""

from __future__ import annotations

import importlib.resources
import io
import json
import lzma
import zipfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reenact_zoo.datasets._clip_cache import labels_from_parsing, parsing_from_labels
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.types import InputError

CLASSES = 19
LABELS = "targets/absolute.xz"
SAMPLES = 4
"""In a pixel, by which the classes of a target are counted: renders have 2 x 2."""

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
    raw = low.tobytes() + high.tobytes() + np.packbits(seen).tobytes()
    lzma1 = {"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 16, "lc": 0, "pb": 0}
    return lzma.compress(raw, format=lzma.FORMAT_ALONE, filters=[lzma1])  # 5 % smaller than .xz, which is read too


def decode_flow(content: bytes, size: int) -> dict[str, NDArray[np.float32]]:
    """Inverse of ``encode_flow`` to half a step: target_flow and target_flow_valid."""
    raw = np.frombuffer(lzma.decompress(content), np.uint8)
    count = 2 * size * size
    change = np.ascontiguousarray(raw[: 2 * count].reshape(2, count).T).view("<i2").reshape(size, size, 2)
    steps = change.cumsum(axis=0, dtype=np.int16).cumsum(axis=1, dtype=np.int16)
    seen = np.unpackbits(raw[2 * count :], count=size * size).reshape(1, size, size)
    flow = identity_flow(size) + steps * np.float32(2 / (FLOW_STEPS * size))
    return {"target_flow": flow.astype(np.float32), "target_flow_valid": seen.astype(np.float32)}


def encode_labels(parsing: Sequence[NDArray[np.float32]]) -> bytes:
    """Parsings (19, S, S) in steps of 1 / ``SAMPLES`` → some hundred bytes each, half of what each alone would be."""
    labels = [labels_from_parsing(torch.from_numpy(shares), SAMPLES).transpose(1, 2, 0) for shares in parsing]
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 24, "lc": 4, "pb": 0}
    return lzma.compress(np.stack(labels).tobytes(), filters=[lzma2])


def decode_labels(content: bytes, size: int) -> NDArray[np.uint8]:
    """(n, SAMPLES, size, size) labels of the samples in each pixel, sorted."""
    labels = np.frombuffer(lzma.decompress(content), np.uint8).reshape(-1, size, size, SAMPLES)
    return labels.transpose(0, 3, 1, 2)


def target_key(source: FrameRef, driving: FrameRef, reference: FrameRef | None) -> str:
    """Name of a pair inside a pack."""
    return f"{source}+{driving}" if reference is None else f"{source}+{driving}-{reference}"


def absolute_only(keys: Iterable[str]) -> list[str]:
    """Those names of pairs whose motion is not relative to a reference."""
    return [key for key in keys if "-" not in key]


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
        return {**self._vectors("frames", str(ref)), "parsing": _shares(labels, size), "matte": _matte(matte, size)}

    def target(
        self, source: FrameRef, driving: FrameRef, reference: FrameRef | None, size: int
    ) -> dict[str, NDArray[Any]] | None:
        """The target_* of ``cross_target`` that the pack has; within a clip the driving frame is the target."""
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
            **self._target_parsing(key, size),
            **self._flow(key, size),
        }

    def _self_target(self, source: FrameRef, driving: FrameRef, size: int) -> dict[str, NDArray[Any]] | None:
        if not self._has("frames", str(driving), size) or not self._has("frames", str(source), size):
            return None
        known = self.annotations(driving, size) or {}
        return {
            "target": self._picture("frames", str(driving), size),
            **{f"target_{name}": array for name, array in known.items()},
            "target_source_matte": self._frame_matte(source, size),
            **self._flow(target_key(source, driving, None), size),
        }

    def _target_parsing(self, key: str, size: int) -> dict[str, NDArray[Any]]:
        if size != self.about["flow_size"] or key not in self._labels:
            return {}
        return {"target_parsing": parsing_from_labels(self._labels[key])}

    @cached_property
    def _labels(self) -> dict[str, NDArray[np.uint8]]:
        """Of targets, by key, where the pack has them."""
        if LABELS not in self._zip.NameToInfo:
            return {}
        labels = decode_labels(self._zip.read(LABELS), self.about["flow_size"])
        return dict(zip(absolute_only(self._rows["targets"]), labels, strict=True))

    def _flow(self, key: str, size: int) -> dict[str, NDArray[Any]]:
        member = f"flow/{key}.xz"
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


def _shares(labels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Labels of native pixels → (19, size, size) share of every class."""
    return np.stack([_mean((labels == k).astype(np.float32), size) for k in range(CLASSES)])


def _matte(native: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    return _mean(native.astype(np.float32), size)[None] / np.float32(255)


def _mean(native: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Mean over blocks, (S, S, …) → (size, size, …); size divides S."""
    step = native.shape[0] // size
    blocks = native.reshape(size, step, size, step, *native.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
