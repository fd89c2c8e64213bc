"""No file ever runs code, every safe format loads, and what does not fit is named by its first key."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._utils import _rebuild_parameter
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

from reenact_zoo.types import InputError
from reenact_zoo.weights.arrays import ArrayUnpickler
from reenact_zoo.weights.loading import TensorUnpickler, load_into, load_tensors, read_checkpoint


class _Malice:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path, trace = tmp_path / "evil.pkl", tmp_path / "it ran"
    path.write_bytes(pickle.dumps({"mean": _Malice(trace)}, protocol=protocol))
    with pytest.raises(InputError, match="mkdir"):
        load_tensors(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the planted file is harmless, so the test would prove nothing"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_torch_checkpoint_is_refused_by_name(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "it ran"
    content = {"state_dict": {"w": torch.ones(1), "x": _Malice(trace)}}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="mkdir"):
        load_tensors(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the planted file is harmless, so the test would prove nothing"


def test_a_pickle_gets_nothing_whose_attributes_it_could_keep_changed() -> None:
    unpickler = TensorUnpickler(io.BytesIO())
    for module, name in TensorUnpickler.admitted:
        found = unpickler.find_class(module, name)
        assert not isinstance(found, types.FunctionType), name
        if isinstance(found, type):
            with pytest.raises(TypeError):
                found.__name__ = "other"


def _old_file_that_writes(target: Path) -> bytes:
    """A file of PyTorch's old format that marks a function so that the reader writes ``<target>.patch``."""

    def text(value: str) -> bytes:
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    header = (MAGIC_NUMBER, PROTOCOL_VERSION, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    attributes = b"(N}(" + text("dump_patches") + b"\x88" + text("__name__") + text(str(target)) + b"ut"
    marked = b"ctorch._utils\n_rebuild_parameter\n" + attributes + b"b"
    reference = b"\x80\x02(" + text("module") + marked + text("file.py") + text("another source\n") + b"tQ."
    return b"".join(pickle.dumps(part, protocol=2) for part in header) + reference + pickle.dumps([], protocol=2)


def test_an_old_file_cannot_make_the_reader_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = tmp_path / "evil.pt", tmp_path / "written"
    path.write_bytes(_old_file_that_writes(target))
    with pytest.raises(InputError):
        load_tensors(path)
    assert not target.with_suffix(".patch").exists()
    name = _rebuild_parameter.__name__
    try:
        monkeypatch.setattr(TensorUnpickler, "find_class", ArrayUnpickler.find_class)
        with pytest.raises(InputError):
            load_tensors(path)
        assert target.with_suffix(".patch").exists(), "the planted file is harmless, so the test would prove nothing"
    finally:
        _rebuild_parameter.__name__ = name
        vars(_rebuild_parameter).clear()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_is_not_run(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "w.pt")
    with pytest.raises(InputError, match="TorchScript"):
        load_tensors(tmp_path / "w.pt")


def test_a_text_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_text("hello")
    with pytest.raises(InputError, match=r"w\.pt") as error:
        load_tensors(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02", b"\x00" * 64])
def test_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(InputError):
        load_tensors(tmp_path / "w")


def _torch(**options: object) -> Callable[[dict[str, Tensor], Path], None]:
    return lambda tensors, path: torch.save(tensors, path, **options)  # type: ignore[arg-type]


FORMATS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "safetensors": save_file,
    "torch": _torch(),
    "torch before 1.6": _torch(_use_new_zipfile_serialization=False),
    "torch, pickle 4": _torch(pickle_protocol=4),
    "nested, prefixed": lambda tensors, path: torch.save(
        {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in tensors.items()}}, path
    ),
    "with a NumPy number": lambda tensors, path: torch.save(
        {"best": np.float64(3.5), "state_dict": tensors, "history": np.arange(3)}, path
    ),
    "with its arguments": lambda tensors, path: torch.save(
        {"args": argparse.Namespace(size=256, data=Path("data")), "model": tensors}, path, pickle_protocol=4
    ),
    "arrays, pickle 2": lambda tensors, path: (
        path.write_bytes(pickle.dumps({"note": "text", **{k: v.numpy() for k, v in tensors.items()}}, protocol=2))
        and None
    ),
    "arrays, pickle 4": lambda tensors, path: (
        path.write_bytes(pickle.dumps({k: v.numpy() for k, v in tensors.items()}, protocol=4)) and None
    ),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_safe_format_gives_the_same_tensors(tmp_path: Path, form: str) -> None:
    wanted = torch.arange(6.0).reshape(2, 3)
    FORMATS[form]({"a.weight": wanted}, tmp_path / "w")
    loaded = load_tensors(tmp_path / "w")
    assert list(loaded) == ["a.weight"]
    assert torch.equal(loaded["a.weight"], wanted)


def test_a_pickle_written_by_numpy_1_loads(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    content = pickle.dumps({"mean": np.arange(3.0)}, protocol=2)
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in path.read_bytes()
    assert load_tensors(path)["mean"].tolist() == [0, 1, 2]


def test_a_file_without_tensors_says_so(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w")
    with pytest.raises(InputError, match="no tensors"):
        load_tensors(tmp_path / "w")
    torch.save([1, 2], tmp_path / "w")
    with pytest.raises(InputError, match="list"):
        read_checkpoint(tmp_path / "w")


# --- into a network ---


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_weights_that_fit_are_loaded() -> None:
    source, target = _network(), _network()
    load_into(target, source.state_dict(), "toy")
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_an_old_file_without_batch_counters_fits() -> None:
    source, target = _network(), _network()
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) < len(source.state_dict())
    load_into(target, state, "toy")
    assert torch.equal(target[2].weight, source[2].weight)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda s: {k: v for k, v in s.items() if k not in ("1.running_mean", "2.bias")},
            "'1.running_mean' (4,) is mi",
        ),
        (lambda s: s | {"2.weight": torch.ones(2, 5)}, "'2.weight' should have shape (2, 4), the file has (2, 5)"),
        (lambda s: s | {"3.extra": torch.ones(7)}, "'3.extra' (7,)"),
    ],
)
def test_the_first_key_that_differs_is_named_and_nothing_is_loaded(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], named: str
) -> None:
    network = _network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_into(network, change(_network().state_dict()), "toy")
    assert named in str(error.value)
    assert "'toy'" in str(error.value)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
