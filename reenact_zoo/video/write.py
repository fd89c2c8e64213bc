"""Writing videos, frame folders and images so that a file under its final name is always whole.

Everything is written beside its target under a name that ends in ".part" plus the suffix, and renamed when complete. An
error or Ctrl-C removes the part; nothing else in the folder is touched.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from reenact_zoo.types import InputError
from reenact_zoo.video._container import open_container, scan
from reenact_zoo.video._sound import SoundCopier
from reenact_zoo.video.images import check_is_file, is_image
from reenact_zoo.video.read import probe

FORMAT_OF = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


class VideoWriter:
    """Writes H.264 (yuv420p, BT.709) with exact times; a context manager that renames on success and removes on error.

    An odd width or height is padded to even by repeating the last column or row, because yuv420p halves both.

    Args:
        path: .mp4, .m4v, .mov or .mkv; an existing file is replaced on success.
        frame_rate: exact; 24000/1001 stays that.
        size: (width, height) of the images that will come.
        audio_from: file whose sound is carried over, cut at the end of the last picture. Its clock counts from
            ``audio_start``, the time of the picture that belongs to time 0.
        audio_start: see ``VideoInfo.start``; read from the file when None.
        metadata: goes into the container, readable by ``read_metadata`` and ffprobe.
        time_base: unit of the times given to ``write``; 1 / frame_rate when None. Variable-rate video needs its own.
        crf: 0 (lossless) … 51; 16 is visually lossless.

    Raises:
        InputError: not writable, disk full, unknown suffix; at the call that meets it.
    """

    def __init__(
        self,
        path: str | Path,
        frame_rate: Fraction,
        size: tuple[int, int],
        *,
        audio_from: Path | None = None,
        audio_start: Fraction | None = None,
        metadata: Mapping[str, str] | None = None,
        time_base: Fraction | None = None,
        crf: int = 16,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in FORMAT_OF:
            raise InputError(f"cannot write '{self.path}': a video's name must end in {', '.join(FORMAT_OF)}")
        self.size = size
        self._rate = Fraction(frame_rate)
        self._time_base = Fraction(time_base) if time_base else 1 / self._rate
        self._frames = 0
        self._last_pts = -1
        self._part = part_path(self.path)
        self._container: OutputContainer | None = None
        self._sound: SoundCopier | None = None
        with _explained(self.path), self._undone_on_error():
            self._container = self._open(dict(metadata or {}))
            self._stream = self._video_stream(self._container, crf)
            if audio_from is not None:
                start = probe(audio_from).start if audio_start is None else audio_start
                any_codec = FORMAT_OF[self.path.suffix.lower()] == "matroska"
                self._sound = SoundCopier(Path(audio_from), self._container, start, copy_any=any_codec)
            self._container.start_encoding()  # the header too meets a full disk here, not minutes later

    def write(self, image: NDArray[np.uint8], time: Fraction | None = None) -> None:
        """Append (H, W, 3) RGB, shown from ``time`` in seconds (None: the next place on the even grid).

        Times must ascend; one that rounds to its predecessor's is moved by one unit of the time base.
        """
        if self._container is None:
            raise ValueError("the writer is closed")
        width, height = self.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 ({height}, {width}, 3), got {image.dtype} {image.shape}")
        time = self._frames / self._rate if time is None else time
        pts = max(round(time / self._time_base), self._last_pts + 1)
        with _explained(self.path), self._undone_on_error():
            if self._sound is not None:
                self._sound.advance(time)
            self._container.mux(self._stream.encode(self._frame(image, pts)))
        self._last_pts, self._frames = pts, self._frames + 1

    def close(self) -> None:
        """Finish: flush, cut the sound, check the part, rename it. Without a single frame this is an error."""
        if self._container is None:
            return
        if not self._frames:
            self.abort()
            raise InputError(f"'{self.path}' was not written: there was no frame to write")
        with _explained(self.path), self._undone_on_error():
            self._container.mux(self._stream.encode(None))
            if self._sound is not None:
                self._sound.advance((self._last_pts * self._time_base) + 1 / self._rate)
                self._sound.close()
            self._container.close()
            self._container = None
            self._check()
            _rename(self._part, self.path)

    def abort(self) -> None:
        """Give up: close and remove the part."""
        for item in (self._sound, self._container):
            if item is not None:
                # what went wrong before was reported; a second error while cleaning up only hides it
                with contextlib.suppress(OSError, ValueError, av.error.FFmpegError):
                    item.close()
        self._sound = self._container = None
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @contextlib.contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # Ctrl-C too
            self.abort()
            raise

    def _open(self, metadata: dict[str, str]) -> OutputContainer:
        _check_target(self.path)
        kind, options = FORMAT_OF[self.path.suffix.lower()], {}
        if kind != "matroska":
            options["movflags"] = "use_metadata_tags+faststart"
            # a first frame later than 0 is stored in this unit; FFmpeg's own choice, milliseconds, would round it
            options["movie_timescale"] = str(_track_timescale(self._time_base))
        container = av.open(f"file:{self._part}", mode="w", format=kind, container_options=options)
        container.metadata.update(metadata)
        return container

    def _video_stream(self, container: OutputContainer, crf: int) -> VideoStream:
        # veryfast: at CRF 16 the files are some 10 % larger than medium's, for a third of the time
        stream = container.add_stream("libx264", rate=self._rate, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height = (side + side % 2 for side in self.size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base
        stream.time_base = self._time_base
        context.thread_count = 2  # each thread holds frames: memory must not depend on the machine's cores
        context.colorspace, context.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
        context.color_primaries, context.color_trc = int(ColorPrimaries.BT709), int(ColorTrc.BT709)
        return stream

    def _frame(self, image: NDArray[np.uint8], pts: int) -> av.VideoFrame:
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = pts, self._time_base
        return frame

    def _check(self) -> None:
        """Read the part's index back: a short write that no call reported must not get the final name."""
        container, stream = open_container(self._part)
        with container:
            found = scan(container, stream).num_packets
        if found != self._frames:
            raise OSError(errno.EIO, f"{found} of {self._frames} frames arrived")


class FrameFolderWriter:
    """Writes lossless PNG frames 000000.png, 000001.png … into a folder that appears when it is complete.

    Args:
        path: folder; must not exist, or be empty.
        metadata: into every frame, as ``write_image``.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self._metadata = dict(metadata or {})
        self._frames = 0
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise InputError(f"'{self.path}' exists and is no empty folder; give a new name or empty it first")
        self._part = part_path(self.path)
        with _explained(self.path):
            _check_parent(self.path)
            self._part.mkdir()

    def write(self, image: NDArray[np.uint8], time: Fraction | None = None) -> None:
        """Append (H, W, 3) RGB; frames have no times, ``time`` is ignored."""
        with _explained(self.path):
            _save(self._part / f"{self._frames:06d}.png", image, self._metadata)
        self._frames += 1

    def close(self) -> None:
        """Rename the folder; without a single frame this is an error."""
        if not self._frames:
            self.abort()
            raise InputError(f"'{self.path}' was not written: there was no frame to write")
        with _explained(self.path):
            self._part.replace(self.path)

    def abort(self) -> None:
        """Give up: remove the part."""
        shutil.rmtree(self._part, ignore_errors=True)

    def __enter__(self) -> FrameFolderWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.close()
        except BaseException:
            self.abort()
            raise


def write_image(path: str | Path, image: NDArray[np.uint8], metadata: Mapping[str, str] | None = None) -> None:
    """Write (H, W, 3) RGB at once or not at all; metadata as PNG text chunks, or as JSON in a JPEG's comment.

    Raises:
        InputError: unknown suffix, not writable, disk full.
    """
    path = Path(path)
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise InputError(f"cannot write '{path}': an image's name must end in .png, .jpg or .jpeg")
    part = part_path(path)
    try:
        with _explained(path):
            _check_target(path)
            _save(part, image, dict(metadata or {}))
            _rename(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of a video or image; keys in lower case (Matroska stores upper case). {} where there is none.

    Raises:
        InputError: unreadable.
    """
    path = Path(path)
    if not is_image(path):
        container, _ = open_container(path)
        with container:
            return {key.lower(): value for key, value in container.metadata.items()}
    check_is_file(path)
    try:
        with Image.open(path) as image:
            image.load()  # PNG text may come after the pixels
            if isinstance(image, PngImagePlugin.PngImageFile):
                return {str(key).lower(): str(value) for key, value in image.text.items()}
            comment = image.info.get("comment", b"{}")
    except (OSError, SyntaxError) as error:
        raise InputError(f"'{path}' is not a readable image ({error})") from error
    return _json_object(comment)


def part_path(path: Path) -> Path:
    """Where ``path`` grows: hidden beside it, unique, with the same suffix."""
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(3)}.part{path.suffix}")


def write_text(path: Path, text: str) -> None:
    """Write a text file at once or not at all."""
    part = part_path(path)
    try:
        with _explained(path):
            _check_target(path)
            part.write_text(text, encoding="utf-8")
            _rename(part, path)
    finally:
        part.unlink(missing_ok=True)


def _json_object(comment: bytes | str) -> dict[str, str]:
    try:
        found: Any = json.loads(comment)
    except ValueError:
        return {}  # somebody else's comment
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _save(path: Path, image: NDArray[np.uint8], metadata: Mapping[str, str]) -> None:
    picture = Image.fromarray(image)
    if path.suffix.lower() == ".png":
        text = PngImagePlugin.PngInfo()
        for key, value in metadata.items():
            text.add_itxt(key, value)
        picture.save(path, format="PNG", pnginfo=text, compress_level=4)
    else:
        comment = json.dumps(dict(metadata), ensure_ascii=False).encode()
        picture.save(path, format="JPEG", quality=95, subsampling=0, comment=comment)


def _track_timescale(time_base: Fraction) -> int:
    """Ticks per second that FFmpeg gives an MP4 track of this time base: the denominator, doubled to 10,000 or more."""
    ticks = time_base.denominator
    while ticks < 10_000:
        ticks *= 2
    return min(ticks, 2**31 - 1)


def _rename(part: Path, path: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())  # some file systems report a full disk only now
    part.replace(path)


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"cannot write '{path}': it is a folder; give a file name")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"cannot write '{path}': the folder '{path.parent}' does not exist; create it first")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the system's refusals into one line."""
    try:
        yield
    except InputError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(f"no space left while writing '{path}'; free some or choose another place") from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"cannot write '{path}': permission denied; choose another place") from error
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write '{path}': {reason}") from error
