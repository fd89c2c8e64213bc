"""Protocols and suites: what is measured on which pairs, as versioned YAML files with a hash for records."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from reenact_zoo.config import Crop, structured
from reenact_zoo.data.pairs import Pair, PairRule, draw_pairs, read_pairs
from reenact_zoo.datasets.base import ClipDataset
from reenact_zoo.registry import METRICS, nearest
from reenact_zoo.types import InputError

_CHOICES = {
    "setting": ("self", "cross"),
    "motion": ("absolute", "relative"),
    "annotations": ("estimated", "oracle"),
}


@dataclass
class DatasetSpec:
    """Registered dataset and the fields of its Config that differ from their defaults."""

    name: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class Protocol:
    """Everything that decides which numbers come out, except the method.

    Attributes:
        name: equal to the file's name without ".yaml".
        version: raised whenever a number could change.
        title: one line for people.
        dataset: where frames come from.
        setting: "self" or "cross".
        pairs: name of a CSV file (beside the protocol, or in ``pairs/`` next to its folder); null where a rule draws.
        pair_rule: how pairs are drawn from the clips; null where a file lists them.
        prerendered: pack of pictures made beforehand that the dataset may answer from; null renders or reads.
        crop: what is cut out of each frame.
        resolution: side of the square pictures in pixels, for methods and metrics alike.
        motion: "absolute", or "relative" to the driving reference frame.
        annotations: "estimated" from pixels; "oracle" hands methods the truth: such rows are marked, never ranked.
        sources: images of the source person; those beside the pair's own are other frames of its clip.
        metrics: registered names, in column order.
        metric_versions: the version of each metric that the protocol was frozen with; another one is refused.
        sha256: the ``hash`` it was frozen with; another content is refused. "" where nobody froze it.
        source: the YAML file it was read from.
    """

    name: str
    version: int
    title: str
    dataset: DatasetSpec
    setting: str
    metrics: list[str]
    resolution: int
    pairs: str | None = None
    pair_rule: PairRule | None = None
    prerendered: str | None = None
    crop: Crop = field(default_factory=Crop)
    motion: str = "absolute"
    annotations: str = "estimated"
    sources: int = 1
    metric_versions: dict[str, int] = field(default_factory=dict)
    sha256: str = ""
    source: str = ""

    @property
    def hash(self) -> str:
        """SHA-256 of the content and of the pairs file; neither the folder nor the layout of the YAML matters."""
        content = {name: value for name, value in asdict(self).items() if name not in ("source", "sha256")}
        # fields that came later count where they are used, so that protocols from before keep their hash
        if not self.metric_versions:
            del content["metric_versions"]
        if self.sources == 1:
            del content["sources"]
        if self.pair_rule is not None:
            content["pair_rule"] = _stated(self.pair_rule)
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        if self.pairs is not None:
            digest.update(self.pairs_file.read_bytes())
        return digest.hexdigest()

    @property
    def pairs_file(self) -> Path:
        """Where the listed pairs lie.

        Raises:
            InputError: the file is nowhere.
        """
        folder = Path(self.source).parent
        folders = [folder, folder.parent / "pairs", _packaged("pairs")]
        for place in folders:
            if (path := place / str(self.pairs)).is_file():
                return path
        raise InputError(f"protocol '{self.name}': no pair file '{self.pairs}' in {folders[0]} or {folders[1]}")

    def select_pairs(self, dataset: ClipDataset) -> list[Pair]:
        """The pairs of this protocol, in order."""
        if self.pairs is None:
            return draw_pairs(dataset, self.setting, self.pair_rule or PairRule())
        pairs = read_pairs(self.pairs_file)
        for pair in pairs:
            where = f"{self.pairs_file}: pair '{pair.pair_id}'"
            if pair.same_identity != (self.setting == "self"):
                raise InputError(f"{where} does not belong to setting '{self.setting}'")
            if self.motion == "relative" and pair.driving_reference is None:
                raise InputError(f"{where} needs a driving_reference: motion is relative")
        return pairs


@dataclass
class Suite:
    """Protocols that are run together, with the methods that are compared unless others are asked for.

    ``where_possible``: methods that are compared, too, where their weights are at hand; else it is said why not.
    ``bounds``: whether the rows made from the truth are run too unless the user says otherwise; they cost as much.
    """

    title: str
    protocols: list[str]
    methods: list[str] = field(default_factory=list)
    where_possible: list[str] = field(default_factory=list)
    bounds: bool = True
    name: str = ""


def _stated(rule: PairRule) -> dict[str, Any]:
    """The rule's first two fields, and those of the others that are not at their default."""
    names = [f.name for f in fields(rule) if f.name in ("frames", "split") or getattr(rule, f.name) != f.default]
    return {name: getattr(rule, name) for name in names}


def _packaged(kind: str) -> Path:
    return Path(str(importlib.resources.files("reenact_zoo.benchmarks") / kind))


def _names(kind: str) -> list[str]:
    return sorted(path.stem for path in _packaged(kind).glob("*.yaml"))


def protocol_names() -> list[str]:
    """Packaged protocols, sorted."""
    return _names("protocols")


def suite_names() -> list[str]:
    """Packaged suites, sorted."""
    return _names("suites")


def load_protocol(name: str) -> Protocol:
    """A packaged protocol by name, or any by the path of its YAML file.

    Raises:
        InputError: unknown name or field (the nearest one is suggested), or a value that makes no sense.
    """
    path = _find("protocols", name, "protocol")
    protocol: Protocol = structured(Protocol, {**_read(path), "source": str(path)}, str(path))
    _check(protocol, path)
    return protocol


def load_suite(name: str) -> Suite:
    """A packaged suite by name, or any by the path of its YAML file."""
    path = _find("suites", name, "suite")
    suite: Suite = structured(Suite, {**_read(path), "name": path.stem}, str(path))
    return suite


def _find(kind: str, name: str, word: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InputError(f"no {word} file '{name}'")
        return Path(name)
    if name not in _names(kind):
        raise InputError(f"unknown {word} '{name}'; {nearest(name, _names(kind))}")
    return _packaged(kind) / f"{name}.yaml"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold 'key: value' lines")
    return content


def _check(protocol: Protocol, path: Path) -> None:
    if protocol.name != path.stem:
        raise InputError(f"{path}: name is '{protocol.name}', but a protocol is called like its file: '{path.stem}'")
    for key, known in _CHOICES.items():
        value = getattr(protocol, key)
        if value not in known:
            raise InputError(f"{path}: {key} is {' or '.join(known)}, not '{value}'")
    if (protocol.pairs is None) == (protocol.pair_rule is None):
        raise InputError(f"{path}: give either pairs (a CSV file) or pair_rule")
    if protocol.resolution < 16:
        raise InputError(f"{path}: resolution is {protocol.resolution}; at least 16 pixels are needed")
    if protocol.crop.policy != "none" and protocol.annotations == "oracle":
        raise InputError(f"{path}: the truth is known for whole frames only; oracle annotations need crop policy none")
    if protocol.sources < 1:
        raise InputError(f"{path}: sources is {protocol.sources}; at least the pair's own source is needed")
    if protocol.sources > 1 and (protocol.setting, protocol.annotations) != ("cross", "estimated"):
        raise InputError(
            f"{path}: several sources need setting cross, since frames beside a self pair's would show the truth, and "
            "estimated annotations"
        )
    for metric in protocol.metrics:
        METRICS.get(metric)  # an unknown name fails here, with the nearest known one
    for metric, version in protocol.metric_versions.items():
        if (ours := METRICS.get(metric).card.version) != version:
            raise InputError(f"{path} was frozen with version {version} of metric '{metric}', here it is {ours}")
    if protocol.sha256 and protocol.sha256 != protocol.hash:
        raise InputError(
            f"{path} or its pairs were changed after they were frozen ({protocol.sha256[:8]}, now "
            f"{protocol.hash[:8]}); take the original files, or save yours under another name without sha256"
        )
