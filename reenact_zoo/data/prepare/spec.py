"""What preparation does to a clip, and with which versions: everything that decides the bytes that come out."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av

from reenact_zoo.datasets._shards import FORMAT
from reenact_zoo.faces.annotate import QUANTITIES_OF, split_key
from reenact_zoo.faces.detect import default_detector
from reenact_zoo.faces.landmarks import default_landmarks
from reenact_zoo.faces.measure import MTCNN_WEIGHTS
from reenact_zoo.registry import METHODS, nearest
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore

CODE = 1
"""Raised whenever equal input and settings would give other bytes."""
POLICIES = ("tube", "boxes", "none")
CODECS = ("jpeg", "png")


@dataclass(frozen=True)
class PrepareSpec:
    """How clips are prepared.

    Attributes:
        policy: the square that is cut out of all frames of a clip. "tube": around the union of the face's landmarks in
            all of them; "boxes": around the official box of the clip; "none": the largest centred square. Never
            squashed: a box becomes a square of its longer side.
        scale: side of the square as a multiple of the longer side of that union or box ("none" ignores it).
        shift_y: offset of the centre as a share of that longer side, positive downwards ("tube" only).
        size: side of the frames that are written, in pixels.
        frame_rate: frames per second that are written, each the source's nearest in time; "" keeps every frame, and
            with it the numbers that frozen pairs use. Clips without a frame rate keep every frame.
        codec, quality: "jpeg" of that quality, without chroma subsampling; or "png", lossless.
        annotations: estimated and kept: "landmarks", "coefficients", "parsing", "matte".
        min_tracked: least share of frames in which the face must be found.
        max_frames: only the first frames of each clip; the index is marked partial.
        clips_per_shard: clips of one shard file.
    """

    policy: str = "tube"
    scale: float = 2.0
    shift_y: float = -0.15
    size: int = 256
    frame_rate: str = "25"
    codec: str = "jpeg"
    quality: int = 95
    annotations: tuple[str, ...] = ("landmarks",)
    min_tracked: float = 0.5
    max_frames: int | None = None
    clips_per_shard: int = 100

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        for value, known, what in ((self.policy, POLICIES, "box policy"), (self.codec, CODECS, "codec")):
            if value not in known:
                raise InputError(f"unknown {what} '{value}'; {nearest(value, known)}")
        for name in self.annotations:
            if name not in QUANTITIES_OF:
                raise InputError(f"no instrument estimates '{name}'; {nearest(name, QUANTITIES_OF)}")
        if min(self.size, self.clips_per_shard, self.max_frames or 1) < 1 or self.scale <= 0:
            raise InputError("size, scale, max_frames and clips_per_shard must be positive")
        if not 1 <= self.quality <= 100:
            raise InputError(f"JPEG quality lies in 1 to 100, not {self.quality}")
        try:
            positive = self.rate is None or self.rate > 0
        except (ValueError, ZeroDivisionError):
            positive = False
        if not positive:
            raise InputError(f"'{self.frame_rate}' is no frame rate; give 25, 30000/1001 …, or nothing to keep all")

    @property
    def rate(self) -> Fraction | None:
        """``frame_rate`` as a number; None keeps every frame."""
        return Fraction(self.frame_rate) if self.frame_rate else None

    @property
    def tracks(self) -> bool:
        """Whether the face is followed through the clip."""
        return self.policy == "tube" or "landmarks" in self.annotations

    @property
    def measured(self) -> tuple[str, ...]:
        """Annotations that are estimated from the prepared frame; landmarks are tracked in the source's."""
        return tuple(name for name in self.annotations if name != "landmarks")


def required_by(methods: Iterable[str]) -> tuple[str, ...]:
    """Annotations that some methods require for use or training, sorted.

    Raises:
        InputError: unknown method.
    """
    classes = [METHODS.get(method) for method in methods]
    keys = {key for cls in classes for key in cls.requires | cls.training_requires} - {"extra_sources"}
    names = {split_key(key)[1].removesuffix("_window") for key in keys if key != "driving_reference"}
    return tuple(sorted(names))


def versions(spec: PrepareSpec) -> dict[str, str]:
    """Versions of code, codecs, instruments and weights behind the result.

    Raises:
        InputError: an instrument has no weights; names them.
    """
    packages = ["av", "numpy", "opencv-python-headless", "pillow", "pyarrow"]
    pinned = {"code": str(CODE), "machine": platform.machine()}
    pinned |= {f"ffmpeg {name}": ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())}
    if spec.tracks:
        packages += ["dlib-bin", "onnxruntime"]
        detector, landmarks = default_detector(), default_landmarks()
        files = [f"{name} {_sha256(name)}" for name in MTCNN_WEIGHTS if "mtcnn" in detector.name]
        pinned |= {"detector": ", ".join([detector.name, *files])}
        pinned |= {"landmarks": f"{landmarks.name} {_sha256(landmarks.name)}"}
    if spec.measured:
        packages.append("torch")
        pinned |= _instruments(spec)
    return pinned | {name: _version(name) for name in packages}


def _instruments(spec: PrepareSpec) -> dict[str, str]:
    from reenact_zoo.faces.measure import FaceMeasurer

    measurer, pinned = FaceMeasurer(), {}
    for name in spec.measured:
        quantities = QUANTITIES_OF[name]
        usable = [quantity for quantity in quantities if measurer.missing(quantity) is None]
        if not usable:
            needs = ", or ".join(str(measurer.missing(quantity)) for quantity in quantities)
            raise InputError(f"'{name}' cannot be estimated: it needs {needs}")
        files = [f"{weights} {sha256[:16]}" for weights, sha256 in measurer.weights(usable[0]).items()]
        pinned[name] = ", ".join([usable[0], *files])
    return pinned


def _sha256(weights: str) -> str:
    store = WeightStore()
    return store.sha256(weights)[:16] if store.known(weights) else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # the module may come from a distribution of another name
        return "unknown"


def plan(
    spec: PrepareSpec, dataset: str, config: dict[str, Any], clips_sha256: str, limit: int | None
) -> dict[str, Any]:
    """What an unfinished or finished preparation must agree with to be continued, as JSON holds it."""
    return {
        "format": FORMAT,
        "dataset": dataset,
        "config": {key: value for key, value in config.items() if key not in ("root", "cache_frames")},
        "spec": asdict(spec) | {"annotations": list(spec.annotations)},
        "versions": versions(spec),
        "clips_sha256": clips_sha256,
        "limit": limit,
    }
