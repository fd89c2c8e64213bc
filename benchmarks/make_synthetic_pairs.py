"""Draws the frozen pair lists of the synthetic protocols, and renders the pack that ships with the package.

    python benchmarks/make_synthetic_pairs.py                        # benchmarks/pairs/synthetic_*_v2.csv
    python benchmarks/make_synthetic_pairs.py --pack out/name.zip    # … and the pictures of the ict test pairs
    python benchmarks/make_synthetic_pairs.py --complete name.zip    # flow and labels that an older pack lacks; no more

Test people only. The source is frame 0 of a clip, as is the reference of relative motion; clips that begin with closed
lids or far to the side are left out. Driving frames are drawn so that the change of yaw fills three bins equally:
0-15, 15-30 and 30-60 degrees. Motion does not depend on the head model, so both heads share the lists.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from reenact_zoo.data.pairs import Pair, read_pairs, write_pairs
from reenact_zoo.datasets._actions import ACTIONS
from reenact_zoo.datasets._clip_cache import Record
from reenact_zoo.datasets._motion import Motion
from reenact_zoo.datasets._packs import LABELS, absolute_only, encode_flow, encode_labels, target_key
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import VERSION, Synthetic, SyntheticConfig
from reenact_zoo.ops.rotation import euler_from_matrix, matrix_from_euler
from reenact_zoo.weights.store import WeightStore

PAIRS = Path(__file__).parent / "pairs"
BINS = ((0, 15), (15, 30), (30, 60))
PER_BIN = 70
PEOPLE = 24
APART = 3  # frames between two driving frames of a clip
PACK_SIZE, PACK_SIZES, FLOW_SIZE = 128, (64, 128), 64
LIMIT_DEG = (60.0, 28.0, 25.0)  # yaw, pitch, roll that a relative target may reach
CONFIG: dict[str, Any] = {"split": "test", "test_identities": 60, "frames": 100}
SETTINGS = ("self", "cross", "cross_relative")


class Clips:
    """Motion of the clips that are fit for the benchmark."""

    def __init__(self) -> None:
        dataset = Synthetic(SyntheticConfig(**CONFIG))
        self.motion: dict[str, Motion] = {}
        for clip in dataset.clips:
            motion = dataset.motion(clip.name)
            if _fit(motion) and len(self.motion) < PEOPLE:
                self.motion[clip.name] = motion
        self.names = list(self.motion)

    def rotation(self, ref: FrameRef) -> NDArray[np.float64]:
        return self.motion[ref.clip].rotation_deg[ref.index]

    def absolute(self, source: FrameRef, driving: FrameRef) -> NDArray[np.float64]:
        return self.rotation(driving)

    def relative(self, source: FrameRef, driving: FrameRef) -> NDArray[np.float64]:
        """Rotation of the true target when motion counts from the driving clip's frame 0."""
        angles = np.stack([self.rotation(r) for r in (driving, FrameRef(driving.clip, 0), source)])
        d, r, s = matrix_from_euler(torch.from_numpy(angles))
        return euler_from_matrix(d @ r.T @ s).numpy()


def _fit(motion: Motion) -> bool:
    yaw, pitch, _ = np.abs(motion.rotation_deg[0])
    begins_well = motion.actions[0, ACTIONS.index("eyeBlink_L")] < 0.3 and yaw < 30 and pitch < 15
    return bool(begins_well and np.ptp(motion.rotation_deg[:, 0]) > 35)


def candidates(clips: Clips, setting: str, rng: np.random.Generator) -> list[Pair]:
    """Every pair that may be chosen, in random order."""
    target = clips.relative if setting == "cross_relative" else clips.absolute
    found = []
    for source in (FrameRef(name, 0) for name in clips.names):
        for name in clips.names:
            if (name == source.clip) != (setting == "self"):
                continue
            for index in range(APART, CONFIG["frames"], APART):
                driving = FrameRef(name, index)
                rotation = target(source, driving)
                if np.all(np.abs(rotation) <= LIMIT_DEG):
                    delta = float(abs(rotation[0] - clips.rotation(source)[0]))
                    bins = {"delta_yaw_deg": round(delta, 3)}
                    found.append(Pair("", source, driving, FrameRef(name, 0), setting == "self", bins))
    return [found[i] for i in rng.permutation(len(found))]


def choose(found: list[Pair]) -> list[Pair]:
    """``PER_BIN`` pairs per bin; sources, driving clips and driving frames are used as evenly as can be."""
    sources: Counter[str] = Counter()
    drivers: Counter[str] = Counter()
    frames: Counter[FrameRef] = Counter()
    chosen = []
    for low, high in BINS:
        open_pairs = [p for p in found if low <= p.bins["delta_yaw_deg"] < high]
        for _ in range(PER_BIN):
            best = min(open_pairs, key=lambda p: (sources[p.source.clip] + drivers[p.driving.clip], frames[p.driving]))
            open_pairs.remove(best)
            sources[best.source.clip] += 1
            drivers[best.driving.clip] += 1
            frames[best.driving] += 1
            chosen.append(best)
    return sorted(chosen, key=lambda p: (p.source, p.driving))


def draw(clips: Clips) -> dict[str, list[Pair]]:
    """Pairs by setting; cross pairs reuse the driving frames of self pairs, which keeps the pack small."""
    rng = np.random.default_rng(1)
    drawn = {"self": choose(candidates(clips, "self", rng))}
    pool = {pair.driving for pair in drawn["self"]}
    for setting in ("cross", "cross_relative"):
        drawn[setting] = choose([p for p in candidates(clips, setting, rng) if p.driving in pool])
    return {s: [replace(p, pair_id=f"{n:03d}") for n, p in enumerate(pairs)] for s, pairs in drawn.items()}


def pairs_file(setting: str) -> Path:
    return PAIRS / f"synthetic_{setting}_v{VERSION}.csv"


def make_pack(path: Path, quality: int) -> None:
    """Render every frame and every cross target of the lists at 128 pixels into one file, with their truth."""
    dataset = _people(PACK_SIZE)
    lists = _listed()
    shown = [p for pairs in lists.values() for p in pairs]
    refs = sorted({r for p in shown for r in (p.source, p.driving, p.driving_reference) if r})
    truth: dict[str, list[NDArray[np.float32] | str]] = {}
    with _growing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
        about = {
            "head": "ict",
            "version": VERSION,
            "native_size": PACK_SIZE,
            "sizes": PACK_SIZES,
            "flow_size": FLOW_SIZE,
        }
        _put(file, "pack.json", json.dumps({**about, "jpeg_quality": quality, "config": CONFIG}, indent=1).encode())
        _put(file, "LICENSE", _notice().encode())
        for ref in track(refs, "frames"):
            _put_frame(file, dataset, ref, quality)
            _note(truth, "frames", str(ref), dataset.annotations(ref))
        for pair, reference in track(_targets(lists), "targets"):
            made = dataset.cross_target(pair.source, pair.driving, reference)
            name = target_key(pair.source, pair.driving, reference)
            _put(file, f"targets/{name}.jpg", _jpeg(made["target"], quality))
            _put(file, f"targets/{name}.png", _png(np.round(made["target_matte"][0] * 255).astype(np.uint8)))
            _note(truth, "targets", name, {k.removeprefix("target_"): v for k, v in made.items()})
        small = _people(FLOW_SIZE)
        for pair in track(lists["self"], "flow"):
            made = small.cross_target(pair.source, pair.driving)
            _put_flow(file, target_key(pair.source, pair.driving, None), made)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **{name: np.stack(rows) for name, rows in truth.items()})
        _put(file, "truth.npz", buffer.getvalue())
        _put_motion(file, lists)


def complete_pack(path: Path) -> None:
    """Add flow and labels of the cross targets of absolute motion to a pack that lacks them; the rest stays as it is.

    Those of relative motion would make the package too large.
    """
    lists = _listed()
    with zipfile.ZipFile(path) as file:
        there = set(file.namelist())
        with np.load(io.BytesIO(file.read("truth.npz")), allow_pickle=False) as truth:
            names = truth["targets_names"].tolist()
    if names != [target_key(pair.source, pair.driving, reference) for pair, reference in _targets(lists)]:
        raise SystemExit(f"{path} was made from other lists of pairs; make it anew with --pack")
    if LABELS in there:
        raise SystemExit(f"{path} is complete")
    with _growing(path) as part:
        shutil.copyfile(path, part)
        with zipfile.ZipFile(part, "a", zipfile.ZIP_STORED) as file:
            _put_motion(file, lists)


@contextmanager
def _growing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` which takes its place once it is complete."""
    part = path.with_suffix(".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _people(size: int) -> Synthetic:
    return Synthetic(SyntheticConfig(head="ict", image_size=size, **CONFIG))


def _listed() -> dict[str, list[Pair]]:
    return {setting: read_pairs(pairs_file(setting)) for setting in SETTINGS}


def _targets(lists: dict[str, list[Pair]]) -> list[tuple[Pair, FrameRef | None]]:
    """Cross pairs, and the frame that their motion counts from."""
    return [(p, p.driving_reference if s == "cross_relative" else None) for s in SETTINGS[1:] for p in lists[s]]


def _put_motion(file: zipfile.ZipFile, lists: dict[str, list[Pair]]) -> None:
    """Flow and labels of the cross targets of absolute motion."""
    targets = {target_key(pair.source, pair.driving, reference): pair for pair, reference in _targets(lists)}
    small, parsing = _people(FLOW_SIZE), []
    for key in track(absolute_only(targets), "flow and labels"):
        made = small.cross_target(targets[key].source, targets[key].driving)
        _put_flow(file, key, made)
        parsing.append(made["target_parsing"])
    _put(file, LABELS, encode_labels(parsing))


def _put_flow(file: zipfile.ZipFile, key: str, made: dict[str, NDArray[Any]]) -> None:
    _put(file, f"flow/{key}.xz", encode_flow(made["target_flow"], made["target_flow_valid"]))


def _put(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    file.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)  # a fixed date: equal content, equal file


def _put_frame(file: zipfile.ZipFile, dataset: Synthetic, ref: FrameRef, quality: int) -> None:
    render = dataset.render(ref)
    record = Record.from_render(render, 1)
    labels = render.parsing[0].argmax(dim=0).to(torch.uint8).numpy()
    _put(file, f"frames/{ref}.jpg", _jpeg(record.image, quality))
    _put(file, f"frames/{ref}.png", _png(np.concatenate([labels, record.matte], axis=1)))


def _note(truth: dict[str, list[NDArray[np.float32] | str]], kind: str, name: str, known: dict[str, NDArray]) -> None:
    truth.setdefault(f"{kind}_names", []).append(name)
    for what in ("landmarks", "coefficients"):
        truth.setdefault(f"{kind}_{what}", []).append(known[what].astype(np.float32))


def _jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _notice() -> str:
    """The head model's licence, which lies beside its file or in the package."""
    bundled = Path(__file__).parents[1] / "reenact_zoo" / "bundled" / "pairs" / "LICENSE_ict_facekit"
    beside = WeightStore().path("ict_facekit").with_name("LICENSE_ict_facekit")
    return next(p for p in (bundled, beside) if p.is_file()).read_text(encoding="utf-8")


def lines(drawn: dict[str, list[Pair]]) -> Iterator[str]:
    for setting, pairs in drawn.items():
        deltas = np.array([p.bins["delta_yaw_deg"] for p in pairs])
        counts = [int(((deltas >= low) & (deltas < high)).sum()) for low, high in BINS]
        yield f"{setting}: {len(pairs)} pairs, per bin {counts}, {len({p.source.clip for p in pairs})} people as source"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, help="zip file to render the ict pictures into")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality of the pack, 4:4:4")
    parser.add_argument("--complete", type=Path, metavar="PACK", help="only add what this zip file lacks")
    given = parser.parse_args()
    if given.complete:
        complete_pack(given.complete)
        print(f"{given.complete}: {given.complete.stat().st_size / 1e6:.2f} MB")
        return
    drawn = draw(Clips())
    for setting, pairs in drawn.items():
        write_pairs(pairs_file(setting), pairs)
    print("\n".join(lines(drawn)))
    if given.pack:
        make_pack(given.pack, given.quality)
        print(f"{given.pack}: {given.pack.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
