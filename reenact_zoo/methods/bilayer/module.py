"""Fast bi-layer neural avatars (Zakharov et al., ECCV 2020, arXiv:2008.10174).

A picture is a coarse one, which a small network draws for the pose, plus a texture of the person, made once, that the
same network moves. README.md beside this file lists what differs from the released code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods import _weights
from reenact_zoo.methods._judges import Judges
from reenact_zoo.methods.base import Phase, ReenactmentModule, constant, linear_decay
from reenact_zoo.methods.bilayer import losses, official
from reenact_zoo.methods.bilayer.config import RELEASED_SIZE
from reenact_zoo.methods.bilayer.config import Config as BilayerConfig
from reenact_zoo.methods.bilayer.drawing import draw
from reenact_zoo.methods.bilayer.embedders import POINTS, IdentityEmbedder, KeypointsEmbedder
from reenact_zoo.methods.bilayer.inference_generator import SHARE, InferenceGenerator, Layers
from reenact_zoo.methods.bilayer.texture_enhancer import TextureEnhancer
from reenact_zoo.methods.bilayer.texture_generator import TextureGenerator
from reenact_zoo.nn.discriminators import PatchDiscriminator, layers_for
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput
from reenact_zoo.weights.manifest import WeightsMissing
from reenact_zoo.weights.store import WeightStore

BASE = ("identity_embedder", "texture_generator", "keypoints_embedder", "inference_generator")


@dataclass(frozen=True)
class Pair:
    """What is used of a batch; pictures in [-1, 1].

    Attributes:
        source: (B, 3, H, W).
        source_landmarks: (B, 68, 2).
        source_matte: (B, 1, H, W).
        driving: (B, 3, H, W), the truth.
        landmarks: (B, 68, 2) driving ones.
        matte: (B, 1, H, W) driving one.
    """

    source: Tensor
    source_landmarks: Tensor
    source_matte: Tensor
    driving: Tensor
    landmarks: Tensor
    matte: Tensor


class Bilayer(ReenactmentModule[BilayerConfig]):
    """Coarse picture of the pose plus a moved texture of the person.

    ``aux``: "low" and "high" (the two layers, (B, 3, H, W) in [-1, 1]), "mask" (share of the person, (B, 1, H, W)),
    "texture" (B, 3, H, W) and "texture_flow" (B, H, W, 2), where in it each pixel looks. Samples whose landmarks or
    matte are missing come back as NaN.
    """

    Config = BilayerConfig
    requires = frozenset({"source_landmarks", "source_matte", "driving_landmarks"})
    training_requires = frozenset({"driving_matte"})
    averaged = (*BASE, "texture_enhancer")
    enhanced: Tensor  # () bool: the enhancer has been trained or loaded, so that it is used

    def __init__(self, config: BilayerConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        channels = c.channels
        half = [count // SHARE for count in channels]
        self.identity_embedder = IdentityEmbedder(c.width, c.cap, c.halvings, channels[1:])
        self.texture_generator = TextureGenerator(channels, c.projection_side)
        self.keypoints_embedder = KeypointsEmbedder(c.pose_width, half[0])
        self.inference_generator = InferenceGenerator(half, channels, c.projection_side // SHARE)
        self.texture_enhancer: nn.Module = nn.Identity()
        if c.has_enhancer:
            self.texture_enhancer = TextureEnhancer(
                c.enhancer_width, c.enhancer_inner, c.enhancer_blocks, c.enhancer_steps
            )
        self.discriminator = None
        if c.lambda_adversarial > 0:
            depth = layers_for(c.image_size)
            self.discriminator = PatchDiscriminator(c.discriminator_width, depth, inputs=6, spectral=True)
        self.register_buffer("enhanced", torch.zeros((), dtype=torch.bool))
        self._judges: Judges | None = None
        self._adversarial_from = 0

    # --- released weights -----------------------------------------------------------------------------------------

    @classmethod
    def ready(
        cls, checkpoint: Path | None, image_size: int | None = None, changes: Mapping[str, Any] | None = None
    ) -> Self:
        """As in the base class; at 256 pixels the released weights take the place of bundled ones.

        Raises:
            WeightsMissing: 256 pixels (or no size, and no weights ship) are wanted and a released file is not at hand
                or not allowed; one line says which, and where it comes from.
            InputError: see the base class.
        """
        if checkpoint is None and image_size in (None, RELEASED_SIZE):
            store = WeightStore()
            reason = official.lacking(store)
            if reason is None:
                released = _weights.plain_config(BilayerConfig.released())
                method = cls(_weights.changed(BilayerConfig, released, changes, cls.registered_name()))
                method.load_official(official.released_state(store))
                return method.eval()
            if image_size is not None or not _ships(cls.registered_name()):
                raise WeightsMissing(reason)
        try:
            return super().ready(checkpoint, image_size, changes)
        except InputError as error:
            if checkpoint is not None or image_size in (None, RELEASED_SIZE):
                raise
            raise InputError(f"{error} (the released weights are for {RELEASED_SIZE} px)") from error

    def load_official(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the authors' released weights, see ``official.load_official``."""
        parts = {name: self.get_submodule(name) for name in official.PARTS}
        if not self.config.has_enhancer:
            parts.pop(official.ENHANCER)
        present = official.load_official(state_dict, parts)
        self.enhanced.fill_(official.ENHANCER in present)

    # --- use ------------------------------------------------------------------------------------------------------

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """Texture and personal weights of the source; the enhancer looks at the source's own pose for that."""
        self._check(batch, "source")
        found = _found(batch["source_landmarks"]) & _found(batch["source_matte"])
        source = 2 * batch["source"].float() - 1
        landmarks = batch["source_landmarks"].float().nan_to_num(0)
        matte = batch["source_matte"].float().nan_to_num(0)
        embeddings = self._embeddings(source, landmarks, matte)
        texture = self.texture_generator(embeddings)
        personal = self.inference_generator.personal(embeddings)
        if self.config.has_enhancer and bool(self.enhanced):
            layers = self.inference_generator(self.keypoints_embedder(landmarks), personal)
            texture = self._enhance(texture, source, layers)
        return {"texture": texture, "personal": personal, "source_found": found}

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Draw the pose and add the moved texture."""
        self._check(batch, "driving")
        found = state["source_found"] & _found(batch["driving_landmarks"])
        pose = self.keypoints_embedder(batch["driving_landmarks"].float().nan_to_num(0))
        layers = self.inference_generator(pose, state["personal"])
        high = layers.high(state["texture"])
        image = layers.low + high
        if self.config.mask_output:
            image = losses.cut_out(image, layers.mask)
        reenacted = ((image + 1) / 2).clamp(0, 1).masked_fill(~found.view(-1, 1, 1, 1), torch.nan)
        aux = {"low": layers.low, "high": high, "mask": layers.mask, "texture": state["texture"]}
        return ReenactmentOutput(reenacted, {**aux, "texture_flow": layers.flow})

    def _embeddings(self, source: Tensor, landmarks: Tensor, matte: Tensor) -> list[Tensor]:
        seen = losses.cut_out(source, matte) if self.config.frame == "foreground" else source
        found: list[Tensor] = self.identity_embedder(seen, draw(landmarks, self.config.image_size))
        return found

    def _enhance(self, texture: Tensor, source: Tensor, layers: Layers) -> Tensor:
        weight = layers.mask if self.config.frame == "foreground" else torch.ones_like(layers.mask_logits)
        moved: Tensor = self.texture_enhancer(texture, source, layers, weight)
        return moved

    def _check(self, batch: PairBatch, role: str) -> None:
        entries: dict[str, Any] = dict(batch)
        size, count = self.config.image_size, len(entries[role])
        image, shape = entries[role], tuple(entries[f"{role}_landmarks"].shape)
        if image.shape[-2:] != (size, size):
            raise InputError(
                f"this bilayer works on {size}x{size} images, but '{role}' is {image.shape[-1]}x{image.shape[-2]}; "
                f"use image_size {size}, or weights of that size"
            )
        if shape != (count, POINTS, 2):
            raise InputError(
                f"'{role}_landmarks' has shape {shape}; bilayer needs ({count}, {POINTS}, 2): use a landmark detector "
                "of 68 points"
            )
        if role == "source" and tuple(entries["source_matte"].shape) != (count, 1, size, size):
            raise InputError(
                f"'source_matte' has shape {tuple(entries['source_matte'].shape)}; bilayer needs "
                f"({count}, 1, {size}, {size}): estimate it from the same picture"
            )

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Everything but the enhancer until ``enhancer_start``, then the enhancer alone; a discriminator throughout."""
        c = self.config
        stop = None
        if self.max_updates is not None and c.has_enhancer:
            stop = max(1, round(c.enhancer_start * self.max_updates))
        last = stop or self.max_updates or 1
        self._adversarial_from = min(round(c.adversarial_start * last), last - 1)
        decay = linear_decay(c.decay_start) if c.decay_start < 1 else constant
        listed = [Phase("generator", BASE, self._generator_losses, _adam(c.learning_rate), decay, stop=stop)]
        if c.has_enhancer:
            enhancer = ["texture_enhancer"]
            adam = _adam(c.enhancer_rate)
            listed.append(Phase("enhancer", enhancer, self._enhancer_losses, adam, decay, start=stop or 0))
        if self.discriminator is not None:
            adam, start = _adam(c.discriminator_rate), self._adversarial_from
            part = ["discriminator"]
            listed.append(Phase("discriminator", part, self._discriminator_losses, adam, decay, start=start))
        return listed

    @property
    def judges(self) -> Judges:
        """The fixed networks of the losses, loaded when first asked for."""
        if self._judges is None:
            self._judges = Judges.of(self.config, self.device)
            self.instruments = self._judges.instruments
        return self._judges

    def _generator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        pair = _pair(batch)
        if pair is None:
            return {"nothing": _nothing(*(self.get_submodule(name) for name in BASE))}
        c = self.config
        texture, [driven] = self._drawn(pair, pair.landmarks)
        found: dict[str, Tensor] = {}
        if c.lambda_pixel > 0:
            low, truth = self._compared(driven.low, driven), self._compared(pair.driving, driven)
            found["pixel"] = c.lambda_pixel * F.l1_loss(low, truth)
        if c.lambda_segmentation > 0:
            entropy = F.binary_cross_entropy_with_logits(driven.mask_logits, pair.matte)
            found["segmentation"] = c.lambda_segmentation * entropy
        if c.lambda_flow > 0:
            weight = c.lambda_flow * losses.flow_weight(self.num_updates, c.flow_decay_every)
            found["flow"] = weight * driven.offsets.abs().mean()
        found |= self._realism(texture, driven, pair, shared)
        return found or {"nothing": _nothing(*(self.get_submodule(name) for name in BASE))}

    def _enhancer_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        """The same objective with the moved texture; the gradient that moves it comes from the source's picture."""
        pair = _pair(batch)
        if pair is None:
            return {"nothing": _nothing(self.texture_enhancer)}
        self.enhanced.fill_(True)
        with torch.no_grad(), _at_rest(self.get_submodule(name) for name in BASE):
            texture, [driven, own] = self._drawn(pair, pair.landmarks, pair.source_landmarks)
        texture = self._enhance(texture, pair.source, own)
        return self._realism(texture, driven, pair, shared) or {"nothing": _nothing(self.texture_enhancer)}

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        assert self.discriminator is not None
        if "made" not in shared:
            return {"nothing": _nothing(self.discriminator)}
        real, made = (losses.judged(self.discriminator, shared[key], shared["drawing"])[1] for key in ("real", "made"))
        return {"hinge": losses.telling_apart(real, made)}

    def _drawn(self, pair: Pair, *poses: Tensor) -> tuple[Tensor, list[Layers]]:
        """Texture, and what is drawn for poses (B, 68, 2) of the source person."""
        embeddings = self._embeddings(pair.source, pair.source_landmarks, pair.source_matte)
        texture, personal = self.texture_generator(embeddings), self.inference_generator.personal(embeddings)
        return texture, [self.inference_generator(self.keypoints_embedder(pose), personal) for pose in poses]

    def _compared(self, image: Tensor, layers: Layers) -> Tensor:
        """What losses look at: the person by the predicted mask, which learns nothing from that, or the whole frame."""
        # without the detached mask, an empty foreground would fit best (section 3.5)
        return losses.cut_out(image, layers.mask.detach()) if self.config.frame == "foreground" else image

    def _realism(self, texture: Tensor, driven: Layers, pair: Pair, shared: dict[str, Any]) -> dict[str, Tensor]:
        c = self.config
        high, real = driven.high(texture), self._compared(pair.driving, driven)
        # section 3.3: no gradient of the perceptual terms reaches the coarse picture
        sharp = (self._compared(driven.low.detach() + high, driven) + 1) / 2
        truth = (real + 1) / 2
        found = self.judges.reconstruction.parts(sharp, truth)
        if c.lambda_identity > 0 and self.num_updates % c.identity_every == 0:
            distance = self.judges.identity_distance(sharp, truth, pair.landmarks)
            found["identity"] = c.lambda_identity * c.identity_every * distance
        if self.discriminator is not None and self.num_updates >= self._adversarial_from:
            made, drawing = self._compared(driven.low + high, driven), draw(pair.landmarks, c.image_size)
            shared |= {"made": made.detach(), "real": real.detach(), "drawing": drawing}
            found |= self._against_discriminator(made, real, drawing)
        return found

    def _against_discriminator(self, made: Tensor, real: Tensor, drawing: Tensor) -> dict[str, Tensor]:
        assert self.discriminator is not None
        c = self.config
        made_maps, made_scores = losses.judged(self.discriminator, made, drawing)
        with torch.no_grad():
            real_maps, real_scores = losses.judged(self.discriminator, real, drawing)
        found = {"adversarial": c.lambda_adversarial * losses.fooling(real_scores, made_scores)}
        if c.lambda_matching > 0:
            found["matching"] = c.lambda_matching * losses.matching(real_maps, made_maps)
        return found


def _pair(batch: PairBatch) -> Pair | None:
    """The rows that can be trained on; None where there is none."""
    keys = ("source_landmarks", "source_matte", "driving_landmarks", "driving_matte")
    entries: dict[str, Any] = dict(batch)
    rows = functools.reduce(torch.logical_and, (_found(entries[key]) for key in keys))
    if not bool(rows.any()):
        return None
    source_landmarks, source_matte, landmarks, matte = (entries[key][rows].float() for key in keys)
    source, driving = (2 * entries[key][rows].float() - 1 for key in ("source", "driving"))
    return Pair(source, source_landmarks, source_matte, driving, landmarks, matte.clamp(0, 1))


def _ships(name: str) -> bool:
    """Whether weights of this method, of any size, come with the package."""
    try:
        return _weights.bundled(name, None).is_file()
    except InputError:
        return False


def _found(annotation: Tensor) -> Tensor:
    """(B, …) → (B,) bool: nothing is missing."""
    return annotation.isfinite().flatten(1).all(1)


@contextmanager
def _at_rest(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Networks as they are used after training: statistics and power iterations stand still."""
    modes = [(network, network.training) for network in networks]
    for network, _ in modes:
        network.eval()
    try:
        yield
    finally:
        for network, training in modes:
            network.train(training)


def _adam(rate: float) -> Callable[..., torch.optim.Optimizer]:
    return functools.partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.999))


def _nothing(*networks: nn.Module) -> Tensor:
    """A loss of 0 that every parameter takes part in: the batch had no usable row."""
    return torch.stack([p.sum() for network in networks for p in network.parameters()]).sum() * 0
