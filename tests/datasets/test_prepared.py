"""The reader of prepared data: only what is asked for is decoded, and nothing damaged passes."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from reenact_zoo.consent import accept_terms
from reenact_zoo.data.prepare.run import prepare
from reenact_zoo.data.prepare.spec import PrepareSpec
from reenact_zoo.datasets import _shards
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.prepared import Prepared, PreparedConfig
from reenact_zoo.testing.clips import PaintedClips, PaintedConfig
from reenact_zoo.types import InputError

SPEC = PrepareSpec(policy="none", size=32, annotations=(), clips_per_shard=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine clips of six frames in three shards."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare("painted", PaintedClips(PaintedConfig(identities=6)), out, SPEC)
    return out


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def read(root: Path) -> Prepared:
    return Prepared(PreparedConfig(str(root)))


def test_two_frames_of_a_clip_decode_two_pictures(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = _shards.decode_frame
    monkeypatch.setattr(_shards, "decode_frame", lambda content: decoded.append(len(content)) or decode(content))
    prepared, painted = read(root), PaintedClips(PaintedConfig(identities=6))
    for index in (4, 1):
        ref = FrameRef("clip_07", index)
        difference = prepared.frame(ref).astype(int) - painted.frame(ref)
        assert np.abs(difference).mean() < 2  # JPEG of quality 95
    assert len(decoded) == 2


def test_it_travels_into_worker_processes(root: Path) -> None:
    prepared = read(root)
    ref = FrameRef("clip_02", 3)
    before = prepared.frame(ref)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(prepared)).frame(ref), before)


def test_what_is_not_there_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frames 0 to 5, not 6"):
        read(root).frame(FrameRef("clip_02", 6))
    with pytest.raises(InputError, match="no clip 'clip_77'"):
        read(root).frame(FrameRef("clip_77", 0))
    with pytest.raises(InputError, match="no folder given"):
        Prepared()
    with pytest.raises(InputError, match=r"has no index\.parquet; make it with"):
        read(tmp_path)


def test_missing_cut_and_changed_shards_are_noticed(root: Path) -> None:
    shard = root / "shard-00001.tar"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(InputError, match=f"has {len(data) - 1} of {len(data)} bytes; copy it again"):
        read(root)
    shard.unlink()
    with pytest.raises(InputError, match=r"shard-00001\.tar' is missing"):
        read(root)
    prepared = len(data) // 2
    shard.write_bytes(data[:prepared] + bytes([data[prepared] ^ 1]) + data[prepared + 1 :])
    assert len(read(root).damaged()) == 1
    shard.write_bytes(bytes(len(data)))
    with pytest.raises(InputError, match="damaged at clip_04@0; copy it again"):
        read(root).frame(FrameRef("clip_04", 0))


def test_a_damaged_index_is_one_line(root: Path) -> None:
    index = root / "index.parquet"
    index.write_bytes(index.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged or no index"):
        read(root)


def test_terms_and_removals_of_the_original_dataset_hold(root: Path, tmp_path: Path) -> None:
    table, about = _shards.read_index(root)
    rows = table.to_pylist()
    rows[1]["people"] = ["person_01", "person_88"]
    _shards.write_index(root / "index.parquet", rows, (), about | {"dataset": "celebdf"})
    with pytest.raises(InputError, match="accept-terms celebdf"):
        read(root)
    accept_terms("celebdf", root)
    (root / "removed.txt").write_text("identity person_88\nclip clip_03\n")
    assert [clip.name for clip in read(root).clips] == [f"clip_{i:02d}" for i in (0, 2, 4, 5, 6, 7, 8)]
    with pytest.raises(InputError, match="no clip 'clip_01'"):
        read(root).frame(FrameRef("clip_01", 0))


def test_another_format_is_refused(root: Path) -> None:
    table, about = _shards.read_index(root)
    _shards.write_index(root / "index.parquet", table.to_pylist(), (), json.loads(json.dumps(about)) | {"format": 99})
    with pytest.raises(InputError, match="has format 99"):
        read(root)


@pytest.mark.parametrize("name", ["parsing", "matte"])
def test_pictures_of_annotations_survive_the_file(name: str) -> None:
    rng = np.random.default_rng(0)
    if name == "parsing":
        labels = rng.integers(19, size=(8, 8))
        values = (labels[None] == np.arange(19)[:, None, None]).astype(np.float32)
    else:
        values = (rng.integers(256, size=(1, 8, 8)) / 255).astype(np.float32)
    np.testing.assert_allclose(_shards.decode_picture(name, _shards.encode_picture(name, values), 8), values, atol=1e-6)
    nothing = _shards.encode_picture(name, np.full_like(values, np.nan))
    assert nothing == b""
    assert np.isnan(_shards.decode_picture(name, nothing, 8)).all()
    assert _shards.decode_picture(name, nothing, 8).shape == values.shape
