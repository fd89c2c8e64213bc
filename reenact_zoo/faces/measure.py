"""Everything that is measured on a face, each instrument once per image: metrics and annotations ask here."""

from __future__ import annotations

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.align import to_normalised
from reenact_zoo.faces.detect import FaceDetector, default_detector
from reenact_zoo.faces.expression import expression_from_tddfa
from reenact_zoo.faces.head_pose import pose_from_landmarks, pose_from_tddfa
from reenact_zoo.faces.identity import MobileFaceNetIdentity
from reenact_zoo.faces.landmarks import LandmarkDetector, default_landmarks
from reenact_zoo.faces.tddfa import Tddfa
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightsMissing, WeightStore

Array = NDArray[np.float32]

MIN_SIDE_PX = 256  # smaller images are enlarged to this shorter side (bicubic) before any instrument sees them
MIN_LANDMARK_SCORE = 0.4  # median of OpenSeeFace on background; on real faces it is above 0.65
REMEMBERED_ROWS = 50_000  # at most 600 bytes each
VERSION = 1  # raised whenever a cached value could change


@dataclass(frozen=True)
class Quantity:
    """How a public quantity follows from what is stored per image.

    Attributes:
        shape: of one image's value.
        base: stored row it derives from.
        meaning: for documentation: unit, order, range.
    """

    shape: tuple[int, ...]
    base: str
    meaning: str


QUANTITIES: dict[str, Quantity] = {
    "detected": Quantity((), "detection", "1 where the detector found a face, else 0; never NaN"),
    "box": Quantity((4,), "detection", "left, top, right, bottom of the largest face, normalised to [-1, 1]"),
    "landmarks": Quantity((68, 2), "landmarks", "iBUG points of the largest face, normalised to [-1, 1], x before y"),
    "identity_mobilefacenet": Quantity((128,), "identity_mobilefacenet", "embedding of unit length"),
    "pose_3ddfa_v2": Quantity((3,), "tddfa", "yaw, pitch, roll in degrees"),
    "expression_3ddfa_v2": Quantity((10,), "tddfa", "whitened expression code"),
    "pose_pnp": Quantity((3,), "landmarks", "yaw, pitch, roll in degrees"),
}
BASE_SIZES = {"detection": 5, "landmarks": 136, "identity_mobilefacenet": 128, "tddfa": 62}
BASE_WEIGHTS = {"identity_mobilefacenet": (MobileFaceNetIdentity.name,), "tddfa": Tddfa.weights}
LANDMARK_WEIGHTS = ("openseeface_lm0", "dlib_68", "synthetic_landmarks_68")  # any one of them


class FaceMeasurer:
    """Measures quantities of images; see ``QUANTITIES``. Rows without a face are NaN.

    The largest face counts. Results are remembered by the content of the image (the float bytes), in memory and, where
    ``cache`` is given, on disk; a stored value also names the instruments and weights that made it. Nothing is loaded
    before it is asked for. Not thread-safe.

    Args:
        store: where weights lie.
        cache: folder for results; None: memory only.
        detector, landmarks: instruments; None: the defaults.
        device: where the networks run; detector and landmarks run on the CPU.
    """

    def __init__(
        self,
        store: WeightStore | None = None,
        cache: Path | None = None,
        detector: FaceDetector | None = None,
        landmarks: LandmarkDetector | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._store = store or WeightStore()
        self._given_detector, self._given_landmarks = detector, landmarks
        self._device = torch.device(device)
        self._rows = _Rows(cache)

    # --- what can be measured ---

    def missing(self, quantity: str) -> str | None:
        """None where the quantity can be measured, else which weights are needed, in words.

        Raises:
            InputError: no such quantity.
        """
        base = _quantity(quantity).base
        needs = [self._store.describe(n) for n in BASE_WEIGHTS.get(base, ()) if not self._store.available(n)]
        if base != "detection" and not self._has_landmarks():
            needs.append("landmarks from " + " or ".join(self._store.describe(n) for n in LANDMARK_WEIGHTS))
        return "; ".join(needs) or None

    def weights(self, quantity: str) -> dict[str, str]:
        """Weight files the quantity is made with, name → sha256; for records. Only where ``missing`` is None."""
        base = _quantity(quantity).base
        names = list(BASE_WEIGHTS.get(base, ()))
        if base != "detection":
            names.append(self.landmarks.name)
        if "mtcnn" in self.detector.name:
            names += ["mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"]
        return {name: self._store.sha256(name) for name in names if self._store.known(name)}

    def _has_landmarks(self) -> bool:
        return self._given_landmarks is not None or any(self._store.available(name) for name in LANDMARK_WEIGHTS)

    @cached_property
    def detector(self) -> FaceDetector:
        """The detector that is used."""
        return self._given_detector or default_detector(self._store, min_face_share=0.2)

    @cached_property
    def landmarks(self) -> LandmarkDetector:
        """The landmark instrument that is used; WeightsMissing where there is none."""
        return self._given_landmarks or default_landmarks(self._store)

    @cached_property
    def _identity(self) -> MobileFaceNetIdentity:
        return MobileFaceNetIdentity(self._store, self._device)

    @cached_property
    def _tddfa(self) -> Tddfa:
        return Tddfa(self._store, self._device)

    # --- measuring ---

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        """Quantity of every image (B, 3, H, W), RGB in [0, 1] → (B, …) float32 on the images' device, without gradient.

        Rows are NaN where no face was found or where the image itself is not finite ("detected" is 0 there).

        Raises:
            InputError: no such quantity.
            WeightsMissing: its weights are not at hand.
        """
        wanted = _quantity(quantity)
        lacking = self.missing(quantity)
        if lacking:
            raise WeightsMissing(f"'{quantity}' cannot be measured: it needs {lacking}")
        pictures = _Pictures(images.detach())
        values = self._derive(quantity, self._base(wanted.base, pictures), pictures)
        return torch.from_numpy(values.reshape(len(images), *wanted.shape)).to(images.device)

    def _derive(self, quantity: str, rows: Array, pictures: _Pictures) -> Array:
        """Stored rows (B, n) → values of the public quantity."""
        height, width = pictures.size
        if quantity == "detected":
            return np.isfinite(rows[:, 0]).astype(np.float32)
        if quantity == "box":
            return to_normalised(rows[:, :4].reshape(-1, 2, 2), height, width)
        if quantity == "landmarks":
            return to_normalised(rows.reshape(-1, 68, 2), height, width)
        if quantity == "pose_pnp":
            return np.array([pose_from_landmarks(row.reshape(68, 2)) for row in rows], np.float32).reshape(-1, 3)
        if quantity == "pose_3ddfa_v2":
            return _on_finite(rows, 3, lambda x: pose_from_tddfa(self._tddfa.parameters(x.to(self._device))))
        if quantity == "expression_3ddfa_v2":
            return _on_finite(rows, 10, expression_from_tddfa)
        return rows

    def _base(self, base: str, pictures: _Pictures) -> Array:
        """Stored rows of one kind for all pictures; whatever is not remembered is measured now."""
        signature = self._signature(base)
        rows = [self._rows.get(key, signature) for key in pictures.keys]
        # one image may stand in a batch several times: it is measured once
        todo = list({pictures.keys[i]: i for i, row in enumerate(rows) if row is None}.values())
        if todo:
            for index, row in zip(todo, self._run(base, pictures, todo)):
                self._rows.put(pictures.keys[index], signature, row)
        found = [self._rows.get(key, signature) for key in pictures.keys]
        return np.stack([row for row in found if row is not None])

    def _run(self, base: str, pictures: _Pictures, todo: list[int]) -> Array:
        rows = np.full((len(todo), BASE_SIZES[base]), np.nan, np.float32)
        if base == "detection":
            for row, index in zip(rows, todo):
                row[:] = self._detect(pictures, index)
            return rows
        if base == "landmarks":
            boxes = self._base("detection", pictures)[todo, :4]
            for row, index, box in zip(rows, todo, boxes):
                row[:] = self._locate(pictures, index, box)
            return rows
        points = self._base("landmarks", pictures)[todo].reshape(-1, 68, 2)
        seen = [bool(np.isfinite(p).all()) for p in points]
        if any(seen):
            network = self._identity.embed if base == "identity_mobilefacenet" else self._tddfa.whitened
            chosen = [index for index, good in zip(todo, seen) if good]
            with torch.inference_mode():
                result = network(pictures.enlarged(chosen), torch.from_numpy(pictures.to_enlarged(points[seen])))
            rows[seen] = result.float().cpu().numpy()
        return rows

    def _detect(self, pictures: _Pictures, index: int) -> Array:
        """Box px of the given image and score (5,); NaN without a face."""
        found = self.detector.detect(pictures.uint8(index)) if pictures.finite[index] else []
        if not found:
            return np.full(5, np.nan, np.float32)
        corners = pictures.from_enlarged(np.array(found[0].box, np.float32).reshape(2, 2))
        return np.append(corners, np.float32(found[0].score)).astype(np.float32)

    def _locate(self, pictures: _Pictures, index: int, box: Array) -> Array:
        if not np.isfinite(box).all():
            return np.full(136, np.nan, np.float32)
        enlarged = pictures.to_enlarged(box.reshape(2, 2)).reshape(4).tolist()
        points, scores = self.landmarks.detect_scored(pictures.uint8(index), [enlarged])
        if scores[0] < MIN_LANDMARK_SCORE:  # NaN passes: the instrument has no opinion
            return np.full(136, np.nan, np.float32)
        return pictures.from_enlarged(points[0]).reshape(136)

    def _signature(self, base: str) -> str:
        """Changes whenever an instrument or weight behind a stored row changes."""
        parts = [base, str(VERSION), self.detector.name]
        if base != "detection":
            parts.append(self.landmarks.name)
        for name in (*BASE_WEIGHTS.get(base, ()), parts[-1]):
            if self._store.known(name) and self._store.available(name):
                parts.append(self._store.sha256(name))
        return f"{base}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def _quantity(name: str) -> Quantity:
    if name not in QUANTITIES:
        raise InputError(f"no instrument measures '{name}'; {nearest(name, QUANTITIES)}")
    return QUANTITIES[name]


def _on_finite(rows: Array, size: int, function: Callable[[Tensor], Tensor]) -> Array:
    values = np.full((len(rows), size), np.nan, np.float32)
    good = np.isfinite(rows).all(1)
    if good.any():
        values[good] = function(torch.from_numpy(rows[good])).cpu().numpy()
    return values


class _Pictures:
    """A batch of images with its content hashes, enlarged where it is small."""

    def __init__(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected images (B, 3, H, W), got {tuple(images.shape)}")
        self._images = images.float().cpu()
        self.size = (images.shape[2], images.shape[3])
        self.finite = self._images.isfinite().flatten(1).all(1).tolist()
        self.keys = [_key(image.contiguous().numpy()) for image in self._images]
        shorter = min(self.size)
        self._scale = max(1.0, MIN_SIDE_PX / shorter)
        self._uint8: dict[int, NDArray[np.uint8]] = {}

    def enlarged(self, indices: list[int]) -> Tensor:
        """(n, 3, H', W') with the shorter side at least ``MIN_SIDE_PX``."""
        images = self._images[indices]
        if self._scale == 1.0:
            return images
        height, width = (round(side * self._scale) for side in self.size)
        return F.interpolate(images, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)

    def uint8(self, index: int) -> NDArray[np.uint8]:
        """(H', W', 3) enlarged image as detectors want it."""
        if index not in self._uint8:
            picture = (self.enlarged([index])[0].clamp(0, 1) * 255).round().byte()
            self._uint8[index] = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
        return self._uint8[index]

    def _factors(self) -> Array:
        height, width = (round(side * self._scale) for side in self.size)
        return np.array([width / self.size[1], height / self.size[0]], np.float32)

    def to_enlarged(self, points_px: Array) -> Array:
        """Points (…, 2) px of the image → px of the enlarged one (pixel centres, align_corners=False)."""
        return ((points_px + 0.5) * self._factors() - 0.5).astype(np.float32)

    def from_enlarged(self, points_px: Array) -> Array:
        """Inverse of ``to_enlarged``."""
        return ((points_px + 0.5) / self._factors() - 0.5).astype(np.float32)


def _key(image: NDArray[np.float32]) -> str:
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()


class _Rows:
    """Measured rows by image and signature: the latest in memory, all of them on disk where a folder is given."""

    def __init__(self, folder: Path | None) -> None:
        self._memory: OrderedDict[tuple[str, str], Array] = OrderedDict()
        self._folder = folder

    def get(self, key: str, signature: str) -> Array | None:
        """Row, or None where it was never measured."""
        row = self._memory.get((key, signature))
        if row is not None:
            self._memory.move_to_end((key, signature))
        elif self._folder is not None and (row := _read(self._file(key, signature))) is not None:
            self._remember(key, signature, row)
        return row

    def put(self, key: str, signature: str, row: Array) -> None:
        """Keep a row."""
        self._remember(key, signature, row.copy())
        if self._folder is not None:
            _write(self._file(key, signature), row)

    def _remember(self, key: str, signature: str, row: Array) -> None:
        self._memory[key, signature] = row
        while len(self._memory) > REMEMBERED_ROWS:
            self._memory.popitem(last=False)

    def _file(self, key: str, signature: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.{signature}.npy"


def _read(path: Path) -> Array | None:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # absent, or cut short by a full disk: measured again


def _write(path: Path, row: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.save(file, row)
            file.flush()
            Path(file.name).replace(path)  # atomic: a second process never reads half a row
        except BaseException:
            Path(file.name).unlink(missing_ok=True)  # a full disk or Ctrl-C leaves nothing behind
            raise
