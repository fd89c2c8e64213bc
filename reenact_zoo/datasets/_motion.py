"""How a synthetic person moves: seeded events (turns, nods, phones, blinks, glances, emotions), played smoothly.

Nothing here knows a head model: the result is head rotation, head position, gaze, and the activations of named facial
actions (the 53 blendshape names of ARKit and ICT-FaceKit). Timing follows the literature in round figures: head turns
are minimum-jerk (Flash and Hogan 1985) and lag the eyes, which counter-rotate; lips blend phones by dominance
functions (Cohen and Massaro 1993); blinks close in about 80 ms and open twice as slowly, some 17 a minute.

Every stream of events draws from its own generator and in order of time, so the first frames of a clip do not depend
on how long the clip is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.datasets._actions import ACTIONS, EMOTIONS, PHONES, VOWELS, activation

Array = NDArray[np.float64]

MAX_ROTATION_DEG = (60.0, 25.0, 18.0)  # yaw, pitch, roll: bounds of the benchmark's poses
MAX_GAZE_DEG = (26.0, 18.0)  # of the eyes in the head, horizontal and vertical
REST_LIDS = 0.14  # closedness of relaxed lids: they cover the iris' upper edge; without they stare
_STREAMS = ("framing", "turns", "sway", "nods", "speech", "blinks", "shifts", "glances", "emotions", "asymmetry")


@dataclass(frozen=True)
class Motion:
    """Movement of one clip, T frames.

    Attributes:
        rotation_deg: (T, 3) yaw, pitch, roll of the head.
        position: (T, 3) log of the size relative to the standard framing, then x and y in widths of the image
            (y upwards).
        gaze_deg: (T, 2) yaw and pitch of the eyes in the head, both positive as for the head.
        actions: (T, len(ACTIONS)) activations in [0, 1].
    """

    rotation_deg: Array
    position: Array
    gaze_deg: Array
    actions: Array


def move(seed: np.random.SeedSequence, frames: int, frame_rate: float) -> Motion:
    """Movement of a clip of ``frames`` frames; a pure function of its arguments, prefix-stable in ``frames``."""
    rngs = dict(zip(_STREAMS, (np.random.default_rng(s) for s in seed.spawn(len(_STREAMS)))))
    time = np.arange(frames) / frame_rate
    end = float(time[-1]) if frames else 0.0
    looked = _targets(rngs["turns"], end)
    rotation = _head_rotation(rngs, time, looked)
    actions = _speech(rngs["speech"], time, end)
    actions += _emotions(rngs["emotions"], time, end)
    actions *= 1 + 0.12 * rngs["asymmetry"].standard_normal(len(ACTIONS))  # no face is symmetric
    gaze = _gaze(rngs["glances"], time, end, looked, rotation)
    blink = _blinks((rngs["blinks"], rngs["shifts"]), time, end, [turn.time for turn in looked if turn.amplitude > 20])
    actions = np.maximum(actions, np.maximum(blink, REST_LIDS)[:, None] * activation({"eyeBlink": 1.0}))
    return Motion(rotation, _position(rngs["framing"], rngs["sway"], time, rotation), gaze, _plausible(actions))


@dataclass(frozen=True)
class _Turn:
    """The person turns to (yaw, pitch, roll) at ``time``; ``amplitude`` degrees away from where it looked before."""

    time: float
    target: Array
    amplitude: float


def _events(rng: np.random.Generator, end: float, gap: Callable[[np.random.Generator], float]) -> Iterator[float]:
    """Times of a renewal process, from before the clip begins (so that frame 0 is no special moment) past its end."""
    time = -4.0 + gap(rng) * rng.random()
    while time < end + 1:
        yield time
        time += gap(rng)


def _targets(rng: np.random.Generator, end: float) -> list[_Turn]:
    turns: list[_Turn] = []
    before = np.zeros(3)
    for time in _events(rng, end, lambda r: 0.5 + r.gamma(2.0, 0.45)):
        target = _direction(rng)
        turns.append(_Turn(time, target, float(np.abs(target - before).max())))
        before = target
    return turns


def _direction(rng: np.random.Generator) -> Array:
    """Mostly towards the viewer, often to somebody beside, at times far to the side."""
    kind, side = rng.random(), rng.choice([-1.0, 1.0])
    far, near = rng.uniform(25, 57), rng.uniform(0, 25)
    yaw = side * (far if kind < 0.4 else near) if kind < 0.8 else rng.normal(0, 6)
    pitch = np.clip(rng.normal(-1.0, 7.5), -20, 19)
    roll = np.clip(rng.normal(-0.06 * yaw, 4.0), -14, 14)
    return np.array([yaw, pitch, roll])


def _minimum_jerk(progress: Array) -> Array:
    s = np.clip(progress, 0, 1)
    return np.asarray(s**3 * (10 - 15 * s + 6 * s**2))


def _head_rotation(rngs: Mapping[str, np.random.Generator], time: Array, turns: list[_Turn]) -> Array:
    head = np.zeros((len(time), 3))
    at = np.zeros(3)
    for turn in turns:
        # a turn of 10° takes 0.35 s, one of 60° 0.75 s; the head leaves 0.12 s after the eyes
        step = _minimum_jerk((time - turn.time - 0.12) / (0.27 + 0.008 * turn.amplitude))
        head += step[:, None] * (turn.target - at)
        at = turn.target
    tremble = _drift(rngs["sway"], time, 3, (0.3, 2.5)) * (1.1, 1.3, 0.9)
    head += tremble + _nods(rngs["nods"], time)
    return np.clip(head, -np.array(MAX_ROTATION_DEG), MAX_ROTATION_DEG)


def _nods(rng: np.random.Generator, time: Array) -> Array:
    """Now and then a nod (pitch) or a head shake (yaw): two or three swings under a smooth envelope."""
    out = np.zeros((len(time), 3))
    for start in _events(rng, float(time[-1]) if len(time) else 0.0, lambda r: 1.2 + r.gamma(2.0, 1.6)):
        axis = 1 if rng.random() < 0.75 else 0
        size, swings, rate = rng.uniform(3, 9), rng.integers(1, 4), rng.uniform(1.6, 2.6)
        phase = (time - start) * rate
        envelope = np.where((phase > 0) & (phase < swings), np.sin(np.pi * np.clip(phase / swings, 0, 1)) ** 2, 0.0)
        out[:, axis] -= size * envelope * np.sin(2 * np.pi * phase)
    return out


def _drift(rng: np.random.Generator, time: Array, count: int, band: tuple[float, float]) -> Array:
    """(T, count) smooth noise of unit variance with frequencies in ``band`` hertz: seven random waves each."""
    waves = 7
    rate = np.exp(rng.uniform(np.log(band[0]), np.log(band[1]), (count, waves)))
    phase = rng.uniform(0, 2 * np.pi, (count, waves))
    weight = rng.standard_normal((count, waves)) / np.sqrt(waves / 2)
    return np.asarray((weight * np.cos(2 * np.pi * rate * time[:, None, None] + phase)).sum(-1))


def _position(framing: np.random.Generator, sway: np.random.Generator, time: Array, rotation: Array) -> Array:
    centre = _FRAMING + np.clip(framing.normal(0, (0.08, 0.04, 0.025)), -_FRAMING_SPREAD, _FRAMING_SPREAD)
    moved = _drift(sway, time, 3, (0.08, 0.45)) * (0.02, 0.012, 0.007)
    lean = np.stack((0 * time, rotation[:, 0] / 60 * 0.015, rotation[:, 1] / 25 * 0.006), axis=1)
    out = centre + np.clip(moved + lean, -0.6 * _FRAMING_SPREAD, 0.6 * _FRAMING_SPREAD)
    out[:, 2] = np.minimum(out[:, 2], (_SHOULDERS * np.exp(out[:, 0]) - 1.02) / 2)  # no bust that hovers in the frame
    return np.asarray(out)


_FRAMING = np.array([0.14, 0.0, -0.005])  # a little nearer than the renderer's standard; log size, x, y in image widths
_FRAMING_SPREAD = np.array([0.14, 0.08, 0.05])
_SHOULDERS = 1.03  # the heads end this many half frames below the centre at standard size


def _speech(rng: np.random.Generator, time: Array, end: float) -> Array:
    """Phrases with pauses; in a phrase some four syllables a second, each a consonant and a vowel."""
    blend, total = np.zeros((len(time), len(ACTIONS))), np.full(len(time), 0.3)  # 0.3: pull of the closed, silent mouth
    brows = activation({"browInnerUp": 0.45, "browOuterUp": 0.35})
    stress = np.zeros(len(time))
    for start in _events(rng, end, lambda r: 1.0 + r.gamma(2.5, 0.9)):
        effort, at = rng.uniform(0.7, 1.2), start
        stop = start + rng.uniform(0.7, 2.4)
        while at < stop:
            for phone in (rng.choice(_CONSONANTS), rng.choice(VOWELS)):
                length = rng.uniform(0.09, 0.15)
                pull = _bump((time - at) / (0.42 * length))
                blend += pull[:, None] * activation(PHONES[phone]) * effort
                total += pull
                at += length
            if rng.random() < 0.18:  # a stressed syllable lifts the brows
                stress = np.maximum(stress, rng.uniform(0.3, 0.9) * _bump((time - at) / 0.16))
    return np.asarray(blend / total[:, None] + stress[:, None] * brows)


def _bump(x: Array) -> Array:
    """Gaussian, cut off so that what is said later has no trace before."""
    return np.where(np.abs(x) < 5, np.exp(-0.5 * x**2), 0.0)


_CONSONANTS = tuple(name for name in PHONES if name not in VOWELS)


def _emotions(rng: np.random.Generator, time: Array, end: float) -> Array:
    """Onset, apex and slower decay of one emotion after another, over a faint mood that lasts the clip."""
    names = tuple(EMOTIONS)
    out = np.outer(np.ones(len(time)), activation(EMOTIONS[str(rng.choice(names))])) * rng.uniform(0, 0.15)
    for start in _events(rng, end, lambda r: 1.8 + r.gamma(2.0, 1.0)):
        name, strength = str(rng.choice(names)), rng.uniform(0.25, 1.0)
        onset, apex, decay = rng.uniform(0.25, 0.6), rng.uniform(0.4, 1.8), rng.uniform(0.6, 1.4)
        rise = _minimum_jerk((time - start) / onset)
        fall = _minimum_jerk((time - start - onset - apex) / decay)
        out = np.maximum(out, (strength * (rise - fall))[:, None] * activation(EMOTIONS[name]))
    return np.asarray(out)


def _gaze(rng: np.random.Generator, time: Array, end: float, turns: list[_Turn], rotation: Array) -> Array:
    """Where the eyes point in the head: they jump to the new target first and hold it while the head follows."""
    wanted = np.zeros((len(time), 2))
    at = np.zeros(2)
    for turn in turns:
        step = _minimum_jerk((time - turn.time) / 0.07)  # a saccade
        wanted += step[:, None] * (turn.target[:2] - at)
        at = turn.target[:2]
    glance, off = np.zeros((len(time), 2)), np.zeros(2)
    for start in _events(rng, end, lambda r: 0.25 + r.gamma(1.6, 0.5)):
        new = rng.normal(0, (2.5, 1.5)) if rng.random() < 0.75 else rng.normal(0, (7.0, 4.0))
        glance += _minimum_jerk((time - start) / 0.06)[:, None] * (new - off)
        off = new
    return np.clip(wanted - rotation[:, :2] + glance, -np.array(MAX_GAZE_DEG), MAX_GAZE_DEG)


def _blinks(rngs: Sequence[np.random.Generator], time: Array, end: float, gaze_shifts: list[float]) -> Array:
    """Closedness of the lids in [0, 1]; large gaze shifts often come with a blink."""
    spontaneous, shifting = rngs
    closed = np.zeros(len(time))
    for start in _events(spontaneous, end, lambda r: 0.7 + r.gamma(1.6, 1.7)):
        closed = np.maximum(closed, _blink(spontaneous, time - start))
    for start in gaze_shifts:
        strength = float(shifting.random() < 0.5)
        closed = np.maximum(closed, strength * _blink(shifting, time - start))
    return closed


def _blink(rng: np.random.Generator, since: Array) -> Array:
    close, hold, reopen = rng.uniform(0.07, 0.1), rng.uniform(0.02, 0.07), rng.uniform(0.14, 0.22)
    return _minimum_jerk(since / close) - _minimum_jerk((since - close - hold) / reopen)


_LID_OTHERS = {side: [ACTIONS.index(f"{n}_{side}") for n in ("eyeSquint", "eyeWide", "eyeBlink")] for side in "LR"}


def _plausible(actions: Array) -> Array:
    """Keep activations in [0, 1] and drop combinations that no face can make (they would tear the mesh)."""
    out = np.clip(actions, 0, 1)
    jaw, shut = ACTIONS.index("jawOpen"), ACTIONS.index("mouthClose")
    out[:, jaw] = np.minimum(out[:, jaw], 0.75)
    out[:, shut] = np.minimum(out[:, shut], out[:, jaw])  # lips meet over a lowered jaw, never beyond
    for squint, wide, blink in _LID_OTHERS.values():
        out[:, wide] *= 1 - out[:, blink]
        out[:, squint] *= 1 - 0.8 * out[:, blink]
    for opposed in (("mouthSmile", "mouthFrown"), ("mouthPucker", "mouthStretch"), ("mouthFunnel", "mouthSmile")):
        for side in "LR":
            first, second = (_column(name, side) for name in opposed)
            both = np.minimum(out[:, first], out[:, second])
            out[:, second] -= 0.7 * both
    return np.asarray(out)


def _column(name: str, side: str) -> int:
    return ACTIONS.index(name) if name in ACTIONS else ACTIONS.index(f"{name}_{side}")
