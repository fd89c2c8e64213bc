"""Facial actions by name (the blendshapes of ARKit, as in ICT-FaceKit), and what phones and emotions are made of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_PAIRED = (
    "browDown",
    "browInnerUp",
    "browOuterUp",
    "cheekPuff",
    "cheekSquint",
    "eyeBlink",
    "eyeLookDown",
    "eyeLookIn",
    "eyeLookOut",
    "eyeLookUp",
    "eyeSquint",
    "eyeWide",
    "mouthDimple",
    "mouthFrown",
    "mouthLowerDown",
    "mouthPress",
    "mouthSmile",
    "mouthStretch",
    "mouthUpperUp",
    "noseSneer",
)
_SINGLE = (
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthFunnel",
    "mouthLeft",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
)

ACTIONS: tuple[str, ...] = (*(f"{name}_{side}" for name in _PAIRED for side in "LR"), *_SINGLE)
"""53 names; _L is the person's own left."""

_INDEX = {name: i for i, name in enumerate(ACTIONS)}

# Mouth shapes by eye, after the viseme charts animators use; jaw values leave headroom for emotions on top.
VOWELS = ("aa", "ah", "ee", "ih", "oh", "oo")
PHONES: dict[str, dict[str, float]] = {
    "aa": {"jawOpen": 0.62, "mouthLowerDown": 0.35, "mouthUpperUp": 0.2, "mouthStretch": 0.08},
    "ah": {"jawOpen": 0.42, "mouthLowerDown": 0.28, "mouthUpperUp": 0.14},
    "ee": {"jawOpen": 0.2, "mouthSmile": 0.28, "mouthStretch": 0.35, "mouthLowerDown": 0.42, "mouthUpperUp": 0.3},
    "ih": {"jawOpen": 0.28, "mouthStretch": 0.2, "mouthLowerDown": 0.32, "mouthUpperUp": 0.16},
    "oh": {"jawOpen": 0.45, "mouthFunnel": 0.55, "mouthPucker": 0.2},
    "oo": {"jawOpen": 0.17, "mouthPucker": 0.75, "mouthFunnel": 0.35},
    "m": {"jawOpen": 0.06, "mouthClose": 0.06, "mouthPress": 0.4, "mouthRollLower": 0.25, "mouthRollUpper": 0.2},
    "f": {"jawOpen": 0.1, "mouthRollLower": 0.5, "mouthUpperUp": 0.28},
    "s": {"jawOpen": 0.09, "mouthStretch": 0.25, "mouthLowerDown": 0.25, "mouthUpperUp": 0.12},
    "sh": {"jawOpen": 0.11, "mouthFunnel": 0.55, "mouthShrugUpper": 0.15},
    "l": {"jawOpen": 0.22, "mouthUpperUp": 0.12, "mouthLowerDown": 0.15},
    "k": {"jawOpen": 0.2, "mouthLowerDown": 0.14},
}
EMOTIONS: dict[str, dict[str, float]] = {
    # after the facial action units of EMFACS, translated to blendshapes
    "joy": {
        "mouthSmile": 0.85,
        "cheekSquint": 0.6,
        "eyeSquint": 0.35,
        "mouthUpperUp": 0.3,
        "mouthDimple": 0.2,
        "jawOpen": 0.12,
    },
    "smile": {"mouthSmile": 0.55, "cheekSquint": 0.25, "mouthDimple": 0.15},
    "laughter": {
        "mouthSmile": 0.8,
        "jawOpen": 0.45,
        "cheekSquint": 0.7,
        "eyeSquint": 0.5,
        "mouthUpperUp": 0.4,
        "mouthLowerDown": 0.3,
    },
    "sadness": {"browInnerUp": 0.8, "mouthFrown": 0.65, "mouthShrugLower": 0.4, "eyeSquint": 0.25, "browDown": 0.15},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.85, "eyeWide": 0.7, "jawOpen": 0.5, "mouthFunnel": 0.15},
    "anger": {
        "browDown": 0.9,
        "eyeSquint": 0.4,
        "noseSneer": 0.35,
        "mouthPress": 0.55,
        "mouthFrown": 0.25,
        "jawForward": 0.15,
    },
    "disgust": {"noseSneer": 0.8, "mouthUpperUp": 0.5, "browDown": 0.5, "mouthFrown": 0.35, "cheekSquint": 0.3},
    "fear": {
        "browInnerUp": 0.8,
        "browOuterUp": 0.35,
        "browDown": 0.25,
        "eyeWide": 0.8,
        "mouthStretch": 0.55,
        "jawOpen": 0.2,
    },
    "doubt": {"browOuterUp_L": 0.8, "browDown_R": 0.55, "mouthLeft": 0.3, "mouthPress": 0.3, "mouthShrugUpper": 0.2},
    "contempt": {"mouthSmile_R": 0.5, "mouthDimple_R": 0.5, "eyeSquint": 0.2, "mouthRight": 0.15},
    "pout": {"mouthPucker": 0.6, "mouthShrugLower": 0.55, "browInnerUp": 0.35},
    "effort": {"cheekPuff": 0.7, "mouthPress": 0.4, "browDown": 0.3},
}


def activation(parts: Mapping[str, float]) -> NDArray[np.float64]:
    """{name: value} → (53,) activations; a paired name without its side stands for both sides."""
    out = np.zeros(len(ACTIONS))
    for name, value in parts.items():
        for full in (name,) if name in _INDEX else (f"{name}_L", f"{name}_R"):
            out[_INDEX[full]] = value
    return out
