"""Everything that is measured on a face, each instrument once per image: metrics and annotations ask here."""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.faces._pictures import MIN_SIDE_PX, Array, Pictures
from reenact_zoo.faces._rows import Row, Rows
from reenact_zoo.faces.align import to_normalised
from reenact_zoo.faces.detect import FaceDetector, default_detector
from reenact_zoo.faces.instrument import AlignedInstrument
from reenact_zoo.faces.landmarks import DEFAULT_ORDER, LandmarkDetector, default_landmarks
from reenact_zoo.faces.quantities import INSTRUMENTS, QUANTITIES, quantity
from reenact_zoo.weights.store import WeightsMissing, WeightStore, cache_folder

__all__ = ["MIN_SIDE_PX", "QUANTITIES", "FaceMeasurer", "measured_folder"]

MIN_LANDMARK_SCORE = 0.4  # where the instrument states none
AT_ONCE = 32  # images per run of a network; bounds memory
MTCNN_WEIGHTS = ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")


def measured_folder() -> Path:
    """Where results are kept between runs: ``measured`` in the user cache ($REENACT_ZOO_CACHE)."""
    return cache_folder() / "measured"


class FaceMeasurer:
    """Measures quantities of images; see ``faces.quantities``. Rows without a face are NaN.

    The largest face counts. Results are remembered by the content of the image (the float bytes), in memory and, where
    ``cache`` is given, on disk; a stored value also names the code, the instruments and the weight files that made it,
    so that a changed file makes its own results new and no others. Nothing is loaded before it is asked for.

    Networks run in float32, inside autocast too, and without TF32: a record must not depend on the device, and bfloat16
    changes what they say (60 real frames: 3DDFA_V2 angles by up to 2.2 degrees, a MobileFaceNet embedding to a cosine
    of 0.93 with itself). Not thread-safe.

    Args:
        store: where weights lie.
        cache: folder for results, for example ``measured_folder()``; None: memory only.
        detector, landmarks: instruments, whose names say everything that decides their results; None: the defaults.
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
        self._rows = Rows(cache)
        self._instruments: dict[str, AlignedInstrument] = {}
        self._signatures: dict[str, str] = {}

    # --- what can be measured ---

    def missing(self, name: str) -> str | None:
        """None where the quantity can be measured, else which weights are needed, in words.

        Raises:
            InputError: no such quantity.
        """
        row = quantity(name).row
        needs = [self._store.describe(n) for n in self._own_weights(row) if not self._store.available(n)]
        if row != "detection" and not self._has_landmarks():
            needs.append("landmarks from " + " or ".join(self._store.describe(n) for n in DEFAULT_ORDER))
        return "; ".join(needs) or None

    def weights(self, name: str) -> dict[str, str]:
        """Weight files the quantity is made with, name → sha256; for records. Only where ``missing`` is None."""
        return self._hashes(self._all_weights(quantity(name).row))

    def judges(self, name: str) -> tuple[str, ...]:
        """Weight entries of the quantity's own instrument: a method trained with one of them must not be judged by it.

        Detector and landmarks are no judges: every method may look where the face is.
        """
        return self._own_weights(quantity(name).row)

    def _own_weights(self, row: str) -> tuple[str, ...]:
        return INSTRUMENTS[row].weights if row in INSTRUMENTS else ()

    def _all_weights(self, row: str) -> list[str]:
        names = list(self._own_weights(row))
        if row != "detection":
            names.append(self.landmarks.name)
        if "mtcnn" in self.detector.name:
            names += MTCNN_WEIGHTS
        return names

    def _hashes(self, names: list[str]) -> dict[str, str]:
        return {name: self._store.sha256(name) for name in names if self._store.known(name)}

    def _has_landmarks(self) -> bool:
        return self._given_landmarks is not None or any(self._store.available(name) for name in DEFAULT_ORDER)

    @cached_property
    def detector(self) -> FaceDetector:
        """The detector that is used."""
        return self._given_detector or default_detector(self._store, min_face_share=0.2)

    @cached_property
    def landmarks(self) -> LandmarkDetector:
        """The landmark instrument that is used; WeightsMissing where there is none."""
        return self._given_landmarks or default_landmarks(self._store)

    def _instrument(self, row: str) -> AlignedInstrument:
        if row not in self._instruments:
            self._instruments[row] = INSTRUMENTS[row].load(self._store, self._device)
        return self._instruments[row]

    # --- measuring ---

    def measure(self, name: str, images: Tensor) -> Tensor:
        """Quantity of every image (B, 3, H, W), RGB in [0, 1] → (B, …) float32 on the images' device, without gradient.

        Rows are NaN where no face was found or where the image itself is not finite ("detected" is 0 there).

        Raises:
            InputError: no such quantity.
            WeightsMissing: its weights are not at hand.
        """
        wanted = quantity(name)
        lacking = self.missing(name)
        if lacking:
            raise WeightsMissing(f"'{name}' cannot be measured: it needs {lacking}")
        pictures = Pictures(images)
        rows = self._measured(wanted.row, pictures)
        if wanted.row in INSTRUMENTS and INSTRUMENTS[wanted.row].is_map:
            values = _pictures_of(rows, (wanted.shape[0], *pictures.size))
        else:
            values = _part_of(name, np.stack(rows), pictures.size).reshape(len(images), *wanted.shape)
        return torch.from_numpy(values).to(images.device)

    def _measured(self, row: str, pictures: Pictures) -> list[Row]:
        """Stored rows of one kind for all pictures; whatever is not remembered is measured now."""
        signature = self._signature(row)
        known = self._rows.get(pictures.keys, signature)
        # one image may stand in a batch several times: it is measured once
        todo = {key: index for index, key in enumerate(pictures.keys) if key not in known}
        if todo:
            fresh = dict(zip(todo, self._run(row, pictures, list(todo.values()))))
            self._rows.put(fresh, signature)
            known |= fresh
        return [known[key] for key in pictures.keys]

    def _run(self, row: str, pictures: Pictures, todo: list[int]) -> list[Row]:
        if row == "detection":
            return [self._detect(pictures, index) for index in todo]
        if row == "landmarks":
            boxes = self._measured("detection", pictures)
            return [self._locate(pictures, index, boxes[index][:4]) for index in todo]
        landmarks = self._measured("landmarks", pictures)
        seen = [index for index in todo if np.isfinite(landmarks[index]).all()]
        made: dict[int, Row] = {}
        for first in range(0, len(seen), AT_ONCE):
            chosen = seen[first : first + AT_ONCE]
            points = np.stack([landmarks[index].reshape(68, 2) for index in chosen])
            made |= zip(chosen, self._apply(row, pictures, chosen, points))
        return [made[index] if index in made else _no_face(row) for index in todo]

    def _apply(self, row: str, pictures: Pictures, chosen: list[int], points: Array) -> list[Row]:
        is_map = INSTRUMENTS[row].is_map
        # numbers are read from enlarged faces; a picture has to fit the image it belongs to
        images = pictures.as_given(chosen) if is_map else pictures.enlarged(chosen)
        points = points if is_map else pictures.to_enlarged(points)
        with torch.inference_mode(), _exact(self._device):
            result = self._instrument(row)(images, torch.from_numpy(points)).float().cpu()
        if is_map:
            return list((result.clamp(0, 1) * 255).round().byte().flatten(1).numpy())
        return list(result.numpy())

    def _detect(self, pictures: Pictures, index: int) -> Array:
        """Box px of the given image and score (5,); NaN without a face."""
        found = self.detector.detect(pictures.uint8(index)) if pictures.finite[index] else []
        if not found:
            return np.full(5, np.nan, np.float32)
        corners = pictures.from_enlarged(np.array(found[0].box, np.float32).reshape(2, 2))
        return np.append(corners, np.float32(found[0].score)).astype(np.float32)

    def _locate(self, pictures: Pictures, index: int, box: Array) -> Array:
        if not np.isfinite(box).all():
            return np.full(136, np.nan, np.float32)
        enlarged = pictures.to_enlarged(box.reshape(2, 2)).reshape(4).tolist()
        points, scores = self.landmarks.detect_scored(pictures.uint8(index), [enlarged])
        # NaN passes: the instrument has no opinion
        if scores[0] < getattr(self.landmarks, "min_score", MIN_LANDMARK_SCORE):
            return np.full(136, np.nan, np.float32)
        return pictures.from_enlarged(points[0]).reshape(136)

    def _signature(self, row: str) -> str:
        """Changes whenever the code, an instrument or a weight file behind a stored row changes."""
        if row not in self._signatures:
            parts = [row, _code_hash(), self.detector.name]
            if row != "detection":
                parts.append(self.landmarks.name)
            parts += [f"{name}={sha}" for name, sha in self._hashes(self._all_weights(row)).items()]
            self._signatures[row] = f"{row}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"
        return self._signatures[row]


def _part_of(name: str, rows: Array, size: tuple[int, int]) -> Array:
    """Stored rows (B, n) → values of the public quantity."""
    if name == "detected":
        return np.isfinite(rows[:, 0]).astype(np.float32)
    if name in ("box", "landmarks"):
        points = rows[:, :4] if name == "box" else rows
        return to_normalised(points.reshape(len(rows), -1, 2), *size)
    wanted = quantity(name)
    return rows[:, wanted.start : wanted.start + int(np.prod(wanted.shape))]


def _pictures_of(rows: list[Row], shape: tuple[int, ...]) -> Array:
    """Rows of bytes, or empty without a face → (B, *shape) in [0, 1]."""
    blank = np.full(shape, np.nan, np.float32)
    return np.stack([row.reshape(shape).astype(np.float32) / 255 if row.size else blank for row in rows])


def _no_face(row: str) -> Row:
    instrument = INSTRUMENTS[row]
    return np.zeros(0, np.uint8) if instrument.is_map else np.full(instrument.size, np.nan, np.float32)


class _exact:
    """Inside: no autocast, no TF32."""

    def __init__(self, device: torch.device) -> None:
        self._autocast = torch.autocast(device.type, enabled=False)
        self._cudnn: Any = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)

    def __enter__(self) -> None:
        self._autocast.__enter__()
        self._cudnn.__enter__()

    def __exit__(self, *reason: Any) -> None:
        self._cudnn.__exit__(*reason)
        self._autocast.__exit__(*reason)


@cache
def _code_hash() -> str:
    """sha256 over the modules of ``faces`` and ``faces.networks``: edited code never reads what older code wrote."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.py"), *folder.glob("networks/*.py")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
