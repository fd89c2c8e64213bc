"""Configurations: dataclass schema < YAML < dotted overrides, strict, with errors that name the nearest key.

A training configuration names a method and a dataset; the fields of their own ``Config`` dataclasses stand beside the
name, so that ``method.width=16`` on the command line reaches them:

    method: {name: reenact_zoo.testing:OnePhaseToy, width: 24}
    dataset: {name: synthetic, identities: 64}
    image_size: 64
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from reenact_zoo.registry import DATASETS, METHODS, Registry, nearest
from reenact_zoo.types import InputError

T = TypeVar("T")

PRECISIONS = ("auto", "32-true", "bf16-mixed")


@dataclass
class Crop:
    """Square cut out of every frame; fields as in ``data.crops.CropSpec``."""

    policy: str = "none"
    scale: float = 1.6
    shift_y: float = 0.0


@dataclass
class Settings:
    """What training itself has to set.

    Attributes:
        image_size: side of the square images in pixels; fills a method's own ``image_size``.
        batch_size: pairs per update, over all processes together.
        max_updates: budget; an update is one batch through all phases.
        seed: decides weights, pairs and every random number of training.
        same_identity: share of pairs that are two frames of one clip; the rest joins two persons.
        extra_sources: further source images per pair, for methods that require them.
        precision: "32-true", "bf16-mixed", or "auto": bfloat16 autocast with channels-last layout where the processor
            multiplies bfloat16 in hardware and the method's images agree with float32, else float32.
        accelerator, devices: as in Lightning's Trainer; more than one device means DDP.
        workers: processes that load data; null for one less than the cores at hand, at most 8.
        split, validation_split: which clips train and which validate; a dataset without splits uses all for both.
        validation_pairs: fixed self pairs that are reenacted for pictures and metrics; 0 for none.
        validate_every: updates between validations.
        validation_metrics: registered metrics of the validation pairs.
        log_every: updates between scalars in TensorBoard.
        checkpoint_minutes, checkpoint_updates: whichever comes first rewrites last.ckpt; null switches one off.
        keep_every: updates between checkpoints that stay; null for none.
        cache: folder that keeps estimated annotations from run to run; null keeps them in memory.
        crop: square cut out of every frame.
    """

    image_size: int = 64
    batch_size: int = 8
    max_updates: int = 1000
    seed: int = 0
    same_identity: float = 1.0
    extra_sources: int = 1
    precision: str = "auto"
    accelerator: str = "auto"
    devices: int = 1
    workers: int | None = None
    split: str = "train"
    validation_split: str = "val"
    validation_pairs: int = 8
    validate_every: int = 500
    validation_metrics: list[str] = field(default_factory=lambda: ["l1"])
    log_every: int = 20
    checkpoint_minutes: float | None = 10.0
    checkpoint_updates: int | None = None
    keep_every: int | None = None
    cache: Path | None = None
    crop: Crop = field(default_factory=Crop)

    def __post_init__(self) -> None:
        """Refuse numbers that no training can run with."""
        for name in ("image_size", "batch_size", "max_updates", "devices", "validate_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.same_identity <= 1:
            raise InputError(f"same_identity is a share and must lie in [0, 1], not {self.same_identity}")
        if self.batch_size % self.devices:
            raise InputError(f"batch_size {self.batch_size} cannot be shared among {self.devices} devices equally")
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision '{self.precision}'; {nearest(self.precision, PRECISIONS)}")


@dataclass
class TrainConfig:
    """A whole training: everything is typed and checked; the classes themselves are imported but not built.

    Attributes:
        name: where it came from, for folders and titles.
        method: registered name or "module:Class"; ``method_config`` is an instance of its Config.
        dataset: registered name or "module:Class"; ``dataset_config`` is an instance of its Config.
        settings: the rest.
    """

    name: str
    method: str
    dataset: str
    method_config: Any
    dataset_config: Any
    settings: Settings = field(default_factory=Settings)

    def plain(self) -> dict[str, Any]:
        """The same as nested dicts in the form of the YAML file; ``train_config`` reads it back."""
        return {
            "method": {"name": self.method, **_plain(self.method_config)},
            "dataset": {"name": self.dataset, **_plain(self.dataset_config)},
            **_plain(self.settings),
        }

    def to_yaml(self) -> str:
        """``plain`` as text."""
        return yaml.safe_dump(self.plain(), sort_keys=False)


def structured(schema: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Instance of a dataclass from plain data, strictly: no unknown key, every type as declared.

    Args:
        schema: dataclass, possibly with dataclasses inside, also in lists, dicts and optional fields.
        mapping: what a YAML file holds.
        where: how the user knows the data (file name), for messages.

    Raises:
        InputError: one line with ``where``, the dotted key, and the nearest known key.
    """
    for key, known in _unknown_keys(schema, mapping):
        raise InputError(f"{where}: unknown key '{key}'; {nearest(key.rpartition('.')[2], known)}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), dict(mapping))
        result = OmegaConf.to_object(merged)
    except MissingMandatoryValue as error:
        missing = getattr(error, "full_key", None) or str(error).splitlines()[0]
        raise InputError(f"{where}: '{missing}' must be given") from error
    except OmegaConfBaseException as error:
        message = (getattr(error, "msg", None) or str(error)).splitlines()[0]
        raise InputError(f"{where}: '{getattr(error, 'full_key', '') or '?'}': {message}") from error
    except InputError as error:  # from a __post_init__
        raise InputError(f"{where}: {error}") from error
    assert isinstance(result, schema)
    return result


def train_config(mapping: Mapping[str, Any], where: str, name: str) -> TrainConfig:
    """Checked configuration from plain data in the form of the YAML file.

    Raises:
        InputError: unknown method, dataset or key; a wrong type; a contradiction about the image size.
    """
    rest = dict(mapping)
    method_name, method_fields = _component(rest.pop("method", None), "method", where)
    dataset_name, dataset_fields = _component(rest.pop("dataset", None), "dataset", where)
    known = [f.name for f in dataclasses.fields(Settings)] + ["method", "dataset"]
    for key in rest:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'; {nearest(str(key), known)}")
    settings = structured(Settings, rest, where)
    method_schema = _schema(METHODS, method_name)
    if "image_size" in _names(method_schema):
        stated = method_fields.setdefault("image_size", settings.image_size)
        if stated != settings.image_size:
            raise InputError(f"{where}: image_size is {settings.image_size}, but method.image_size is {stated}")
    dataset_schema = _schema(DATASETS, dataset_name)
    if "image_size" in _names(dataset_schema):
        dataset_fields.setdefault("image_size", settings.image_size)
    return TrainConfig(
        name=name,
        method=method_name,
        dataset=dataset_name,
        method_config=structured(method_schema, method_fields, f"{where}, method"),
        dataset_config=structured(dataset_schema, dataset_fields, f"{where}, dataset"),
        settings=settings,
    )


def load_train_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Configuration from a YAML file, or from a packaged one by name ("example_synthetic"), with dotted overrides.

    Raises:
        InputError: no such file or name, not YAML, or anything ``train_config`` refuses.
    """
    name, text = _yaml_text(path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"'{path}' is not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise InputError(f"'{path}' must hold keys and values, like 'image_size: 64'")
    for part in ("method", "dataset"):
        if isinstance(content.get(part), str):  # short for {name: …}, so that method.width=16 finds a mapping
            content[part] = {"name": content[part]}
    return train_config(_overridden(content, overrides), f"'{path}'", name)


def packaged_names() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(Path(entry.name).stem for entry in _packaged() if entry.name.endswith(".yaml"))


def _packaged() -> list[Any]:
    folder = importlib.resources.files("reenact_zoo.configs") / "train"
    return list(folder.iterdir()) if folder.is_dir() else []


def _yaml_text(path: str | Path) -> tuple[str, str]:
    file = Path(path)
    if file.is_dir():
        raise InputError(f"'{path}' is a folder; give a YAML file")
    if file.is_file():
        try:
            return file.stem, file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"'{path}' is not a text file; give a YAML file") from error
    for entry in _packaged():
        if entry.name in (file.name, f"{file.name}.yaml") and str(file) in (file.name, f"configs/train/{file.name}"):
            return Path(entry.name).stem, entry.read_text(encoding="utf-8")
    raise InputError(f"no configuration '{path}'; {nearest(file.stem, packaged_names())}")


def _overridden(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Content with key=value entries laid over it; "method=x" is short for "method.name=x"."""
    entries = []
    for entry in overrides:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise InputError(f"override '{entry}' is not of the form key=value")
        entries.append(f"{key}.name={value}" if key in ("method", "dataset") else entry)
    try:
        merged = OmegaConf.merge(OmegaConf.create(content), OmegaConf.from_dotlist(entries))
        plain = OmegaConf.to_container(merged)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise InputError(f"cannot apply the overrides {list(overrides)}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _component(entry: Any, kind: str, where: str) -> tuple[str, dict[str, Any]]:
    """Name and remaining fields of "method" or "dataset", written as a name or as a mapping with one."""
    fields = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"{where}: '{kind}' must be a name, or a mapping with the key 'name'")
    return name, {str(key): value for key, value in fields.items()}


def _schema(registry: Registry[Any], name: str) -> type[Any]:
    schema: type[Any] = registry.get(name).Config
    return schema


def _names(schema: type[Any]) -> set[str]:
    return {f.name for f in dataclasses.fields(schema)}


def _plain(config: Any) -> dict[str, Any]:
    container = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): _portable(value) for key, value in container.items()}


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _unknown_keys(schema: type[Any], mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Dotted unknown key, and what is known in its place, for every key that the schema lacks."""
    hints = typing.get_type_hints(schema)
    known = sorted(_names(schema))
    for key, value in mapping.items():
        if key not in known:
            yield f"{prefix}{key}", known
        else:
            yield from _unknown_inside(hints[key], value, f"{prefix}{key}.")


def _unknown_inside(hint: Any, value: Any, prefix: str) -> Iterator[tuple[str, list[str]]]:
    inner = [hint, *typing.get_args(hint)]
    schemas = [kind for kind in inner if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    if not schemas:
        return
    if isinstance(value, list):
        values = list(value)
    elif typing.get_origin(hint) is dict and isinstance(value, Mapping):
        values = list(value.values())
    else:
        values = [value]
    for item in values:
        if isinstance(item, Mapping):
            yield from _unknown_keys(schemas[0], item, prefix)
