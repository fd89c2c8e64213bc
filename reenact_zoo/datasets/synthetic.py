"""Rendered talking heads: every frame is made on demand from its index, and the true answer of every pair is known.

The clip's name and the configuration decide everything: who the person is, how the head moves, the light, the place.
The true target of a pair shows the source's person under the source's light before the source's unmoved background,
with the driving frame's head rotation, position, size, expression, jaw and gaze.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.datasets._actions import ACTIONS
from reenact_zoo.datasets._clip_cache import ClipCache, Record
from reenact_zoo.datasets._deferred import Deferred
from reenact_zoo.datasets._motion import Motion, move
from reenact_zoo.datasets._packs import Pack
from reenact_zoo.datasets._recent import Recent
from reenact_zoo.datasets._scenes import scene
from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.faces.morphable import HeadModel, load_head
from reenact_zoo.faces.morphable._dense import DenseHead, pose_from_rotation
from reenact_zoo.faces.renderer import Render, Renderer, correspondence
from reenact_zoo.ops.rotation import euler_from_matrix
from reenact_zoo.types import InputError

VERSION = 2
"""Raised whenever a frame could look different; part of clip caches and of the frozen protocols."""
HEADS = ("procedural", "ict")
LIGHT_SPREAD = 2.2  # times the plausible light of ``HeadModel.sample``: rooms differ more than studios
VERGENCE_DEG = 1.5  # each eye turns in by this much: both look at a point a good metre away
_SPLITS = {"train": 0, "val": 1, "test": 2}
_PERSON, _LIGHT, _PLACE, _MOTION = range(4)  # streams of random numbers of an identity or a clip


@dataclass
class SyntheticConfig:
    """Which clips there are.

    Frames depend on head, image_size, seed, frame_rate and supersample and on the clip's name alone: more identities,
    clips or frames leave those that were there as they are.

    Attributes:
        head: "procedural" (made by code) or "ict" (scanned shapes; needs the weight entry "ict_facekit").
        image_size: side of the square frames in pixels.
        split: "train", "val" or "test" keeps the clips of that split only; "" keeps all. No person is in two splits.
        train_identities, val_identities, test_identities: people per split.
        clips: clips per person; light, place and motion differ between them.
        frames: frames per clip.
        frame_rate: frames per second.
        seed: another seed is another world.
        supersample: samples per pixel side.
        pack: bundled pictures to answer from instead of rendering, where it has them: at its sizes, and without the
            head model's file.
        cache: render a clip as a whole when one of its frames is first asked for, and keep it in the user's cache
            folder: for training.
    """

    head: str = "procedural"
    image_size: int = 128
    split: str = ""
    train_identities: int = 128
    val_identities: int = 8
    test_identities: int = 24
    clips: int = 1
    frames: int = 75
    frame_rate: int = 25
    seed: int = 0
    supersample: int = 2
    pack: str = ""
    cache: bool = False


class Synthetic(ClipDataset):
    """Clips of people who do not exist.

    Annotations: landmarks (68, 2), coefficients (K,), parsing (19, S, S), matte (1, S, S).
    """

    Config = SyntheticConfig

    def __init__(self, config: SyntheticConfig | None = None) -> None:
        self.config = config or SyntheticConfig()
        _check(self.config)
        self._clips = list(_clips(self.config))
        self._pack = Pack.bundled(self.config.pack) if self.config.pack else None
        self._forget()

    def _forget(self) -> None:
        """Start without anything that can be made again."""
        self._renderer: Renderer | None = None
        self._cache: ClipCache | None = None
        self._scores: Recent[Tensor] = Recent(64)
        self._albedos: Recent[Tensor] = Recent(48)
        self._scenes: Recent[Tensor] = Recent(48)
        self._renders: Recent[Render] = Recent(4)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: the configuration; it makes the rest itself."""
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"])  # type: ignore[misc]

    # ------------------------------------------------------------------ the interface of every dataset

    @property
    def clips(self) -> Sequence[Clip]:
        """Train, then validation, then test people."""
        return self._clips

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(S, S, 3) RGB."""
        self._checked(ref)
        if self._pack is not None and (known := self._pack.frame(ref, self.config.image_size)) is not None:
            return known
        if self.config.cache:
            return self._record(ref).image
        return _bytes(self.render(ref).image)

    def annotations(self, ref: FrameRef) -> Mapping[str, NDArray[Any]]:
        """Truth of a frame: landmarks, coefficients, parsing, matte; each is made when it is asked for."""
        self._checked(ref)
        if self._pack is not None and (known := self._pack.annotations(ref, self.config.image_size)) is not None:
            return known
        if self.config.cache:
            record = self._record(ref)
        else:
            record = Record.from_render(self.render(ref), self.config.supersample)
        makers = {"coefficients": lambda: self.coefficients(ref.clip)[ref.index].numpy()} | record.annotations()
        return Deferred(makers)

    def cross_target(
        self, source: FrameRef, driving: FrameRef, driving_reference: FrameRef | None = None
    ) -> dict[str, NDArray[Any]]:
        """Truth of a pair; pass ``driving_reference`` only where motion is relative to it.

        target_flow says for each target pixel where in the source frame the same point of the head or of the background
        lies; target_flow_valid is 1 where that point is visible in both.
        """
        for ref in (source, driving, *([] if driving_reference is None else [driving_reference])):
            self._checked(ref)
        if self._pack is not None:
            known = self._pack.target(source, driving, driving_reference, self.config.image_size)
            if known is not None:
                return known
        coefficients = self.target_coefficients(source, driving, driving_reference)
        target, origin = self._render(source.clip, coefficients), self.render(source)
        flow, valid = correspondence(origin, target, static_background=True)
        return {
            "target": _bytes(target.image),
            "target_landmarks": target.landmarks[0].numpy(),
            "target_coefficients": coefficients.numpy(),
            "target_matte": target.alpha[0].numpy(),
            "target_source_matte": origin.alpha[0].numpy(),
            "target_parsing": target.parsing[0].numpy(),
            "target_flow": flow[0].numpy(),
            "target_flow_valid": valid[0].numpy(),
        }

    # ------------------------------------------------------------------ what only a synthetic dataset knows

    @property
    def head(self) -> DenseHead:
        """The head model; loaded when first needed."""
        return self._ready().model  # type: ignore[return-value]

    def coefficients(self, clip: str) -> Tensor:
        """(T, K) of every frame of a clip."""
        return self._scores.get(clip, lambda: self._score(self.clip(clip)))

    def motion(self, clip: str) -> Motion:
        """How the head of a clip moves; the same for every head model, which it does not need."""
        known = self.clip(clip)
        return move(self._seed(clip, _MOTION), known.num_frames, self.config.frame_rate)

    def rotation_deg(self, ref: FrameRef) -> NDArray[np.float32]:
        """(3,) yaw, pitch and roll of the head in a frame."""
        return head_rotation_deg(self.head, self.coefficients(ref.clip)[ref.index])

    def target_coefficients(self, source: FrameRef, driving: FrameRef, reference: FrameRef | None = None) -> Tensor:
        """(K,) coefficients of the true target."""
        s, d = self.coefficients(source.clip)[source.index], self.coefficients(driving.clip)[driving.index]
        if reference is None:
            return self.head.layout.mix(s, d)
        return relative_coefficients(self.head, s, d, self.coefficients(reference.clip)[reference.index])

    def render(self, ref: FrameRef) -> Render:
        """Everything the renderer knows about a frame."""
        return self._renders.get(ref, lambda: self._render(ref.clip, self.coefficients(ref.clip)[ref.index]))

    # ------------------------------------------------------------------ making

    def _ready(self) -> Renderer:
        if self._renderer is None:
            c = self.config
            self._renderer = Renderer(_head(c.head), c.image_size, supersample=c.supersample)
        return self._renderer

    def _record(self, ref: FrameRef) -> Record:
        if self._cache is None:
            self._cache = ClipCache(self._cache_key(), self.config.image_size, self.config.supersample)
        return self._cache.record(ref, self.clip(ref.clip).num_frames, self.render)

    def _cache_key(self) -> str:
        """Settings that decide a frame, and one real frame: a change of the code shows in its pixels."""
        c = self.config
        probe = self._render(self._clips[0].name, self.coefficients(self._clips[0].name)[0])
        settings = (VERSION, c.head, c.image_size, c.seed, c.frame_rate, c.supersample, c.frames)
        return f"{settings} {ClipCache.digest(probe)}"

    @torch.no_grad()
    def _render(self, clip: str, coefficients: Tensor) -> Render:
        # one frame at a time on purpose: matrix products of a batch may round differently, and a frame must not
        # depend on what was rendered beside it
        identity = self.clip(clip).identity
        texture = self._ready().model.layout.split(coefficients)["texture"][None]
        renderer = self._ready()
        albedo = self._albedos.get(identity, lambda: self.head.surface(texture, renderer.texture_size))
        background = self._scenes.get(clip, lambda: self._background(clip))
        return renderer.render(coefficients[None], background=background, albedo=albedo)

    def _background(self, clip: str) -> Tensor:
        image = scene(self._seed(clip, _PLACE), self.config.image_size)
        return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()

    @torch.no_grad()
    def _score(self, clip: Clip) -> Tensor:
        head, layout = self.head, self.head.layout
        person = head.sample(_generator(self._seed(clip.identity, _PERSON)), 1)
        light = LIGHT_SPREAD * layout.split(head.sample(_generator(self._seed(clip.name, _LIGHT)), 1))["light"]
        motion = self.motion(clip.name)
        gaze = np.concatenate([motion.gaze_deg, np.full((clip.num_frames, 1), VERGENCE_DEG)], axis=1)
        columns = [ACTIONS.index(name) for name in head.expression_names]
        still = {name: part.expand(clip.num_frames, -1) for name, part in layout.split(person).items()}
        return layout.join(
            shape=still["shape"],
            texture=still["texture"],
            expression=_float(motion.actions[:, columns]),
            pose=pose_from_rotation(_float(motion.rotation_deg), _float(gaze)),
            camera=_float(camera_coefficients(motion.position)),
            light=light.expand(clip.num_frames, -1),
        ).contiguous()

    def _seed(self, name: str, stream: int) -> np.random.SeedSequence:
        split, *numbers = name.split("_")
        return np.random.SeedSequence([self.config.seed, stream, _SPLITS[split], *(int(n) for n in numbers)])

    def _checked(self, ref: FrameRef) -> None:
        try:
            clip = self.clip(ref.clip)
        except KeyError:
            raise InputError(f"the synthetic dataset has no clip '{ref.clip}' in this configuration") from None
        if not 0 <= ref.index < clip.num_frames:
            raise InputError(f"clip '{ref.clip}' has frames 0 to {clip.num_frames - 1}, not {ref.index}")


@cache
def _head(name: str) -> HeadModel:
    """One per process: it is read only, and takes a second to make."""
    return load_head(name)


def camera_coefficients(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 3) log size, x and y in image widths → the renderer's camera: log scale, x and y in half frames."""
    return position * (1, 2, 2)


def relative_coefficients(head: DenseHead, source: Tensor, driving: Tensor, reference: Tensor) -> Tensor:
    """(K,) each → (K,) the source moved as the driving person moved since the reference frame.

    Rotation: R = R_driving R_referenceᵀ R_source. Expression (kept in [0, 1]), gaze and camera:
    source + driving - reference.
    """
    s, d, r = (head.layout.split(c) for c in (source, driving, reference))
    turned = [head.head_rotation(part["pose"][None]) for part in (d, r, s)]
    rotation = euler_from_matrix(turned[0] @ turned[1].mT @ turned[2])[0]
    expression, pose, camera = (s[name] + d[name] - r[name] for name in ("expression", "pose", "camera"))
    pose = pose_from_rotation(rotation, pose[6:])
    return head.layout.join(**{**s, "expression": expression.clamp(0, 1), "pose": pose, "camera": camera})


def head_rotation_deg(head: DenseHead, coefficients: Tensor) -> NDArray[np.float32]:
    """(K,) → (3,) yaw, pitch, roll in degrees."""
    return euler_from_matrix(head.head_rotation(head.layout.split(coefficients)["pose"][None]))[0].numpy()


def _clips(config: SyntheticConfig) -> list[Clip]:
    people = {"train": config.train_identities, "val": config.val_identities, "test": config.test_identities}
    rate = Fraction(config.frame_rate)
    return [
        Clip(f"{identity}_{number}", identity, split, config.frames, rate)
        for split, count in people.items()
        if config.split in ("", split)
        for identity in (f"{split}_{person:03d}" for person in range(count))
        for number in range(config.clips)
    ]


def _check(config: SyntheticConfig) -> None:
    if config.head not in HEADS:
        raise InputError(f"synthetic: head is {' or '.join(HEADS)}, not '{config.head}'")
    if config.split not in ("", *_SPLITS):
        raise InputError(f"synthetic: split is {', '.join(_SPLITS)} or empty, not '{config.split}'")
    lowest = {"image_size": 16, "clips": 1, "frames": 1, "frame_rate": 1, "seed": 0, "supersample": 1}
    for name, least in lowest.items():
        if getattr(config, name) < least:
            raise InputError(f"synthetic: {name} is {getattr(config, name)}; it must be at least {least}")
    if not _clips(config):
        raise InputError("synthetic: no identity is left; raise train_identities, val_identities or test_identities")


def _generator(seed: np.random.SeedSequence) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _float(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _bytes(image: Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) in [0, 1] → (H, W, 3)."""
    return (image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
