"""Reading frames from video files, frame folders and still images: as a stream, or by number.

Both ways hold a few frames at a time, whatever the length. Frames are (H, W, 3) uint8 RGB, upright (rotation and mirror
metadata applied) and with square pixels. Times are exact fractions of a second since the first frame.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reenact_zoo.types import InputError
from reenact_zoo.video._container import (
    RESCUE,
    Timeline,
    display_matrix,
    display_size,
    open_container,
    scan,
    to_rgb,
    turn,
)
from reenact_zoo.video.images import frame_paths, image_size, is_image, read_image

__all__ = [
    "Frame",
    "FrameSource",
    "RandomAccessVideo",
    "VideoInfo",
    "frame_paths",
    "open_frames",
    "probe",
    "read_frames",
    "read_image",
]

FOLDER_RATE = Fraction(25)
"""Frame rate of a folder of frames or a still image, which state none."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known before the frames are decoded.

    Attributes:
        width, height: of the frames as they are handed out (after rotation, square pixels).
        frame_rate: exact average; 24000/1001 stays that.
        num_frames: counted from the packets; None where only decoding could tell (containers without times).
        duration_s: from the first frame's start to the last one's end.
        variable_rate: True when frames do not lie on an even grid; ``Frame.time`` is then the truth, not the rate.
        start: the first picture's time in the container's clock, which the sound shares.
        time_base: unit of that clock; every ``Frame.time`` is a multiple of it (None: a multiple of 1 / frame_rate).
    """

    path: Path
    width: int
    height: int
    frame_rate: Fraction
    num_frames: int | None
    duration_s: float
    has_audio: bool
    variable_rate: bool
    kind: Literal["video", "frames", "image"]
    start: Fraction = Fraction(0)
    time_base: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stream; ``time`` in seconds since the first frame, exact."""

    index: int
    time: Fraction
    image: NDArray[np.uint8]


class FrameSource:
    """Frames in order; every ``iter`` starts again at the first one and holds its own decoder."""

    def __init__(self, info: VideoInfo, files: Sequence[Path] = ()) -> None:
        self.info = info
        self._files = files

    def __iter__(self) -> Iterator[Frame]:
        return self._video() if self.info.kind == "video" else self._images()

    def __len__(self) -> int:
        if self.info.num_frames is None:
            raise TypeError("the number of frames is only known after decoding")
        return self.info.num_frames

    def _images(self) -> Iterator[Frame]:
        for index, path in enumerate(self._files):
            image = read_image(path)
            _same_size(path, image, self.info)
            yield Frame(index, index / self.info.frame_rate, image)

    def _video(self) -> Iterator[Frame]:
        for index, pts, time_base, image in _decode_all(self.info.path):
            time = index / self.info.frame_rate if pts is None else pts * time_base - self.info.start
            yield Frame(index, time, image)


def open_frames(path: str | Path, frame_rate: Fraction = FOLDER_RATE) -> FrameSource:
    """Open a video file, a folder of PNG/JPEG frames (natural order, one size) or a still image.

    Args:
        path: what to open; the name's suffix tells a still image from a video.
        frame_rate: of a folder or a still image; videos bring their own.

    Raises:
        InputError: missing, empty, not a video, without frames, truncated; frames of unequal size while iterating.
    """
    path = Path(path)
    if path.is_dir():
        files = frame_paths(path)
    elif is_image(path):
        files = [path]
    else:
        return FrameSource(probe(path))
    width, height = image_size(files[0])
    info = VideoInfo(
        path=path,
        width=width,
        height=height,
        frame_rate=Fraction(frame_rate),
        num_frames=len(files),
        duration_s=float(len(files) / Fraction(frame_rate)),
        has_audio=False,
        variable_rate=False,
        kind="frames" if path.is_dir() else "image",
    )
    return FrameSource(info, files)


def probe(path: str | Path) -> VideoInfo:
    """Look at a video file: its packets are counted and its first frame decoded.

    Raises:
        InputError: as ``open_frames``.
    """
    return _probe(Path(path))[0]


def _probe(path: Path) -> tuple[VideoInfo, Timeline]:
    container, stream = open_container(path)
    with container:
        has_audio = any(audio.codec_context is not None for audio in container.streams.audio)
        # the container's average comes last: Matroska's is an estimate from rounded times
        stated = [stream.base_rate, stream.guessed_rate, stream.average_rate]
        timeline = scan(container, stream)
    first = _first_frame(path)
    if first is None:
        raise InputError(f"'{path}' has no frames; {RESCUE}")
    (width, height), start = first
    even = timeline.even_rate(stated)
    rate = even or timeline.average_rate or FOLDER_RATE
    duration = timeline.duration or timeline.num_packets / rate
    info = VideoInfo(
        path=path,
        width=width,
        height=height,
        frame_rate=rate,
        num_frames=timeline.num_packets if timeline.pts is not None else None,
        duration_s=float(duration),
        has_audio=has_audio,
        variable_rate=even is None,
        kind="video",
        start=start,
        time_base=timeline.time_base if timeline.pts is not None else None,
    )
    return info, timeline


def _first_frame(path: Path) -> tuple[tuple[int, int], Fraction] | None:
    """((width, height) as handed out, time in the container's clock) of the first frame; None without one."""
    for _, pts, time_base, image in _decode_all(path):
        return (image.shape[1], image.shape[0]), (pts or 0) * time_base
    return None


def _decode_all(path: Path) -> Iterator[tuple[int, int | None, Fraction, NDArray[np.uint8]]]:
    """(index, pts or None, time base, upright RGB) of every frame in order."""
    container, stream = open_container(path)
    index = 0
    with container:
        assert stream.time_base is not None
        try:
            shape = matrix = None
            for frame in container.decode(stream):
                if shape is None or matrix is None:  # later changes of size are scaled to the first frame's
                    shape, matrix = display_size(stream, frame), display_matrix(frame)
                yield index, frame.pts, stream.time_base, turn(to_rgb(frame, shape), matrix)
                index += 1
        except av.error.FFmpegError as error:
            raise InputError(f"'{path}' is damaged after {index} frames; {RESCUE}") from error


def _same_size(path: Path, image: NDArray[np.uint8], info: VideoInfo) -> None:
    height, width = image.shape[:2]
    if (width, height) != (info.width, info.height):
        raise InputError(
            f"'{path}' is {width}x{height}, the first frame {info.width}x{info.height}; give all frames one size"
        )


def read_frames(path: str | Path, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Frames by number, in the order asked for; decoding goes through them once, ascending.

    Raises:
        InputError: unreadable, or a number outside 0 … T - 1.
    """
    with RandomAccessVideo(path, cache_frames=1) as video:
        found = {index: video.frame(index) for index in sorted(set(indices))}
    return [found[index] for index in indices]


class RandomAccessVideo:
    """Frames by number out of a video file, a frame folder or a still image; for datasets.

    Going forward continues the open decoder where that is no further than a jump to the nearest key frame; the last
    ``cache_frames`` frames handed out are kept. Pickles without its decoder, so it travels into worker processes; one
    instance belongs to one thread.

    Args:
        path: as in ``open_frames``.
        cache_frames: bound of the cache, at least 1.

    Raises:
        InputError: as ``open_frames``.
    """

    def __init__(self, path: str | Path, cache_frames: int = 8) -> None:
        self.path = Path(path)
        self._cache_frames = max(1, cache_frames)
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._decoder: _Decoder | None = None
        self._files: Sequence[Path] = ()
        self._timeline: Timeline | None = None
        if self.path.is_dir() or is_image(self.path):
            source = open_frames(self.path)
            self.info, self._files = source.info, source._files
        else:
            self.info, self._timeline = _probe(self.path)

    def __len__(self) -> int:
        if self._timeline is None:
            return len(self._files)
        return self._timeline.num_packets

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame ``index`` as (H, W, 3) RGB; treat it as read-only, it may come from the cache.

        Raises:
            InputError: outside 0 … T - 1, or damaged there.
        """
        if not 0 <= index < len(self):
            raise InputError(f"'{self.path}' has the frames 0 to {len(self) - 1}, not {index}")
        if index not in self._cache:
            self._cache[index] = self._read(index)
            while len(self._cache) > self._cache_frames:
                self._cache.popitem(last=False)
        self._cache.move_to_end(index)
        return self._cache[index]

    def _read(self, index: int) -> NDArray[np.uint8]:
        if self._timeline is None:
            return read_image(self._files[index])
        if self._decoder is None:
            self._decoder = _Decoder(self.path, self._timeline)
        try:
            return self._decoder.read(index)
        except av.error.FFmpegError as error:
            self.close()
            raise InputError(f"'{self.path}' is damaged near frame {index}; {RESCUE}") from error

    def close(self) -> None:
        """Close the decoder; the next ``frame`` opens it again."""
        if self._decoder is not None:
            self._decoder.container.close()
            self._decoder = None

    def __enter__(self) -> RandomAccessVideo:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoder": None, "_cache": OrderedDict()}


class _Decoder:
    """An open container and the place it has reached."""

    def __init__(self, path: Path, timeline: Timeline) -> None:
        self.timeline, self._path = timeline, path
        self.container: InputContainer
        self.stream: VideoStream
        self._frames: Iterator[av.VideoFrame]
        self._last: av.VideoFrame | None
        self._next: int  # number of the frame that comes next; exact only for containers without times
        self._geometry: tuple[tuple[int, int], tuple[int, int, int, int]] | None = None
        self.container, self.stream = open_container(path)
        self._frames, self._last, self._next = self.container.decode(self.stream), None, 0

    def _reopen(self) -> None:
        self.container.close()
        self.container, self.stream = open_container(self._path)
        self._frames, self._last, self._next = self.container.decode(self.stream), None, 0

    def read(self, index: int) -> NDArray[np.uint8]:
        frame = self._by_count(index) if self.timeline.pts is None else self._by_time(int(self.timeline.pts[index]))
        if self._geometry is None:
            self._geometry = display_size(self.stream, frame), display_matrix(frame)
        size, matrix = self._geometry
        return turn(to_rgb(frame, size), matrix)

    def _by_count(self, index: int) -> av.VideoFrame:
        if index < self._next - 1:
            self._reopen()  # raw streams cannot seek
        while self._next <= index:
            frame = next(self._frames, None)
            if frame is None:
                break  # the container announced more frames than there are
            self._last, self._next = frame, self._next + 1
        assert self._last is not None, "probe() decoded a frame of this file"
        return self._last

    def _by_time(self, target: int) -> av.VideoFrame:
        keys = self.timeline.keyframes
        key = int(np.searchsorted(keys, target, side="right")) - 1
        reached = None if self._last is None else self._last.pts
        if reached == target and self._last is not None:
            return self._last
        if reached is None or reached > target or (key >= 0 and keys[key] > reached):
            self._jump(key, target)
        return self._forward(target)

    def _jump(self, key: int, target: int) -> None:
        """Seek so that the next decoded frame does not lie behind ``target``."""
        while True:
            # seeking goes by decoding time, which runs ahead of presentation: where it overshoots, go a key frame back
            self.container.seek(int(self.timeline.keyframes[key]) if key >= 0 else 0, stream=self.stream)
            self._frames = self.container.decode(self.stream)
            self._last = next(self._frames, None)
            if key < 0 or (self._last is not None and self._last.pts is not None and self._last.pts <= target):
                return
            key -= 1

    def _forward(self, target: int) -> av.VideoFrame:
        while self._last is None or self._last.pts is None or self._last.pts < target:
            frame = next(self._frames, None)
            if frame is None:
                break  # the last packets carried no picture of their own
            self._last = frame
        assert self._last is not None, "probe() decoded a frame of this file"
        return self._last
