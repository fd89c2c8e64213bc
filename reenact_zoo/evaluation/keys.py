"""Names of stored values: hashes of everything that decides them, so that whatever changes is computed anew, alone."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

import reenact_zoo
from reenact_zoo.data.pairs import Pair, pairs_hash
from reenact_zoo.datasets.base import ClipDataset
from reenact_zoo.evaluation.makers import Maker, is_bound, is_prediction
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import plain
from reenact_zoo.faces.annotate import QUANTITIES_OF, split_key
from reenact_zoo.registry import METHODS
from reenact_zoo.types import InputError

_PACKAGE = Path(reenact_zoo.__file__).parent
_SHARED_CODE = ("types.py", "ops", "video", "nn", "faces", "datasets", "data", "methods/base.py", "methods/_weights.py")
"""Code behind every picture; edited code never reads what older code wrote."""
_METRIC_CODE = ("types.py", "ops", "nn", "faces", "metrics/base.py")


def digest(*parts: Any) -> str:
    """32 hexadecimal digits over plain values."""
    text = json.dumps(plain(list(parts)), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def picture_key(
    maker: Maker,
    protocol: Protocol,
    dataset: ClipDataset,
    measurer: Any,
    *,
    seed: int,
    device: str,
    pairs: Sequence[Pair],
    out: Path,
) -> str:
    """Of the reenacted pictures of one method on one protocol; its metrics and the order of its pairs do not matter.

    Args:
        maker: makes the pictures.
        protocol: data, crop, resolution, motion, annotations and number of sources of it count.
        dataset: the files below its root count, by name, size and time of change.
        measurer: instruments of the annotations that the maker requires.
        seed: of random numbers.
        device: in words; other hardware rounds differently.
        pairs: of the run; a bound may depend on all of them.
        out: folder of results, which does not count where it lies below the root.
    """
    content = asdict(protocol)
    counting = ("dataset", "crop", "resolution", "motion", "annotations", "prerendered", "sources")
    seen = {name: content[name] for name in counting}
    # what is told about pictures from elsewhere does not change them; their bytes are the maker's identity
    config = {} if is_prediction(maker.name) else maker.config
    return digest(
        "pictures",
        *(maker.name, config, maker.weights, maker.identity, seed, device, str(torch.__version__)),
        *(_maker_code(maker), code_hash(_SHARED_CODE), source_hash(type(dataset))),
        *(seen, _files_below(dataset, out), _annotation_files(maker, measurer, protocol), _detector(protocol)),
        pairs_hash(pairs) if is_bound(maker.name) else "",
    )


def metric_key(metric: Any, name: str, measurer: Any, pairs: Sequence[Pair] | None = None) -> str:
    """Of a metric's values: its card, its code, its instruments and their weight files.

    ``pairs`` are given for a metric of all pairs together, whose rows hold numbers that count over them.
    """
    instruments = _instruments(measurer) if metric.card.quantities else []
    code = [source_hash(type(metric)), code_hash(_METRIC_CODE), code_hash(("metrics",), "_*.py")]
    return digest("metric", name, asdict(metric.card), metric.weights(), instruments, code, pairs and pairs_hash(pairs))


def quantity_key(what: str, quantity: str, measurer: Any) -> str:
    """Of a number that the runner itself takes from an instrument."""
    return digest(what, quantity, measurer.weights(quantity), _instruments(measurer), code_hash(_METRIC_CODE))


def pair_key(pair: Pair) -> str:
    """Of one pair within the pictures of a method."""
    return pairs_hash([pair])[:24]


def _instruments(measurer: Any) -> list[str]:
    """Names of detector and landmark instrument, which say everything that decides their results."""
    try:
        return [str(getattr(getattr(measurer, part, None), "name", "")) for part in ("detector", "landmarks")]
    except InputError:  # no landmark instrument: no metric needs one
        return []


def _annotation_files(maker: Maker, measurer: Any, protocol: Protocol) -> Any:
    """Instruments and weight files behind what the maker requires; nothing where the truth is handed to it."""
    if protocol.annotations == "oracle" or not maker.requires:
        return []
    files = {}
    for key in sorted(maker.requires):
        _, name = split_key(key)
        at_hand = [q for q in QUANTITIES_OF.get(name, ()) if measurer.missing(q) is None]
        files[key] = measurer.weights(at_hand[0]) if at_hand else {}
    return [files, _instruments(measurer)]


def _detector(protocol: Protocol) -> str:
    """The detector that crops follow."""
    if protocol.crop.policy == "none":
        return ""
    from reenact_zoo.faces.detect import default_detector

    return str(getattr(default_detector(), "name", ""))


def _files_below(dataset: ClipDataset, out: Path) -> str:
    """Hash over name, size and time of change of the files of a dataset that lies with the user."""
    root = str(getattr(getattr(dataset, "config", None), "root", "") or "")
    if not root:
        return ""
    found = hashlib.sha256()
    for path, size, changed in sorted(_stats(Path(root), out.resolve())):
        found.update(f"{path}\0{size}\0{changed}\n".encode())
    return found.hexdigest()


def _stats(root: Path, skipped: Path) -> Iterator[tuple[str, int, int]]:
    if root.is_file():
        yield root.name, root.stat().st_size, root.stat().st_mtime_ns
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if (Path(folder) / name).resolve() != skipped]
        for path in (Path(folder) / name for name in names):
            if path.is_file():
                about = path.stat()
                yield str(path.relative_to(root)), about.st_size, about.st_mtime_ns


def _maker_code(maker: Maker) -> str:
    if is_bound(maker.name):
        return code_hash(("evaluation/bounds.py",))
    if is_prediction(maker.name):
        return code_hash(("evaluation/predictions.py",))
    return source_hash(METHODS.get(maker.name))


def source_hash(cls: type) -> str:
    """Over the file that holds a class, or over its folder where it is a package of its own."""
    return _source_hash(Path(inspect.getfile(cls)))


@cache
def _source_hash(file: Path) -> str:
    return _hash_files(sorted(file.parent.glob("*.py")) if file.name in ("module.py", "__init__.py") else [file])


@cache
def code_hash(places: tuple[str, ...], pattern: str = "**/*.py") -> str:
    """Over Python files of this package: single ones, or folders with all that fits the pattern."""
    files: list[Path] = []
    for place in places:
        path = _PACKAGE / place
        files += [path] if path.is_file() else sorted(path.glob(pattern))
    return _hash_files(files)


def _hash_files(files: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
