"""Configuration of ``latent_pose``: sizes of the networks, how the head is laid over a picture, and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

CHOICES: dict[str, Sequence[str]] = {
    "encoders": ("released", "small"),
    "background": ("filled", "black", "source"),
}
RELEASED_SIZE = 256


@dataclass
class Config:
    """What is built and how it is trained; ``released()`` has the sizes and numbers of the released code.

    Attributes:
        image_size: side of the images in pixels, a power of two of 16 or more.
        base_width, cap_width: channels of the generator at the largest size, and at most; they double with every
            halving of the side.
        residual_blocks: blocks of the generator at 4x4 pixels, before the first enlargement.
        norm_group: channels that the generator normalises together; 1 is the instance norm of the paper.
        scale_start: what a fresh generator multiplies normalised maps by, 0 for the random small numbers of the
            released code.
        encoders: "released" (ResNeXt-50 32x4d and MobileNetV2), or "small" ones with group norm.
        encoder_width: channels of the first layer of the small ones, a multiple of 8.
        identity_size, pose_size: length of the two embeddings.
        background: "black" returns the foreground alone, as released; "filled" lays it over the source, whose own head
            is filled in from its surroundings. Both are trained with ``driving_matte``; either may be chosen after
            training. "source" lays it over the source as it is and is trained without mattes: the whole frame is the
            truth, and the segmentation is what makes it.
        sources: how many source images a batch must have at least; all in ``extra_sources`` are used. May be chosen
            after training.
        augment: alter the driving image in training before the pose encoder sees it.
        discriminator_width: channels of the first layer of the discriminator.
        identities: how many training identities the discriminator learns a vector of; 0 judges without them, and then
            ``lambda_embedding`` has nothing to match.
        lambda_colour, lambda_gradient, lambda_perceptual: see ``nn.reconstruction``; the paper has the last alone.
        lambda_identity: of 1 - cosine of face embeddings; it needs ``driving_landmarks`` in the training batch.
        lambda_dice: of -log of the Dice coefficient of the segmentation.
        lambda_adversarial: of the generator's hinge term; 0 builds no discriminator.
        lambda_matching: of the mean absolute difference of the discriminator's maps.
        lambda_embedding: of the mean absolute difference of identity embedding and the discriminator's vector.
        adversarial_start: share of the updates after which the discriminator and its terms begin.
        learning_rate, discriminator_rate: of Adam.
        beta1: of both; the second moment has 0.999.
        decay_start: share of the training from which the rates fall to 0; 1 for never.
        ema_decay: of the averaged weights.
    """

    image_size: int = 64
    base_width: int = 32
    cap_width: int = 128
    residual_blocks: int = 2
    norm_group: int = 16
    scale_start: float = 1.0
    encoders: str = "small"
    encoder_width: int = 16
    identity_size: int = 128
    pose_size: int = 32
    background: str = "filled"
    sources: int = 1
    augment: bool = True
    discriminator_width: int = 16
    identities: int = 0
    lambda_colour: float = 10.0
    lambda_gradient: float = 10.0
    lambda_perceptual: float = 1.0
    lambda_identity: float = 0.0
    lambda_dice: float = 1.0
    lambda_adversarial: float = 1.0
    lambda_matching: float = 10.0
    lambda_embedding: float = 1e-2
    adversarial_start: float = 0.0
    learning_rate: float = 5e-5
    discriminator_rate: float = 2e-4
    beta1: float = 0.0
    decay_start: float = 1.0
    ema_decay: float = 0.999

    @classmethod
    def tiny(cls) -> Config:
        """Small and quick enough for tests; trains without mattes and discriminator."""
        return cls(
            image_size=16,
            base_width=8,
            cap_width=16,
            residual_blocks=1,
            norm_group=8,
            encoder_width=8,
            identity_size=16,
            pose_size=8,
            background="source",
            discriminator_width=4,
            identities=4,
            lambda_perceptual=0.0,
            lambda_adversarial=0.0,
            lambda_matching=0.1,
            learning_rate=3e-3,
            beta1=0.5,
            ema_decay=0.9,
        )

    @classmethod
    def released(cls) -> Config:
        """Networks of the released VoxCeleb2 model, its losses and rates; its picture networks are ours, see README."""
        return cls(
            image_size=RELEASED_SIZE,
            base_width=64,
            cap_width=512,
            norm_group=1,
            scale_start=0.0,
            encoders="released",
            identity_size=512,
            pose_size=256,
            background="black",
            discriminator_width=64,
            lambda_colour=0.0,
            lambda_gradient=0.0,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        for field, known in CHOICES.items():
            value = getattr(self, field)
            if value not in known:
                raise InputError(f"latent_pose: {field} is '{value}'; {nearest(value, known)}")
        if self.image_size < 16 or self.image_size & (self.image_size - 1):
            raise InputError(f"latent_pose: image_size must be 16, 32, 64, 128, 256 or 512, not {self.image_size}")
        for field in ("base_width", "cap_width"):
            if self.norm_group < 1 or getattr(self, field) % self.norm_group:
                raise InputError(
                    f"latent_pose: {field} {getattr(self, field)} must be a multiple of norm_group {self.norm_group}"
                )
        if self.encoder_width < 8 or self.encoder_width % 8:
            raise InputError(f"latent_pose: encoder_width must be a multiple of 8, not {self.encoder_width}")
        for field in ("adversarial_start", "decay_start"):
            if not 0 <= getattr(self, field) <= 1:
                raise InputError(f"latent_pose: {field} is a share and must lie in [0, 1], not {getattr(self, field)}")
        if self.sources < 1:
            raise InputError(f"latent_pose: sources must be at least 1, not {self.sources}")

    @property
    def has_matte(self) -> bool:
        """Whether training compares the foreground alone, with the matte of the driving frame."""
        return self.background != "source"
