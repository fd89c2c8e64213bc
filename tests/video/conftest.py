"""Clips made on the spot: each frame tells its number, so that a wrong frame is seen and not only a missing one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from reenact_zoo.video.write import VideoWriter

BITS = 8


def numbered(index: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Black and white stripes that spell ``index`` in binary, highest bit on the left; the lower quarter is grey."""
    bits = [255 * (index >> (BITS - 1 - bit) & 1) for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8), width // BITS)
    image = np.repeat(np.broadcast_to(row, (height, width))[..., None], 3, axis=2).copy()
    image[height * 3 // 4 :] = 100
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """Inverse of ``numbered``, after any codec."""
    height, width = image.shape[:2]
    stripes = image[: height // 2].reshape(height // 2, BITS, width // BITS, 3).mean(axis=(0, 2, 3))
    return sum(1 << (BITS - 1 - bit) for bit in range(BITS) if stripes[bit] > 127)


def tone(seconds: float, rate: int, codec: str, container: Any) -> None:
    """Add a sound track of a sine that grows louder, complete."""
    stream = container.add_stream(codec, rate=rate)
    stream.codec_context.layout = "mono"
    samples = np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate) * np.linspace(
        0.05, 0.9, int(seconds * rate)
    )
    frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def add_sound(path: Path, seconds: float, rate: int, codec: str) -> Path:
    """Rewrite ``path`` with a sound track in front of the copied pictures."""
    silent = path.rename(path.with_name("silent" + path.suffix))
    with av.open(str(silent)) as source, av.open(str(path), "w") as target:
        pictures = source.streams.video[0]
        copy = target.add_stream_from_template(pictures)
        tone(seconds, rate, codec, target)
        for packet in source.demux(pictures):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    silent.unlink()
    return path


class ClipMaker:
    """What the tests of this folder share, as a fixture because test folders are no packages."""

    numbered = staticmethod(numbered)
    number_of = staticmethod(number_of)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(
        self,
        name: str = "clip.mp4",
        frames: int = 30,
        rate: Fraction = Fraction(30),
        times: Sequence[Fraction] | None = None,
        sound: tuple[float, int, str] | None = None,
    ) -> Path:
        """Path of a numbered clip; ``sound`` is (seconds, sampling rate, codec)."""
        path = self.folder / name
        base = Fraction(1, 90000) if times else None
        with VideoWriter(path, rate, (64, 48), time_base=base) as writer:
            for index in range(frames):
                writer.write(numbered(index), times[index] if times else None)
        return add_sound(path, *sound) if sound else path


@pytest.fixture
def clips(tmp_path: Path) -> ClipMaker:
    """Makes clips in the test's own folder."""
    return ClipMaker(tmp_path)
