"""Freezing a protocol: its pairs in a file, the versions of its metrics, and a hash that names the whole."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from reenact_zoo.config import structured
from reenact_zoo.data.pairs import Pair, write_pairs
from reenact_zoo.evaluation.protocol import Protocol, load_protocol
from reenact_zoo.evaluation.runner import build_dataset
from reenact_zoo.registry import METRICS
from reenact_zoo.types import InputError

_WIDTH = 120


@dataclass(frozen=True)
class Frozen:
    """What was written.

    Attributes:
        protocol, pairs: the files.
        num_pairs: rows of the second.
        pairs_sha256: of its bytes.
        protocol_sha256: ``Protocol.hash`` of the first, pairs included.
    """

    protocol: Path
    pairs: Path
    num_pairs: int
    pairs_sha256: str
    protocol_sha256: str


def freeze(name: str, root: Path, out: Path) -> Frozen:
    """Draw the pairs of a protocol's rule from the files below ``root`` and write them down, with the protocol.

    The pairs name clips of the user's own copy; equal copies give equal bytes and equal hashes.

    Raises:
        InputError: the protocol lists its pairs already, no pair can be drawn, or ``out`` holds another frozen form.
    """
    protocol = load_protocol(name)
    if protocol.pair_rule is None:
        raise InputError(f"protocol '{protocol.name}' lists its pairs already; there is nothing to freeze")
    pairs = protocol.select_pairs(build_dataset(protocol, root))
    frozen_name = f"{protocol.name}_frozen"
    content = {key: value for key, value in asdict(protocol).items() if key not in ("source", "sha256", "pair_rule")}
    content |= {"name": frozen_name, "pairs": f"{frozen_name}.csv"}
    rule = ", ".join(f"{key} {value}" for key, value in asdict(protocol.pair_rule).items() if value)
    comment = f"Frozen from protocol {protocol.name} ({protocol.hash[:12]}); rule: {rule}."
    return write_frozen(out, out, content, comment, pairs)


def write_frozen(
    protocols: Path,
    pairs_folder: Path,
    content: Mapping[str, Any],
    comment: str,
    pairs: Sequence[Pair] | None,
    replace: bool = False,
) -> Frozen:
    """Write a protocol with versions and hash, and its pairs where it lists them.

    Args:
        protocols: folder of the YAML file.
        pairs_folder: folder of the CSV file: the same, or ``pairs`` beside it.
        content: fields of ``Protocol``; ``metric_versions`` and ``sha256`` are filled in.
        comment: first line of the file, or several.
        pairs: what the file named by ``content["pairs"]`` lists; None for a protocol with a rule.
        replace: whether files with another content may be replaced.

    Raises:
        InputError: files with another content are there, a field is wrong, or a folder cannot be written.
    """
    path = protocols / f"{content['name']}.yaml"
    listed = pairs_folder / str(content.get("pairs"))
    if pairs is not None:
        _write(listed, lambda part: write_pairs(part, pairs), replace)
    versions = {name: METRICS.get(name).card.version for name in sorted(content["metrics"])}
    text = _text({**content, "metric_versions": versions}, comment)
    fields = {**yaml.safe_load(text), "source": str(path)}
    sha256 = structured(Protocol, fields, str(path)).hash
    _write(path, lambda part: part.write_text(f"{text}sha256: {sha256}\n", encoding="utf-8"), replace)
    load_protocol(str(path))  # every other check
    pairs_sha256 = "" if pairs is None else hashlib.sha256(listed.read_bytes()).hexdigest()
    return Frozen(path, listed, len(pairs or ()), pairs_sha256, sha256)


def _text(content: Mapping[str, Any], comment: str) -> str:
    lines = "".join(f"# {line}\n" for line in textwrap.wrap(comment, _WIDTH - 2))
    return lines + yaml.safe_dump(dict(content), sort_keys=False, width=_WIDTH, allow_unicode=True)


def _write(path: Path, write: Callable[[Path], Any], replace: bool) -> None:
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        if not replace and path.exists() and path.read_bytes() != part.read_bytes():
            raise InputError(f"'{path}' is there with another content; name another folder, or remove it")
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write '{path}' ({error.strerror}); check the folder") from error
    finally:
        part.unlink(missing_ok=True)
