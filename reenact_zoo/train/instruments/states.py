"""Which moments of which synthetic people the instruments learn from: wide poses, many expressions, every light."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.datasets._actions import ACTIONS
from reenact_zoo.datasets._motion import MAX_GAZE_DEG, _plausible
from reenact_zoo.datasets.synthetic import LIGHT_SPREAD, VERGENCE_DEG, Synthetic
from reenact_zoo.faces.morphable._dense import pose_from_rotation

Array = NDArray[np.float64]

MAX_ROTATION_DEG = (75.0, 35.0, 30.0)  # wider than the benchmark's poses, so that those lie well inside
AS_PLAYED = 0.4  # share of frames whose pose, and share whose expression, is the clip's own
_FREE = np.array([not name.startswith("eyeLook") for name in ACTIONS])  # gaze is drawn as an angle


def random_states(dataset: Synthetic, clip: str, seed: np.random.SeedSequence) -> Tensor:
    """(T, K) coefficients: the clip's person, every frame in another pose, expression, light and framing."""
    rng = np.random.default_rng(seed)
    head, layout = dataset.head, dataset.head.layout
    played = {name: part.clone() for name, part in layout.split(dataset.coefficients(clip)).items()}
    count = len(played["pose"])
    motion = dataset.motion(clip)
    turned = np.where(rng.random((count, 1)) < AS_PLAYED, motion.rotation_deg, _rotations(rng, count))
    own = rng.random((count, 1)) < AS_PLAYED
    actions = np.where(own, motion.actions, _actions(rng, motion.actions))
    gaze = np.where(own, motion.gaze_deg, np.clip(rng.normal(0, (9, 6), (count, 2)), *_limits()))
    gaze = np.concatenate([gaze, np.full((count, 1), VERGENCE_DEG)], axis=1)
    columns = [ACTIONS.index(name) for name in head.expression_names]
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    light = layout.split(head.sample(generator, count))["light"]
    played["light"] = light * (LIGHT_SPREAD * _float(rng.uniform(0.5, 1.6, (count, 1))))
    played["expression"] = _float(actions[:, columns])
    played["pose"] = pose_from_rotation(_float(turned), _float(gaze))
    played["camera"] = _float(
        np.concatenate([rng.uniform(0.05, 0.42, (count, 1)), rng.uniform(-0.16, 0.16, (count, 2))], axis=1)
    )
    return layout.join(**played)


def _limits() -> tuple[Array, Array]:
    most = np.array(MAX_GAZE_DEG)
    return -most, most


def _rotations(rng: np.random.Generator, count: int) -> Array:
    """(count, 3) degrees: yaw uniform, pitch and roll normal."""
    drawn = np.stack([rng.uniform(-75, 75, count), rng.normal(0, 15, count), rng.normal(0, 11, count)], axis=1)
    return np.clip(drawn, -np.array(MAX_ROTATION_DEG), MAX_ROTATION_DEG)


def _actions(rng: np.random.Generator, played: Array) -> Array:
    """(T, 53) a few random actions at random strength, often of both sides alike, over a trace of what is played."""
    count = len(played)
    chosen = (rng.random((count, len(ACTIONS))) < rng.uniform(0.02, 0.22, (count, 1))) & _FREE
    strength = chosen * rng.beta(1.2, 1.2, (count, len(ACTIONS)))
    both = rng.random(count) < 0.6
    for number, name in enumerate(ACTIONS):
        if name.endswith("_L"):
            other = ACTIONS.index(f"{name[:-2]}_R")
            strength[both, other] = strength[both, number]
    return _plausible(strength + rng.uniform(0, 0.4, (count, 1)) * played)


def _float(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
