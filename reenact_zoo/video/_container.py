"""Opening video files with FFmpeg (PyAV), safely and with errors that a user can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from reenact_zoo.types import InputError
from reenact_zoo.video.images import check_is_file

# Containers, no playlists or scripts: an ".mp4" that is really an m3u8 or ffconcat text may point to files and hosts.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,"
    "h264,hevc,ivf,mjpeg,m4v,mxf,dv,nut,rm,yuv4mpegpipe"
)
USUAL_RATES = (*(Fraction(n * 1000, 1001) for n in (24, 30, 60, 120)), *map(Fraction, (24, 25, 30, 48, 50, 60, 120)))
RESCUE = "re-encode it with 'ffmpeg -i IN -c:v libx264 OUT.mp4'"


def open_container(path: Path) -> tuple[InputContainer, VideoStream]:
    """Container and its first picture stream (cover art of audio files is none).

    Raises:
        InputError: missing, a folder, empty, no video, or no picture stream.
    """
    check_is_file(path)
    # "file:" keeps a name with a colon from being taken for a protocol
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(f"file:{path}", mode="r", options=options, metadata_errors="replace")
    except av.error.PermissionError as error:
        raise InputError(f"'{path}' may not be read; change its permissions") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"'{path}' is not a video that FFmpeg can read (or it is truncated); {RESCUE}") from error
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None:
            # frame threads for decoding; 0 would take every core of a large machine and the memory for its frames
            stream.thread_type = "AUTO"
            return container, stream
    container.close()
    raise InputError(f"'{path}' holds no pictures, only sound or data; give a video")


@dataclass(frozen=True)
class Timeline:
    """Presentation times of a video's packets, found without decoding.

    Attributes:
        pts: (T,) ascending int64 in units of ``time_base``; None where the container has no times (raw streams).
        keyframes: ascending subset of ``pts`` at which decoding can start.
        num_packets: packets that carry a frame.
        end: where the last frame ends, in the same unit.
    """

    time_base: Fraction
    num_packets: int
    pts: NDArray[np.int64] | None
    keyframes: NDArray[np.int64]
    end: int

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's start to the last one's end."""
        if self.pts is None or not len(self.pts):
            return Fraction(0)
        return (self.end - int(self.pts[0])) * self.time_base

    def even_rate(self, stated: Iterable[Fraction | None]) -> Fraction | None:
        """The frame rate on whose even grid every frame lies, up to the container's rounding; None without one.

        Tried are the usual rates that a ``stated`` one only misses by rounding (Matroska makes 19001/317 out of
        60000/1001), then the stated ones.
        """
        given = [Fraction(rate) for rate in stated if rate]
        usual = [near for rate in given for near in USUAL_RATES if abs(rate / near - 1) < Fraction(1, 2500)]
        for rate in [*usual, *given]:
            if self.pts is None or self._is_even(rate):
                return rate
        return None

    def _is_even(self, rate: Fraction) -> bool:
        assert self.pts is not None
        elapsed = (self.pts - self.pts[0]).astype(np.float64)
        step = float(1 / (rate * self.time_base))
        # a container that counts milliseconds writes 33, 67, 100 for an even 30 fps
        return bool(np.abs(elapsed - step * np.arange(len(elapsed))).max() <= 1.01)

    @property
    def average_rate(self) -> Fraction | None:
        """Frames per second between the first and the last frame; None for fewer than two."""
        if self.pts is None or len(self.pts) < 2:
            return None
        return (len(self.pts) - 1) / (int(self.pts[-1] - self.pts[0]) * self.time_base)


def scan(container: InputContainer, stream: VideoStream) -> Timeline:
    """Read all packets of ``stream`` (no decoding; some 100,000 per second), then the container must be rewound.

    Raises:
        InputError: an mp4/mov file whose index points behind its end, which is what a broken download looks like.
    """
    path = container.name.removeprefix("file:")
    _refuse_truncated(stream, Path(path))
    pts, keys, ends, known = [], [], [], True
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            known = known and packet.pts is not None
            pts.append(packet.pts or 0)
            ends.append((packet.pts or 0) + (packet.duration or 0))
            if packet.is_keyframe:
                keys.append(packet.pts or 0)
    except av.error.FFmpegError as error:
        raise InputError(f"'{path}' is damaged after {len(pts)} frames; {RESCUE}") from error
    assert stream.time_base is not None
    ordered = np.unique(np.asarray(pts, dtype=np.int64))
    return Timeline(
        time_base=stream.time_base,
        num_packets=len(pts),
        pts=ordered if known and len(ordered) == len(pts) else None,  # without a time for each frame there is no index
        keyframes=np.unique(np.asarray(keys, dtype=np.int64)),
        end=max(ends, default=0),
    )


def _refuse_truncated(stream: VideoStream, path: Path) -> None:
    if stream.container.format.name.startswith("mov"):
        needed = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        if needed > path.stat().st_size:
            raise InputError(
                f"'{path}' is truncated: {path.stat().st_size} of {needed} bytes are there; copy or download it again"
            )


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the container's display matrix in {-1, 0, 1}: x' = a x + c y, y' = b x + d y, y down."""
    side_data: Any = frame.side_data  # the stub lists a subset of the names that it accepts
    try:
        data = side_data["DISPLAYMATRIX"]
    except KeyError:
        return (1, 0, 0, 1)
    m = np.frombuffer(bytes(data), dtype=np.int32)
    a, b, c, d = (int(m[i]) for i in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):  # the nearest quarter turn; nobody films at 30 degrees on purpose
        return (1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)


def turn(image: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Apply a display matrix (quarter turns and mirrors) to (H, W, 3)."""
    a, b, c, d = matrix
    if a == 0:
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    if flip_x:
        image = image[:, ::-1]
    if flip_y:
        image = image[::-1]
    return np.ascontiguousarray(image)


def display_size(stream: VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """(width, height) with square pixels, before rotation: anamorphic video is stretched in width."""
    ratio = stream.sample_aspect_ratio
    if not ratio or ratio <= 0:
        return frame.width, frame.height
    return max(1, round(frame.width * ratio)), frame.height


def to_rgb(frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decoded frame → (H, W, 3) RGB of ``size`` (width, height), by the matrix and range it declares (else BT.601)."""
    return frame.to_ndarray(format="rgb24", width=size[0], height=size[1])  # type: ignore[return-value]
