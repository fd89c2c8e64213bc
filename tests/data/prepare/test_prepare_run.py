"""Preparation of a whole dataset: what is written, what fails, and that no interruption shows in the bytes."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_clips
from small_clips import SmallClips, SmallConfig

from reenact_zoo.data.prepare import store as store_module
from reenact_zoo.data.prepare.run import Summary, prepare, summary
from reenact_zoo.data.prepare.spec import PrepareSpec
from reenact_zoo.datasets._shards import read_index
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.prepared import Prepared, PreparedConfig
from reenact_zoo.testing.clips import PaintedClips, PaintedConfig
from reenact_zoo.types import InputError

PLAIN = PrepareSpec(policy="none", size=16, annotations=(), codec="png", clips_per_shard=3)


def run(out: Path, spec: PrepareSpec = PLAIN, **options: Any) -> Summary:
    return prepare("small", SmallClips(), out, spec, **options)


def content(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of an uninterrupted run."""
    out = tmp_path_factory.mktemp("prepared") / "whole"
    run(out)
    return out


def test_every_clip_comes_back_frame_by_frame_with_what_is_known_of_it(whole: Path) -> None:
    dataset, prepared = SmallClips(), Prepared(PreparedConfig(str(whole)))
    good = [c for i, c in enumerate(dataset.clips) if i not in (small_clips.BROKEN, small_clips.BUGGY)]
    assert list(prepared.clips) == good
    for clip in good:
        for index in range(clip.num_frames):
            ref = FrameRef(clip.name, index)
            np.testing.assert_array_equal(prepared.frame(ref), dataset.frame(ref))
            assert prepared.source_frame(ref) == index
    assert prepared.damaged() == []


def test_a_failing_clip_is_recorded_with_its_reason_and_stops_nothing(whole: Path) -> None:
    made = summary(whole)
    assert (made.clips, made.failed, made.frames) == (5, 2, sum(4 + i for i in (0, 1, 2, 5, 6)))
    failed = Prepared(PreparedConfig(str(whole))).failed
    assert failed["part/clip #3"] == "'part/clip #3.mp4' is damaged after 2 frames; re-encode it"
    assert failed["part/clip #4"] == "ZeroDivisionError: a fault nobody thought of"
    assert sum(made.reasons.values()) == 2
    with pytest.raises(InputError, match="it failed: ZeroDivisionError"):
        Prepared(PreparedConfig(str(whole))).frame(FrameRef("part/clip #4", 0))


def test_shards_are_plain_tar_files_without_times_and_owners(whole: Path) -> None:
    shards = sorted(whole.glob("*.tar"))
    assert [path.name for path in shards] == ["shard-00000.tar", "shard-00001.tar", "shard-00002.tar"]
    members = []
    for path in shards:
        with tarfile.open(path) as file:
            members += file.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert [m.name for m in members if m.name.startswith("00000001")] == [
        "00000001.json", *(f"00000001.{i:04d}.png" for i in range(5))
    ]  # fmt: skip


def test_webdataset_streams_a_clip_as_one_sample(whole: Path) -> None:
    import webdataset

    samples = list(webdataset.WebDataset(str(whole / "shard-00000.tar"), shardshuffle=False))
    assert [json.loads(sample["json"])["clip"] for sample in samples] == [f"part/clip #{i}" for i in range(3)]
    assert samples[2]["0003.png"].startswith(b"\x89PNG")


def test_the_index_finds_the_bytes_it_hashes(whole: Path) -> None:
    table, about = read_index(whole)
    for row in table.to_pylist():
        if not row["error"]:
            data = (whole / row["shard"]).read_bytes()[row["offset"] : row["offset"] + row["size"]]
            assert hashlib.sha256(data).hexdigest() == row["sha256"]
            with tarfile.open(fileobj=io.BytesIO(data)) as file:
                assert file.getnames()[0].endswith(".json")
    assert about["failed"] == 2
    assert about["dataset"] == "small"
    assert about["partial"] == ""
    assert {"av", "code", "opencv-python-headless"} <= about["versions"].keys()


# --- interruptions --------------------------------------------------------------------------------------------------


def _run_and_die(out: Path, after: int) -> None:
    """In a child process: prepare, and be killed at the given operation on a file of the output."""
    count = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        watched = event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
        if watched and arguments and str(arguments[0]).startswith(str(out)):
            count += 1
            if count > after:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    run(out)
    os._exit(0)


def _killed(out: Path, after: int) -> bool:
    child = multiprocessing.get_context("fork").Process(target=_run_and_die, args=(out, after))
    child.start()
    child.join(60)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again_it_ends_with_the_same_bytes(whole: Path, tmp_path: Path, seed: int) -> None:
    chance, kills = random.Random(seed), 0
    while _killed(tmp_path / "out", chance.randrange(4, 30)):
        kills += 1
        assert kills < 200
    assert kills >= 3
    assert content(tmp_path / "out") == content(whole)


def test_killed_once_at_any_operation_it_ends_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    chance, after, deaths = random.Random(7), 0, 0
    while True:
        out = tmp_path / f"at_{after}"
        died = _killed(out, after)
        run(out)
        assert content(out) == content(whole), f"differs when killed at operation {after}"
        if not died:
            break
        deaths, after = deaths + 1, after + chance.randrange(3, 11)
    assert deaths > 6


def test_a_damaged_part_is_made_again(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _killed(out, 20)
    part = sorted((out / "unfinished").glob("clip-*.tar"))[0]
    part.write_bytes(part.read_bytes()[:-700] + bytes(700))
    run(out)
    assert content(out) == content(whole)


def test_engines_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    seen = []
    run(tmp_path / "pool", engine="pool", workers=2, progress=lambda *state: seen.append(state))
    assert content(tmp_path / "pool") == content(whole)
    assert seen[0] == (0, 7, 0)
    assert seen[-1] == (7, 7, 2)


def test_ray_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'reenact_zoo[cluster]'")
    dataset = PaintedClips(PaintedConfig(identities=3))  # what Ray's workers can import
    for engine in ("local", "ray"):
        prepare("painted", dataset, tmp_path / engine, PLAIN, engine=engine, workers=2)
    assert content(tmp_path / "ray") == content(tmp_path / "local")


def test_a_finished_folder_is_left_as_it_is(whole: Path) -> None:
    before = content(whole)
    assert run(whole).clips == 5
    assert content(whole) == before


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (
            PrepareSpec(policy="none", size=16, annotations=(), codec="jpeg", clips_per_shard=3),
            {},
            "codec png → j",
        ),
        (PLAIN, {"limit": 2}, "limit None → 2"),
    ],
)
def test_other_settings_are_refused_in_a_folder_that_was_begun(
    whole: Path, tmp_path: Path, spec: PrepareSpec, options: dict[str, Any], said: str
) -> None:
    out = tmp_path / "out"
    assert _killed(out, 15)
    for folder in (out, whole):
        with pytest.raises(InputError, match=said):
            run(folder, spec, **options)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an empty folder"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_limited_run_says_that_it_is_partial(tmp_path: Path) -> None:
    spec = PrepareSpec(policy="none", size=16, annotations=(), max_frames=3)
    assert run(tmp_path / "out", spec, limit=2).partial == "the first 2 of 7 clips, at most 3 frames of each"
    prepared = Prepared(PreparedConfig(str(tmp_path / "out")))
    assert prepared.about["partial"] == "the first 2 of 7 clips, at most 3 frames of each"
    assert [clip.num_frames for clip in prepared.clips] == [3, 3]


def test_a_full_disk_stops_it_in_one_line_and_it_goes_on_later(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "out", 0

    def full(file: Any) -> None:
        nonlocal written
        written += 1
        if written > 9:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_sync", full)
        with pytest.raises(InputError, match="is full; what is done is kept"):
            run(out)
    assert not list(out.rglob("*.part"))
    assert not (out / "index.parquet").exists()
    run(out)
    assert content(out) == content(whole)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _killed(out, 12)
    plan = json.loads((out / "unfinished" / "plan.json").read_text())
    first, second = (store_module.Store(out, plan, 7) for _ in range(2))
    with first.locked(), pytest.raises(InputError, match="another process"), second.locked():
        pass


def test_a_dataset_whose_clips_changed_is_not_continued(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _killed(out, 12)
    with pytest.raises(InputError, match=r"clips of the dataset are not the same; config\.frames 4 → 5"):
        prepare("small", SmallClips(SmallConfig(frames=5)), out, PLAIN)
