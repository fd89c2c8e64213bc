"""Action units: how strongly each facial movement of FACS shows, from a user's network or from landmarks alone."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from reenact_zoo.faces.face_input import HOPENET_FACE
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore

Array = NDArray[np.float64]


class ActionUnitDetector(Protocol):
    """An aligned instrument whose numbers are action units.

    Attributes:
        name: of the stored row.
        weights: manifest entries it needs.
        size: number of units.
        units: FACS number of each.
        threshold: at and above this value a unit counts as present.
    """

    name: str
    weights: tuple[str, ...]
    size: int
    units: tuple[int, ...]
    threshold: float

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px of these images → (B, size) in [0, 1]."""


# --- a network of the user's ----------------------------------------------------------------------------------------


class ExportedActionUnits:
    """An action-unit network that the user has exported to ONNX (say, OpenGraphAU's); not differentiable.

    The file reads (B, 3, 224, 224) RGB, ImageNet-normalised, of a loose square around the face, and answers (B, A)
    probabilities; its metadata key "action_units" lists the FACS numbers: "1,2,4,6". ONNX files hold no code.

    Args:
        store: where action_units_onnx lies.
        device: not used: onnxruntime works on the CPU here.

    Raises:
        WeightsMissing: the file is not at hand.
        InputError: it does not say which units it knows.
    """

    name = "action_units_exported"
    weights: tuple[str, ...] = ("action_units_onnx",)
    threshold = 0.5
    face = HOPENET_FACE

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        import onnxruntime

        path = (store or WeightStore()).path(self.weights[0])
        self._session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.units = _declared(self._session.get_modelmeta().custom_metadata_map, path.name)
        self.size = len(self.units)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """See the protocol."""
        faces = self.face(images.detach().cpu(), landmarks_px)
        (entrance,) = self._session.get_inputs()
        rows = [self._session.run(None, {entrance.name: face[None]})[0] for face in faces.numpy()]
        values = torch.from_numpy(np.concatenate(rows)).float()
        if values.shape[1] != self.size:
            raise InputError(f"{self.weights[0]} declares {self.size} action units and answers {values.shape[1]}")
        return values.clamp(0, 1)


FACS_NUMBERS = 64


class ExportedActionUnitTable:
    """``ExportedActionUnits`` spread over the FACS numbers 1 to 64, so that every network fills the same row.

    Column u - 1 is unit u; NaN where the network does not know the unit, or its number is above 64.

    Raises:
        WeightsMissing, InputError: see ``ExportedActionUnits``.
    """

    name = "action_units_exported"
    weights: tuple[str, ...] = ExportedActionUnits.weights
    size = FACS_NUMBERS
    units = tuple(range(1, FACS_NUMBERS + 1))
    threshold = ExportedActionUnits.threshold

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self._network = ExportedActionUnits(store, device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """See the protocol, NaN apart."""
        values = self._network(images, landmarks_px)
        table = values.new_full((len(values), FACS_NUMBERS), float("nan"))
        for column, unit in zip(values.T, self._network.units):
            if 1 <= unit <= FACS_NUMBERS:
                table[:, unit - 1] = column
        return table


def _declared(metadata: dict[str, str], file: str) -> tuple[int, ...]:
    try:
        return tuple(int(unit) for unit in metadata["action_units"].split(","))
    except (KeyError, ValueError) as error:
        raise InputError(
            f'{file} does not say which units it knows: give it the ONNX metadata entry "action_units", say "1,2,4,6"'
        ) from error


# --- geometry -------------------------------------------------------------------------------------------------------

SHAPES_OF_UNIT: dict[int, tuple[str, ...]] = {
    1: ("browInnerUp_L", "browInnerUp_R"),
    2: ("browOuterUp_L", "browOuterUp_R"),
    4: ("browDown_L", "browDown_R"),
    5: ("eyeWide_L", "eyeWide_R"),
    9: ("noseSneer_L", "noseSneer_R"),
    10: ("mouthUpperUp_L", "mouthUpperUp_R"),
    12: ("mouthSmile_L", "mouthSmile_R"),
    15: ("mouthFrown_L", "mouthFrown_R"),
    16: ("mouthLowerDown_L", "mouthLowerDown_R"),
    18: ("mouthPucker",),
    20: ("mouthStretch_L", "mouthStretch_R"),
    26: ("jawOpen",),
    45: ("eyeBlink_L", "eyeBlink_R"),
}
"""FACS number → the blend shapes of ICT-FaceKit that show it. Cheeks (6), lid tightening (7), dimples (14), chin (17)
and lip pressing (23, 24) hardly move landmarks, so geometry cannot see them."""

NOISE_CM = 0.15  # of one landmark: instrument plus what the directions cannot say
CONTOUR_WEIGHT = 0.15  # points 0-16 slide along the visible outline
UNIT_STD = 0.5  # of a unit's strength a priori: most rest at 0
ITERATIONS = 4


class _Directions(NamedTuple):
    mean: Array  # (68, 3) cm: x right, y up, z towards the camera
    identity: Array  # (I, 68, 3) per standard deviation
    units: Array  # (A, 68, 3) at full strength


@cache
def _directions() -> _Directions:
    path = files("reenact_zoo") / "bundled" / "action_units" / "action_units.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        return _Directions(*(arrays[name].astype(np.float64) for name in _Directions._fields))


class GeometricActionUnits:
    """Action units from the 68 landmarks alone: a rough fallback that needs no file, not differentiable.

    A linear face (ICT-FaceKit's mean points, 14 modes of identity, one direction per unit) is fitted under a scaled
    orthographic camera; strengths are not negative. It sees only what moves landmarks, takes a face with high brows for
    one that raises them, and shares every error of the landmarks. Not comparable with figures of trained detectors.
    """

    name = "action_units_geometric"
    weights: tuple[str, ...] = ()
    units = tuple(SHAPES_OF_UNIT)
    size = len(SHAPES_OF_UNIT)
    threshold = 0.3

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        """Arguments of every instrument; none is needed here."""

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """See the protocol; the images are not looked at."""
        rows = [strengths(row) for row in landmarks_px.detach().cpu().double().numpy()]
        return torch.from_numpy(np.stack(rows)).float().to(landmarks_px.device)


def strengths(landmarks_px: Array) -> Array:
    """(68, 2) px, y down → (A,) in [0, 1]; Gauss-Newton from the rigid pose, non-negative least squares in each step.

    Symbols: u = s P R X + t, X = mean + Σ c_k M_k + Σ a_u D_u, P drops the depth; c ~ N(0, 1), a ≥ 0.
    """
    face = _directions()
    target = landmarks_px * [1, -1]
    pose = _Pose.rigid(face.mean, target)
    points = face.mean
    units = np.zeros(len(face.units))
    for _ in range(ITERATIONS):
        step, identity, units = _solve(face, points, pose, target)
        pose = pose.moved(step)
        points = face.mean + np.tensordot(identity, face.identity, 1) + np.tensordot(units, face.units, 1)
    return units.clip(0, 1)


class _Pose(NamedTuple):
    scale: float  # px per cm
    rotation: Array  # (3, 3)
    shift: Array  # (2,) px, y up

    @classmethod
    def rigid(cls, points: Array, target: Array) -> _Pose:
        """Least-squares affine map of the points that slide little, then the nearest rotation."""
        fixed = slice(17, 68)
        centre, middle = points[fixed].mean(0), target[fixed].mean(0)
        affine = np.linalg.lstsq(points[fixed] - centre, target[fixed] - middle, rcond=None)[0].T  # (2, 3)
        left, values, right = np.linalg.svd(affine, full_matrices=False)
        rows = left @ right
        scale = max(float(values.mean()), 1e-6)
        return cls(scale, np.stack([*rows, np.cross(*rows)]), middle - scale * rows @ centre)

    def moved(self, step: Array) -> _Pose:
        """After (log scale, small rotation (3,), shift (2,))."""
        angle = float(np.linalg.norm(step[1:4]))
        x, y, z = step[1:4] / max(angle, 1e-12)
        k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turn = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
        scale = self.scale * float(np.exp(np.clip(step[0], -0.5, 0.5)))
        return _Pose(scale, turn @ self.rotation, self.shift + step[4:])


def _solve(face: _Directions, points: Array, pose: _Pose, target: Array) -> tuple[Array, Array, Array]:
    """One step, the rotation linearised at ``points``: change of the pose (6,), identity (I,), units (A,)."""
    turned = pose.scale * points @ pose.rotation.T
    x, y, z = turned.T
    one, nil = np.ones(68), np.zeros(68)
    # columns: log scale, small rotation (ω × RX), shift; a row for u_x and one for u_y
    rigid = np.stack([np.stack([x, nil, z, -y, one, nil], 1), np.stack([y, -z, nil, x, nil, one], 1)], 1)
    flexible = pose.scale * np.concatenate([face.identity, face.units]) @ pose.rotation[:2].T  # (I + A, 68, 2)
    base = pose.scale * face.mean @ pose.rotation[:2].T + pose.shift
    weight = np.ones(68)
    weight[:17] = CONTOUR_WEIGHT
    root = np.sqrt(np.repeat(weight, 2)) / (pose.scale * NOISE_CM)
    count = len(face.identity)
    free = np.concatenate([rigid.reshape(136, 6), flexible[:count].reshape(count, 136).T], 1) * root[:, None]
    bound = flexible[count:].reshape(-1, 136).T * root[:, None]
    residual = (target - base).reshape(136) * root
    free, bound, residual = _with_priors(free, bound, residual, count)
    # the free unknowns leave what their columns span; the bounded ones are fitted to the rest
    basis, _ = np.linalg.qr(free)
    rest = bound - basis @ (basis.T @ bound)
    units, _ = nnls(rest, residual - basis @ (basis.T @ residual))
    solved = np.linalg.lstsq(free, residual - bound @ units, rcond=None)[0]
    return solved[:6], solved[6:], units


def _with_priors(free: Array, bound: Array, residual: Array, identities: int) -> tuple[Array, Array, Array]:
    """Rows c_k = 0 (unit weight) and a_u = 0 (weight 1 / UNIT_STD) below the data's."""
    units = bound.shape[1]
    pull = np.concatenate([np.zeros((identities, 6)), np.eye(identities)], 1)
    free = np.concatenate([free, pull, np.zeros((units, free.shape[1]))])
    bound = np.concatenate([bound, np.zeros((identities, units)), np.eye(units) / UNIT_STD])
    return free, bound, np.concatenate([residual, np.zeros(identities + units)])
