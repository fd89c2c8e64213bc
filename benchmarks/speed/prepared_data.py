"""Frames per second at random from prepared shards, beside a folder of videos and a folder of PNG frames.

    python benchmarks/speed/prepared_data.py --root FOLDER_OF_VIDEOS

The clips of the folder are prepared once (tube, 256 px, JPEG 95, without annotations), and the prepared frames are
written out again as H.264 videos (CRF 16) and as PNG files, so that all forms hold the same frames. Then pairs of two
random frames of a random clip are read from each, in this process. A pair is asked for once in a warm-up, so that
files are in the page cache: the figures are about decoding, not about the disk. Medians of three rounds are printed, by
the clock and by processor time (of all threads), which a busy machine disturbs less; the ratio is of the latter.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from reenact_zoo.data.prepare.run import prepare
from reenact_zoo.data.prepare.spec import PrepareSpec
from reenact_zoo.datasets.base import ClipDataset, FrameRef
from reenact_zoo.datasets.clips import Clips, ClipsConfig
from reenact_zoo.datasets.prepared import Prepared, PreparedConfig
from reenact_zoo.video.write import VideoWriter


def drawn(dataset: ClipDataset, pairs: int, seed: int) -> list[FrameRef]:
    """Two random frames of a random clip, ``pairs`` times."""
    rng = np.random.default_rng(seed)
    refs = []
    for _ in range(pairs):
        clip = dataset.clips[int(rng.integers(len(dataset.clips)))]
        refs += [FrameRef(clip.name, int(index)) for index in rng.integers(clip.num_frames, size=2)]
    return refs


def rates(dataset: ClipDataset, refs: Sequence[FrameRef]) -> tuple[float, float]:
    """Frames per second of the clock, and per second of processor time."""
    begin = time.perf_counter(), time.process_time()
    for ref in refs:
        dataset.frame(ref)
    spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return len(refs) / spent[0], len(refs) / spent[1]


def written_again(prepared: Prepared, folder: Path) -> tuple[Path, Path]:
    """The prepared frames as a folder of videos and as one of PNG frames."""
    videos, images = folder / "videos", folder / "images"
    videos.mkdir()
    for clip in prepared.clips:
        (images / clip.name).mkdir(parents=True)
        size = int(prepared.about["spec"]["size"])
        with VideoWriter(videos / f"{clip.name}.mp4", clip.frame_rate or Fraction(25), (size, size)) as video:
            for index in range(clip.num_frames):
                image = prepared.frame(FrameRef(clip.name, index))
                video.write(image)
                cv2.imwrite(str(images / clip.name / f"{index:06d}.png"), image[..., ::-1])
    return videos, images


def kilobytes(folder: Path) -> float:
    """Of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--max-frames", type=int, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        shards = Path(scratch) / "shards"
        spec = PrepareSpec(annotations=(), max_frames=given.max_frames)
        prepare("clips", Clips(ClipsConfig(str(given.root))), shards, spec)
        prepared = Prepared(PreparedConfig(str(shards)))
        videos, images = written_again(prepared, Path(scratch))
        forms: dict[str, tuple[ClipDataset, Path]] = {
            "prepared shards": (prepared, shards),
            "folder of mp4": (Clips(ClipsConfig(str(videos))), videos),
            "folder of PNG": (Clips(ClipsConfig(str(images))), images),
        }
        frames = sum(clip.num_frames for clip in prepared.clips)
        print(f"{len(prepared.clips)} clips, {frames} frames of {spec.size} px, {os.cpu_count()} processors")
        found = {}
        for name, (dataset, folder) in forms.items():
            refs = [drawn(dataset, given.pairs, seed) for seed in range(3)]
            for each in refs:
                rates(dataset, each)
            clock, found[name] = map(statistics.median, zip(*(rates(dataset, each) for each in refs)))
            ratio, size = found["prepared shards"] / found[name], kilobytes(folder) / frames
            speed = f"{clock:7.0f} frames/s {found[name]:7.0f} per processor second"
            print(f"{name:16} {speed} {size:6.1f} kB per frame; shards: {ratio:.1f} times as fast", flush=True)


if __name__ == "__main__":
    main()
