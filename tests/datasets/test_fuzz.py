"""Damaged copies of clips: every one is either read or refused in one line, within bounded time."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fake_trees
import numpy as np
import pytest

from reenact_zoo.consent import Removals, accept_terms, terms_problem
from reenact_zoo.datasets._voxceleb_layouts import boxes, codes
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.celebdf import LIST, read_list
from reenact_zoo.datasets.clips import Clips, ClipsConfig
from reenact_zoo.types import InputError

Tree = Callable[[str], Path]
TINY_CASES, REAL_CASES = 510, 510
SECONDS_PER_CASE = 10  # of all cores together; a hang that does not compute meets the time limit of the test


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """A copy that is cut off, has flipped bits, or a run of foreign bytes."""
    kind = random.integers(4)
    changed = np.frombuffer(data, np.uint8).copy()
    if kind == 0:
        return data[: random.integers(len(data))]
    if kind == 1:  # anywhere
        where = random.integers(len(data), size=random.integers(1, 30))
    elif kind == 2:  # in the first or last part, where containers keep their tables
        near = random.integers(min(len(data), 2000), size=random.integers(1, 8))
        where = near if random.random() < 0.5 else len(data) - 1 - near
    else:
        start = int(random.integers(len(data)))
        run = changed[start : start + int(random.integers(1, 200))]
        run[:] = random.integers(0, 256, len(run))
        return changed.tobytes()
    np.bitwise_xor.at(changed, where, (1 << random.integers(8, size=len(where))).astype(np.uint8))
    return changed.tobytes()


def check_message(error: InputError, name: str = "") -> None:
    """One line that names the file."""
    assert "\n" not in str(error)
    assert name in str(error)


def read(path: Path) -> str:
    """ "read" or "refused"; anything but an ``InputError`` of one line passes through and fails the test."""
    begun = time.process_time()
    try:
        dataset = Clips(ClipsConfig(str(path)))
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            (clip,) = dataset.clips
        for index in sorted({0, clip.num_frames // 2, clip.num_frames - 1}):
            frame = dataset.frame(FrameRef(clip.name, index))
            assert frame.ndim == 3
            assert frame.shape[2] == 3
            assert frame.dtype == np.uint8
        return "read"
    except InputError as error:
        check_message(error, path.name)
        return "refused"
    finally:
        assert time.process_time() - begun < SECONDS_PER_CASE


def attack(folder: Path, originals: list[Path], cases: int, seed: int) -> Counter[str]:
    """How many damaged copies were read, and how many refused."""
    outcomes: Counter[str] = Counter()
    data = [path.read_bytes() for path in originals]
    for case in range(cases):
        which = case % len(originals)
        target = folder / f"case_{case}{originals[which].suffix}"
        target.write_bytes(damaged(data[which], np.random.default_rng([seed, case])))
        outcomes[read(target)] += 1
        target.unlink()
    return outcomes


@pytest.fixture
def originals(tmp_path: Path) -> list[Path]:
    """One small clip of each kind of file."""
    folder = tmp_path / "whole"
    clips = [fake_trees.video(folder / f"clip{suffix}") for suffix in (".mp4", ".mkv", ".mov")]
    pictures = fake_trees.frame_folder(folder / "pictures", ["a.png", "b.jpg", "c.webp", "d.bmp"])
    return [*clips, *sorted(pictures.iterdir())]


@pytest.mark.timeout(900)  # 4 s of computing; a machine that does much else takes longer
def test_damaged_tiny_clips_are_read_or_refused(tmp_path: Path, originals: list[Path]) -> None:
    outcomes = attack(tmp_path, originals, TINY_CASES, seed=1)
    assert outcomes.total() == TINY_CASES >= 500
    assert min(outcomes["read"], outcomes["refused"]) > 50  # the damage is neither always fatal nor always harmless


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_damaged_real_clips_are_read_or_refused(tmp_path: Path, real_clips: Path) -> None:
    clips = sorted(real_clips.glob("*.mp4"))
    outcomes = attack(tmp_path, clips, REAL_CASES, seed=2)
    assert outcomes.total() == REAL_CASES >= 500
    assert min(outcomes["read"], outcomes["refused"]) > 20


def test_damaged_lists_are_read_or_refused(tmp_path: Path, fake_tree: Tree) -> None:
    root = tmp_path / "root"
    root.mkdir()
    accept_terms("ffpp", root)
    (root / "removed.txt").write_text("identity 071\nffpp clip youtube/000\n" * 5)
    (root / LIST).write_bytes((fake_tree("celebdf") / LIST).read_bytes())
    (root / "meta.csv").write_bytes((fake_tree("voxceleb_faces") / "vox1_meta.csv").read_bytes())
    row = "FakeVideo04,1093,1098,624-48-1018-553,25,1280,720,test,id10280\n"
    (root / "boxes.csv").write_text("video_id,start,end,bbox,fps,width,height,partition,person_id\n" + 5 * row)
    readers: dict[str, Callable[[], object]] = {
        "removed.txt": lambda: Removals.load(root, "ffpp"),
        LIST: lambda: read_list(root),
        "meta.csv": lambda: codes(root / "meta.csv"),
        "boxes.csv": lambda: boxes(root / "boxes.csv"),
        "terms_accepted_ffpp.json": lambda: terms_problem("ffpp", root),
    }
    for name, parse in readers.items():
        whole = (root / name).read_bytes()
        refused = 0
        for case in range(60):
            (root / name).write_bytes(damaged(whole, np.random.default_rng([3, case])))
            try:
                refused += bool(parse() if name.startswith("terms") else not parse())
            except InputError as error:
                check_message(error)
                refused += 1
        assert refused > 5, name
