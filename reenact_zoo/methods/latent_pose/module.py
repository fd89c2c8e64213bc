"""Neural Head Reenactment with Latent Pose Descriptors (Burkov et al., CVPR 2020, arXiv:2004.12000).

One vector says who is shown, the mean over all source images; one says how the head is held and moved. Through AdaIN
they turn a learned constant into a head and its segmentation. README.md beside this file lists what differs from the
released code.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from reenact_zoo.methods import _weights
from reenact_zoo.methods._judges import Judges
from reenact_zoo.methods.base import Phase, ReenactmentModule, constant, linear_decay
from reenact_zoo.methods.latent_pose import losses, official
from reenact_zoo.methods.latent_pose.augmentation import pose_view, shifted_together
from reenact_zoo.methods.latent_pose.background import without_head
from reenact_zoo.methods.latent_pose.config import RELEASED_SIZE
from reenact_zoo.methods.latent_pose.config import Config as LatentPoseConfig
from reenact_zoo.methods.latent_pose.discriminator import Discriminator
from reenact_zoo.methods.latent_pose.embedder import released_embedder, small_embedder
from reenact_zoo.methods.latent_pose.generator import Generator
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput
from reenact_zoo.weights.loading import read_checkpoint
from reenact_zoo.weights.manifest import WeightsMissing
from reenact_zoo.weights.store import WeightStore

ADAM_EPS = 1e-5  # of the released code


@dataclass(frozen=True)
class Pair:
    """What one training update sees, rows of two persons left out.

    Attributes:
        sources: (B, K, 3, H, W).
        pose: (B, 3, H, W) what the pose encoder sees.
        truth: (B, 3, H, W) the driving frame, on black where there is a matte.
        matte: (B, 1, H, W); None where the whole frame is the truth.
        landmarks: (B, 68, 2) of the truth; None where no loss looks at them.
        labels: (B,) int64 numbers of the persons.
    """

    sources: Tensor
    pose: Tensor
    truth: Tensor
    matte: Tensor | None
    landmarks: Tensor | None
    labels: Tensor


class LatentPose(ReenactmentModule[LatentPoseConfig]):
    """Identity and pose vectors, joined by a generator that draws the head and its segmentation.

    ``aux``: "foreground" (B, 3, H, W), the head on black; "segmentation" (B, 1, H, W); "plate" (B, 3, H, W), what the
    head is laid over. Needs no annotation in use.
    """

    Config = LatentPoseConfig
    training_requires: ClassVar[frozenset[str]] = frozenset({"driving_matte", "driving_landmarks"})
    averaged = ("embedder", "generator")

    def __init__(self, config: LatentPoseConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        if c.encoders == "released":
            self.embedder = released_embedder(c.identity_size, c.pose_size)
        else:
            self.embedder = small_embedder(c.encoder_width, c.identity_size, c.pose_size)
        self.generator = Generator(
            c.image_size,
            c.base_width,
            c.cap_width,
            c.identity_size,
            c.pose_size,
            c.residual_blocks,
            c.norm_group,
            c.scale_start,
        )
        self.discriminator: Discriminator | None = None
        if c.lambda_adversarial > 0:
            self.discriminator = Discriminator(
                c.image_size, c.discriminator_width, c.cap_width, c.identity_size, c.identities
            )
        self._judges: Judges | None = None
        self._adversarial_from = 0

    # --- weights --------------------------------------------------------------------------------------------------

    @classmethod
    def ready(
        cls, checkpoint: Path | None, image_size: int | None = None, changes: Mapping[str, Any] | None = None
    ) -> Self:
        """As in the base class; without a checkpoint of ours, the released weights where they are at hand.

        Raises:
            InputError: neither is there; names the released file and how to get it.
        """
        if checkpoint is not None:
            return super().ready(checkpoint, image_size, changes)
        try:
            bundled = _weights.bundled(cls.registered_name(), image_size)
        except InputError as error:
            if image_size not in (None, RELEASED_SIZE):
                raise InputError(f"{error} (the released weights are for {RELEASED_SIZE} px)") from error
            return cls._released(changes)
        return cls.load(bundled, image_size=image_size, changes=changes)

    @classmethod
    def _released(cls, changes: Mapping[str, Any] | None) -> Self:
        try:
            path = WeightStore().path(official.ENTRY)
        except WeightsMissing as error:
            raise type(error)(f"latent_pose needs its released checkpoint, {official.ORIGIN}; {error}") from error
        plain = _weights.plain_config(replace(LatentPoseConfig.released(), lambda_adversarial=0.0))
        method = cls(_weights.changed(cls.Config, plain, changes, cls.registered_name()))
        method.load_official(read_checkpoint(path))
        method.weights_file = path
        return method.eval()

    def load_official(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the authors' released checkpoint, see ``official.load_official``."""
        official.load_official(state_dict, embedder=self.embedder, generator=self.generator)

    # --- use ------------------------------------------------------------------------------------------------------

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """The identity (B, E), mean over all source images, and the plate (B, 3, H, W) that the head is laid over."""
        identity = self.embedder.identities(self._sources(batch)).mean(1)
        return {"identity": identity, "plate": self._plate(batch["source"].float(), identity)}

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Draw the head in the driving pose and lay it over the plate."""
        driving = batch["driving"].float()
        self._check_size("driving", driving)
        head, segmentation = self.generator(state["identity"], self.embedder.pose(driving))
        foreground, plate = head * segmentation, state["plate"]
        reenacted = (foreground + (1 - segmentation) * plate).clamp(0, 1)
        aux = {"foreground": foreground.clamp(0, 1), "segmentation": segmentation, "plate": plate}
        return ReenactmentOutput(reenacted, aux)

    def _plate(self, source: Tensor, identity: Tensor) -> Tensor:
        if self.config.background == "black":
            return torch.zeros_like(source)
        if self.config.background == "source":
            return source
        _, own = self.generator(identity, self.embedder.pose(source))
        return without_head(source, own)

    def _sources(self, batch: PairBatch) -> Tensor:
        """All images of the source person (B, K, 3, H, W)."""
        images = batch["source"].float()[:, None]
        self._check_size("source", images)
        if "extra_sources" in batch:
            self._check_size("extra_sources", batch["extra_sources"])
            images = torch.cat([images, batch["extra_sources"].float()], 1)
        lacking = self.config.sources - images.shape[1]
        if lacking > 0:
            raise InputError(
                f"latent_pose needs {lacking} more images of the source person in 'extra_sources' (B, k, 3, H, W), "
                f"which has {images.shape[1] - 1}; give them, or set sources to {images.shape[1]}"
            )
        return images

    def _check_size(self, key: str, images: Tensor) -> None:
        size = self.config.image_size
        if images.shape[-2:] != (size, size):
            raise InputError(
                f"this latent_pose works on {size}x{size} images, but '{key}' is "
                f"{images.shape[-1]}x{images.shape[-2]}; use image_size {size}, or weights of that size"
            )

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Encoders and generator, then the discriminator on the same images."""
        c = self.config
        last = self.max_updates or 1
        self._adversarial_from = min(round(c.adversarial_start * last), last - 1)
        scale = constant if c.decay_start >= 1 else linear_decay(c.decay_start)
        networks = ["embedder", "generator"]
        listed = [Phase("generator", networks, self._generator_losses, self._adam(c.learning_rate), scale)]
        if self.discriminator is not None:
            listed.append(
                Phase(
                    "discriminator",
                    ["discriminator"],
                    self._discriminator_losses,
                    self._adam(c.discriminator_rate),
                    scale,
                    start=self._adversarial_from,
                )
            )
        return listed

    def _adam(self, rate: float) -> Any:
        return functools.partial(torch.optim.Adam, lr=rate, betas=(self.config.beta1, 0.999), eps=ADAM_EPS)

    @property
    def judges(self) -> Judges:
        """The fixed networks of the losses, loaded when first asked for."""
        if self._judges is None:
            self._judges = Judges.of(self.config, self.device)
            self.instruments = self._judges.instruments
        return self._judges

    def _pair(self, batch: PairBatch) -> Pair | None:
        """The rows that can be trained on; None where there is none."""
        c, rows = self.config, batch["same_identity"]
        if not bool(rows.any()):
            return None
        truth, sources, labels = batch["driving"][rows].float(), self._sources(batch)[rows], batch["source_identity"]
        landmarks = self._needed(batch, "driving_landmarks", rows) if c.lambda_identity > 0 else None
        matte = self._needed(batch, "driving_matte", rows) if c.has_matte else None
        seen = truth
        if matte is not None:
            if c.augment:
                (truth, matte), shift = shifted_together(truth, matte)
                landmarks = None if landmarks is None else landmarks + shift[:, None]
            seen, truth = truth, truth * matte
        return Pair(sources, pose_view(seen) if c.augment else seen, truth, matte, landmarks, labels[rows])

    def _needed(self, batch: PairBatch, key: str, rows: Tensor) -> Tensor:
        if key not in batch:
            raise InputError(
                f"latent_pose is trained with '{key}' in the batch, which is not there; use data that has it, or set "
                + ("background=source" if key == "driving_matte" else "lambda_identity=0")
            )
        found: Tensor = batch[key][rows].float()  # type: ignore[literal-required]
        return found

    def _generator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        pair = self._pair(batch)
        if pair is None:
            return {"nothing": _nothing(self.embedder, self.generator)}
        c = self.config
        identities = self.embedder.identities(pair.sources)
        head, segmentation = self.generator(identities.mean(1), self.embedder.pose(pair.pose))
        made = head * segmentation
        if pair.matte is None:
            made = made + (1 - segmentation) * pair.sources[:, 0]
        found = self.judges.reconstruction.parts(made, pair.truth)
        if pair.matte is not None and c.lambda_dice > 0:
            found["dice"] = c.lambda_dice * losses.dice(segmentation, pair.matte)
        if pair.landmarks is not None:
            distance = self.judges.identity_distance(made, pair.truth, pair.landmarks)
            found["identity"] = c.lambda_identity * distance
        if self.discriminator is not None and self.num_updates >= self._adversarial_from:
            shared["made"], shared["pair"] = made.detach(), pair
            found |= self._adversarial(self.discriminator, made, pair, identities[:, 0])
        return found or {"nothing": _nothing(self.embedder, self.generator)}

    def _adversarial(
        self, discriminator: Discriminator, made: Tensor, pair: Pair, identity: Tensor
    ) -> dict[str, Tensor]:
        c, vectors = self.config, discriminator.vectors(pair.labels)
        scores, maps = discriminator(made, None if vectors is None else vectors.detach())
        found = {"adversarial": c.lambda_adversarial * losses.fooling(scores)}
        if c.lambda_matching > 0:
            with torch.no_grad():
                _, real = discriminator(pair.truth)
            found["matching"] = c.lambda_matching * losses.matching(maps, real)
        if vectors is not None and c.lambda_embedding > 0:
            found["embedding"] = c.lambda_embedding * nn.functional.l1_loss(identity, vectors.detach())
        return found

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        assert self.discriminator is not None
        if "pair" not in shared:
            return {"nothing": _nothing(self.discriminator)}
        pair: Pair = shared["pair"]
        vectors = self.discriminator.vectors(pair.labels)
        real, _ = self.discriminator(pair.truth, vectors)
        # what was made teaches no vector of a person
        made, _ = self.discriminator(shared["made"], None if vectors is None else vectors.detach())
        return {"hinge": losses.telling_apart(real, made)}


def _nothing(*networks: nn.Module) -> Tensor:
    """A loss of 0 that every parameter takes part in: the batch had no usable row."""
    return torch.stack([p.sum() for network in networks for p in network.parameters()]).sum() * 0
