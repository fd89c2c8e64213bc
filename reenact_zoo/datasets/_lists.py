"""Official and frozen lists that ship with the package (benchmarks/make_splits.py writes them): numbers, no media."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

SPLITS = ("train", "val", "test")
VOXCELEB1_TEST = frozenset(f"id{number}" for number in range(10270, 10310))
"""The 40 identities of VoxCeleb1's test part (as in veri_test; iden_split.txt mixes people and is for classifiers)."""


@cache
def _read(name: str) -> Mapping[str, Any]:
    text = files("reenact_zoo").joinpath(f"bundled/lists/{name}.json").read_text(encoding="utf-8")
    content: Mapping[str, Any] = json.loads(text)
    return content


def ffpp_pairs(split: str) -> list[tuple[str, str]]:
    """Official pairs of FaceForensics++: 360 "train", 70 "val", 70 "test"; each stands for both directions."""
    return [(first, second) for first, second in _read("ffpp")[split]]


@cache
def ffpp_splits() -> Mapping[str, str]:
    """Split of each of the 1,000 sequences, "000" to "999"."""
    return {number: split for split in SPLITS for pair in ffpp_pairs(split) for number in pair}


def ffpp_same_video() -> list[tuple[str, ...]]:
    """Sequences cut from one source video; 7 of these groups lie in two official splits. They may show one person."""
    return [tuple(group) for group in _read("ffpp")["same_video"]]


def place(dataset: str, seed: int, subject: str) -> float:
    """Where a subject falls in [0, 1): a hash, so that it never depends on the other subjects."""
    digest = hashlib.sha256(f"dcg_gan\x1f{dataset}\x1f{seed}\x1f{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def dcg_gan_split(dataset: str, subject: str) -> str:
    """The side of a subject of "ffpp" or "celebdf", "train" or "test", in the frozen 80/20 split."""
    rule = _read("dcg_gan_split")[dataset]
    if "test_below" in rule:
        return "test" if place(dataset, rule["seed"], subject) < rule["test_below"] else "train"
    return "test" if subject in _tested(dataset) else "train"


@cache
def _tested(dataset: str) -> frozenset[str]:
    return frozenset(_read("dcg_gan_split")[dataset]["test"])
