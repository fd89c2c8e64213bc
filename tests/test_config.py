from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from reenact_zoo.config import Settings, load_train_config, packaged_names, structured, train_config
from reenact_zoo.testing import OnePhaseConfig, PaintedConfig
from reenact_zoo.types import InputError

TOY = "reenact_zoo.testing:OnePhaseToy"
CLIPS = "reenact_zoo.testing:PaintedClips"


@dataclass
class Leaf:
    size: int = 1
    path: Path | None = None


@dataclass
class Tree:
    name: str
    leaf: Leaf = field(default_factory=Leaf)
    maybe: Leaf | None = None
    leaves: list[Leaf] = field(default_factory=list)
    named: dict[str, Leaf] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise InputError(f"rate must be at most 1, not {self.rate}")


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def _write(**content: Any) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"method": TOY, "dataset": CLIPS, **content}))
        return path

    return _write


# --- structured -----------------------------------------------------------------------------------------------------


def test_plain_data_becomes_nested_dataclasses() -> None:
    data = {
        "name": "oak",
        "leaf": {"size": 2, "path": "a/b"},
        "maybe": {"size": 3},
        "leaves": [{"size": 4}],
        "named": {"any name": {"size": 5}},
        "free": {"anything": [1, {"goes": True}]},
    }
    tree = structured(Tree, data, "here")
    assert tree == Tree(
        "oak",
        Leaf(2, Path("a/b")),
        Leaf(3),
        [Leaf(4)],
        {"any name": Leaf(5)},
        {"anything": [1, {"goes": True}]},
    )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"naem": "x"}, r"^here: unknown key 'naem'; did you mean 'name'\?$"),
        ({"leaf": {"sise": 1}}, r"^here: unknown key 'leaf.sise'; did you mean 'size'\?$"),
        ({"maybe": {"sise": 1}}, r"unknown key 'maybe.sise'"),
        ({"leaves": [{"size": 1}, {"sise": 1}]}, r"unknown key 'leaves.sise'"),
        ({"named": {"a": {"sise": 1}}}, r"unknown key 'named.sise'"),
        ({"leaf": {"size": "large"}}, r"^here: 'leaf.size': .*'large'.*[Ii]nteger"),
        ({"rate": 2.0}, r"^here: rate must be at most 1, not 2.0$"),
        ({"rate": None}, r"^here: 'rate'"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        structured(Tree, {"name": "oak", **extra}, "here")
    assert "\n" not in str(caught.value)


def test_a_field_without_default_must_be_given() -> None:
    with pytest.raises(InputError, match=r"^here: 'name' must be given$"):
        structured(Tree, {}, "here")


# --- training configurations ----------------------------------------------------------------------------------------


def test_the_schema_lies_below_the_file_and_the_file_below_the_command_line(write: Any) -> None:
    path = write(batch_size=16, seed=4)
    config = load_train_config(path, ["seed=9", "method.width=12", "crop.scale=2"])
    assert config.settings.max_updates == Settings().max_updates
    assert (config.settings.batch_size, config.settings.seed, config.settings.crop.scale) == (16, 9, 2.0)
    assert config.method_config == OnePhaseConfig(width=12)
    assert isinstance(config.dataset_config, PaintedConfig)
    assert config.name == "mine"


def test_the_image_size_is_said_once(write: Any) -> None:
    config = load_train_config(write(image_size=128))
    assert config.method_config.image_size == config.dataset_config.image_size == 128
    with pytest.raises(InputError, match=r"image_size is 128, but method.image_size is 64"):
        load_train_config(write(image_size=128), ["method.image_size=64"])


def test_a_configuration_survives_its_own_yaml(write: Any) -> None:
    config = load_train_config(write(cache="some/folder"), ["method.width=12", "max_updates=7"])
    again = train_config(yaml.safe_load(config.to_yaml()), "again", config.name)
    assert again == config
    assert again.settings.cache == Path("some/folder")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batchsize=3"], r"unknown key 'batchsize'; did you mean 'batch_size'\?"),
        (["method.widht=3"], r"method: unknown key 'widht'; did you mean 'width'\?"),
        (["dataset.identitys=3"], r"dataset: unknown key 'identitys'; did you mean 'identities'\?"),
        (["crop.sacle=3"], r"unknown key 'crop.sacle'; did you mean 'scale'\?"),
        (["max_updates=many"], r"'max_updates': .*'many'"),
        (["max_updates=0"], "max_updates must be at least 1, not 0"),
        (["same_identity=1.5"], r"must lie in \[0, 1\], not 1.5"),
        (["devices=3"], "batch_size 8 cannot be shared among 3 devices"),
        (["precision=bf16"], "unknown precision 'bf16'; did you mean 'bf16-mixed'"),
        (["seed"], "override 'seed' is not of the form key=value"),
        (["method=copy_sauce"], "unknown method 'copy_sauce'; did you mean 'copy_source'"),
        (["dataset=synthetik"], "unknown dataset 'synthetik'; did you mean 'synthetic'"),
        (["image_size=64", "seed=[1"], "cannot apply the overrides"),
    ],
)
def test_mistakes_on_the_command_line_are_named_in_one_line(overrides: list[str], message: str, write: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_train_config(write(), overrides)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_configuration_are_refused_in_words(tmp_path: Path) -> None:
    for name, content, message in (
        ("list.yaml", b"- 1\n- 2\n", "must hold keys and values"),
        ("bad.yaml", b"a: [1\n", "is not valid YAML"),
        ("binary.yaml", b"\xff\xfe\x00\x80", "is not a text file"),
        ("empty.yaml", b"", "must hold keys and values"),
        ("nameless.yaml", b"method: {width: 3}\n", "'method' must be a name, or a mapping with the key 'name'"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_train_config(tmp_path / name)
    with pytest.raises(InputError, match="is a folder"):
        load_train_config(tmp_path)
    with pytest.raises(InputError, match="no configuration 'exampel_synthetic'; did you mean 'example_synthetic'"):
        load_train_config("exampel_synthetic")


@pytest.mark.parametrize("name", packaged_names())
def test_every_packaged_configuration_is_valid_and_found_by_name_and_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_path = load_train_config(Path(__file__).parents[1] / "configs" / "train" / f"{name}.yaml")
    monkeypatch.chdir(tmp_path)  # away from the checkout only the package can supply it
    assert load_train_config(name) == load_train_config(f"configs/train/{name}.yaml") == by_path
