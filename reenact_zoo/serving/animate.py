"""Bring one portrait to life with the motion of a video: decode, track, crop, reenact, encode, as a stream."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.align import CropPolicy, SquareBox, crop
from reenact_zoo.faces.align import paste_back as paste_into
from reenact_zoo.serving import provenance
from reenact_zoo.serving._framing import DrivingFaces, Instruments, most_alike, source_face
from reenact_zoo.serving._method import Animator, fitting_threads, load_method
from reenact_zoo.serving._pipeline import Behind, Writer, ahead
from reenact_zoo.types import InputError
from reenact_zoo.video.read import Frame, FrameSource, VideoInfo, open_frames, read_image
from reenact_zoo.video.write import FORMAT_OF, FrameFolderWriter, VideoWriter, write_image

__all__ = ["AnimationResult", "Instruments", "NoFace", "animate"]

NoFace = Literal["hold", "skip", "source", "fail"]
POLICIES = ("hold", "skip", "source", "fail")
IMAGE_OUTPUTS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class AnimationResult:
    """What ``animate`` wrote.

    Attributes:
        out: the video, image, or folder of frames.
        sidecar: the JSON beside it.
        num_frames: frames written.
        counts: driving frames by status: "ok", "held", "skipped", "source".
        seconds: wall time from the first driving frame to the finished file.
    """

    out: Path
    sidecar: Path
    num_frames: int
    counts: dict[str, int]
    frame_rate: Fraction
    seconds: float

    @property
    def frames_per_second(self) -> float:
        """Driving frames per second of wall time, end to end."""
        return sum(self.counts.values()) / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class _Settings:
    no_face: NoFace
    face: int | None
    relative: bool
    best_frame: bool
    paste_back: bool
    concat: bool
    whole: bool


def animate(
    source: Path | Sequence[Path],
    driving: Path,
    out: Path,
    *,
    method: str,
    checkpoint: Path | None = None,
    no_face: NoFace = "hold",
    face: int | None = None,
    relative: bool = False,
    best_frame: bool = False,
    paste_back: bool = False,
    size: int | None = None,
    concat: bool = False,
    whole: bool = False,
    consent: str = "",
    progress: bool = True,
    device: str = "auto",
    instruments: Instruments | None = None,
) -> AnimationResult:
    """Reenact the face of ``source`` with every frame of ``driving`` and write ``out``, with a sidecar JSON beside it.

    A video keeps the driving clip's frame times and its sound, cut to the pictures. Source and driving face are each
    cut out as a square; the driving square rests until the face leaves its middle, then follows.

    Args:
        source: picture with a face; several of one person for methods that use them (``one_shot``).
        driving: video, folder of frames, or picture.
        out: .mp4, .m4v, .mov or .mkv; .png or .jpg for a single driving picture; a name without suffix for a folder of
            PNG frames. A file is replaced when the new one is complete.
        method: registered name, or "module:Class".
        checkpoint: trained weights; needed by every method that is trained.
        no_face: for driving frames without a face: "hold" the last result (the source before there is one), "skip" the
            frame (the one before stays on screen, so sound stays in step), show the "source", or "fail".
        face: number of the face in pictures that show several, 0 being the largest; None: the largest, with a note.
        relative: motion relative to the first driving face; for methods that know ``driving_reference``.
        best_frame: relative motion counts from the driving frame whose landmarks lie most like the source's, instead of
            the first; the clip is read twice.
        paste_back: put the result back into the source picture, whose size the output then has.
        size: side of the crop in pixels; None: what the method was trained at, else 256.
        concat: source, driving crop and result side by side.
        whole: give the method the largest centred square of each picture instead of a square around the face; what a
            protocol with uncropped frames does, so that ``evaluate --pred`` can score the frames.
        consent: free text about the consent of the person shown; goes into metadata and sidecar.
        progress: a bar on the terminal (stderr).
        device: "auto", "cpu", "cuda".
        instruments: face detector and landmarks; None: the defaults.

    Raises:
        InputError: anything the user can mend; nothing is then left under the name of ``out``.
    """
    sources = [Path(path) for path in ([source] if isinstance(source, str | Path) else source)]
    driving, out = Path(driving), Path(out)
    settings = _Settings(no_face, face, relative, best_frame, paste_back, concat, whole)
    _check_settings(settings, size)
    if not sources:
        raise InputError("there is no source picture; give at least one")
    kind = _output_kind(out, [*sources, driving])
    pictures, frames = [read_image(path) for path in sources], open_frames(driving)
    _check_output(kind, out, frames.info)
    model, side = load_method(method, checkpoint, size, device)
    weights = checkpoint or model.weights_file
    instruments = instruments or Instruments.default()
    job = _Job(settings, sources, pictures, frames.info, instruments, CropPolicy(size=side), model)
    about = {
        "method": method,
        "weights_sha256": "none" if weights is None else provenance.content_sha256(weights),
        "source_sha256": job.hashes[0],
        "driving_sha256": provenance.content_sha256(driving),
        "consent": consent,
    }
    begun = time.perf_counter()
    writer = _writer(kind, out, job, frames.info, provenance.describe(**about))
    with fitting_threads(model), Behind(writer) as sink:
        statuses = job.run(frames, sink, progress)
    sidecar = _write_sidecar(out, about, job, weights, statuses)
    counts = Counter(status for _, status in statuses)
    return AnimationResult(
        out=out,
        sidecar=sidecar,
        num_frames=len(statuses) - counts["skipped"],
        counts=dict(counts),
        frame_rate=frames.info.frame_rate,
        seconds=time.perf_counter() - begun,
    )


class _Job:
    """One animation: turns driving frames into output images and remembers what became of each."""

    def __init__(
        self,
        settings: _Settings,
        sources: Sequence[Path],
        pictures: Sequence[NDArray[np.uint8]],
        info: VideoInfo,
        instruments: Instruments,
        policy: CropPolicy,
        model: Any,
    ) -> None:
        self.settings, self.sources, self.info, self.instruments = settings, sources, info, instruments
        self.picture, self.size = pictures[0], policy.size
        self.hashes = [provenance.content_sha256(path) for path in sources]
        self.faces = [
            source_face(picture, instruments, policy, settings.face, path, settings.whole)
            for picture, path in zip(pictures, sources)
        ]
        self.face = self.faces[0]
        self._animator = Animator(model, self.faces, settings.relative)
        self._policy = policy
        self._faces = DrivingFaces(instruments, policy, settings.face, info.path, settings.whole)
        self._held: NDArray[np.uint8] | None = None
        self._square: SquareBox | None = None

    @property
    def output_size(self) -> tuple[int, int]:
        """(width, height) of the images that ``run`` writes."""
        if self.settings.paste_back:
            return self.picture.shape[1], self.picture.shape[0]
        return (3 if self.settings.concat else 1) * self.size, self.size

    def run(self, frames: FrameSource, sink: Behind, progress: bool) -> list[tuple[Fraction, str]]:
        """(time, status) of every driving frame.

        Raises:
            InputError: no face in any driving frame, or in one under the policy "fail".
        """
        statuses = []
        if self.settings.best_frame:
            self._count_from_best_frame()
        with _bar(progress, frames.info.num_frames) as advance, contextlib.closing(ahead(frames)) as stream:
            for frame in stream:
                result, status = self._result(frame)
                statuses.append((frame.time, status))
                if result is not None:
                    sink.write(self._composed(result, frame), frame.time)
                advance()
        if all(status != "ok" for _, status in statuses):
            raise InputError(
                f"no face found in any of the {len(statuses)} frames of '{self.info.path}' (tried: detector "
                f"{self.instruments.detector.name}, landmarks {self.instruments.landmarks.name}); "
                "give a clip that shows a face from the front"
            )
        return statuses

    def _count_from_best_frame(self) -> None:
        path = self.info.path
        faces = DrivingFaces(self.instruments, self._policy, self.settings.face, path, self.settings.whole)
        found = most_alike(open_frames(path), faces, self.face.landmarks)
        if found is not None:  # else no frame has a face, which ``run`` says
            self._animator.count_from(found)

    def _result(self, frame: Frame) -> tuple[NDArray[np.uint8] | None, str]:
        face = self._faces.crop(frame.image)
        made = None
        if face is not None:
            self._square = face.square
            made = self._animator.reenact(face)
        if made is not None:
            self._held = made
            return made, "ok"
        return self._substitute(frame.index)

    def _substitute(self, index: int) -> tuple[NDArray[np.uint8] | None, str]:
        policy = self.settings.no_face
        if policy == "fail":
            raise InputError(
                f"no face in frame {index} of '{self.info.path}'; --no-face hold, skip or source goes on instead"
            )
        if policy == "skip":
            return None, "skipped"
        if policy == "hold" and self._held is not None:
            return self._held, "held"
        return self.face.image, "source"

    def _composed(self, result: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
        if self.settings.paste_back:
            return paste_into(self.picture, result, self.face.square)
        if self.settings.concat:
            square = self._square or SquareBox.of_image(*frame.image.shape[:2])
            return np.hstack([self.face.image, crop(frame.image, square, self.size), result])
        return result


# --- output -----------------------------------------------------------------------------------------------------------


class _SingleImage:
    """A ``Writer`` for one image."""

    def __init__(self, path: Path, metadata: dict[str, str]) -> None:
        self._path, self._metadata = path, metadata
        self._image: NDArray[np.uint8] | None = None

    def write(self, image: NDArray[np.uint8], time: Fraction | None = None) -> None:
        self._image = image

    def close(self) -> None:
        if self._image is None:
            raise InputError(f"'{self._path}' was not written: there was no frame to write")
        write_image(self._path, self._image, self._metadata)

    def abort(self) -> None:
        self._image = None


OutputKind = Literal["video", "image", "folder"]


def _output_kind(out: Path, inputs: Sequence[Path]) -> OutputKind:
    for taken in inputs:
        if out.exists() and taken.exists() and out.samefile(taken):
            raise InputError(f"'{out}' is also an input; choose another name for the output")
    suffix = out.suffix.lower()
    if suffix in FORMAT_OF and not out.is_dir():
        return "video"
    if suffix in IMAGE_OUTPUTS and not out.is_dir():
        return "image"
    if not suffix or out.is_dir():
        return "folder"
    raise InputError(
        f"cannot write '{out}': end its name in {', '.join(FORMAT_OF)} for a video, in .png or .jpg for an image, "
        "or in no suffix for a folder of frames"
    )


def _check_output(kind: OutputKind, out: Path, driving: VideoInfo) -> None:
    if kind == "image" and driving.num_frames != 1:
        raise InputError(
            f"'{driving.path}' has more than one frame, '{out}' holds one; "
            "end the output's name in .mp4, or in no suffix for a folder of frames"
        )


def _check_settings(settings: _Settings, size: int | None) -> None:
    if settings.no_face not in POLICIES:
        raise InputError(f"unknown policy '{settings.no_face}' for frames without a face; known: {', '.join(POLICIES)}")
    if settings.paste_back and settings.concat:
        raise InputError("paste-back and concat exclude each other: the images would differ in size")
    if settings.best_frame and not settings.relative:
        raise InputError("a best frame is one that relative motion counts from; add --relative")
    if settings.face is not None and settings.face < 0:
        raise InputError(f"faces are numbered from 0 (the largest); there is no face {settings.face}")
    if size is not None and not 16 <= size <= 4096:
        raise InputError(f"size {size} is outside 16 to 4096 pixels")


def _writer(kind: OutputKind, out: Path, job: _Job, driving: VideoInfo, metadata: dict[str, str]) -> Writer:
    if kind == "folder":
        return FrameFolderWriter(out, metadata)
    if kind == "image":
        return _SingleImage(out, metadata)
    return VideoWriter(
        out,
        driving.frame_rate,
        job.output_size,
        audio_from=driving.path if driving.has_audio else None,
        audio_start=driving.start,
        metadata=metadata,
        time_base=driving.time_base if driving.variable_rate else None,
    )


def _write_sidecar(
    out: Path, about: dict[str, str], job: _Job, weights: Path | None, statuses: list[tuple[Fraction, str]]
) -> Path:
    info = job.info
    described = [
        {"name": path.name, "sha256": sha256, "square": asdict(face.square)}
        for path, sha256, face in zip(job.sources, job.hashes, job.faces, strict=True)
    ]
    content: dict[str, Any] = {
        "method": {
            "name": about["method"],
            "checkpoint": weights.name if weights else None,
            "weights_sha256": about["weights_sha256"],
        },
        "consent": about["consent"] or "not stated",
        "source": described[0],
        **({"extra_sources": described[1:]} if described[1:] else {}),
        "driving": {
            "name": info.path.name,
            "sha256": about["driving_sha256"],
            "frame_rate": str(info.frame_rate),
            "variable_rate": info.variable_rate,
            "time_base": str(info.time_base or 1 / info.frame_rate),
        },
        "instruments": {"detector": job.instruments.detector.name, "landmarks": job.instruments.landmarks.name},
        "settings": {**asdict(job.settings), "size": job.size},
        "counts": dict(Counter(status for _, status in statuses)),
        "frames": [{"time": str(moment), "status": status} for moment, status in statuses],
    }
    try:
        return provenance.write_sidecar(out, content)
    except BaseException:
        # an output that nothing vouches for must not stay; a folder of frames is the user's to look at first
        if out.is_file():
            out.unlink()
        raise


@contextlib.contextmanager
def _bar(wanted: bool, total: int | None) -> Iterator[Any]:
    """Progress on stderr with rate and time left; yields what advances it by one frame."""
    if not wanted or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("animate"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("animate", total=total, rate="")

        def advance() -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate=f"{speed:.0f} frames/s" if speed else "")

        yield advance
