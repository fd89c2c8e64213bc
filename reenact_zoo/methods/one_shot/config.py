"""Configuration of ``one_shot``: sizes, the paper's loss weights, and every ablation as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reenact_zoo.methods.one_shot.schemes import scheme_named
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

CHOICES: dict[str, Sequence[str]] = {
    "concat": ("all", "none", "16", "32", "64", "128"),
    "fusion": ("learned", "fixed", "none"),
    "preset": ("clean", "official"),
    "training": ("video", "single_image"),
    "driving_shape": ("driving", "personalised"),
}


@dataclass
class Config:
    """What is built and how it is trained; the numbers of the losses are the released code's.

    Attributes:
        image_size: side of the images in pixels, a power of two of 32 or more.
        base_width, cap_width: channels at the largest size, and at most; (64, 1024) at 256 px is the released network.
        latent: length of the appearance code; null for ``cap_width``.
        norm_group: channels that are normalised together; 1 is the released instance norm, which narrow networks at 64
            pixels learn badly with (an autoencoder of these widths: 16 took it from .090 to .078 after 500 updates).
        spectral_norm: spectral norm in the discriminators, in place of instance norm.
        fusion_width, discriminator_width: channels of the first layer of FusionNet and of each discriminator.
        concat: which feature levels of the appearance decoder the generator sees, by their side at 256 px: all, none,
            16, 32, 64 or 128.
        fusion: what shows the result: "learned" (FusionNet), "fixed" (the released alpha blend), "none" (the decoder's
            output). May be chosen after training.
        preset: "clean", or "official" with the released code's gamma, BGR, noise on the code and face-masked output.
        scheme: landmark scheme; "" for 68 points, in the official preset for the authors' 106 + 40.
        training: "video" (pairs of frames of one person) or "single_image" (one image per person).
        driving_shape: "driving" takes the driver's face contour as the paper does; "personalised" first gives the
            driving landmarks the source's face shape. May be chosen after training.
        sources: how many source images a batch must have at least; all in ``extra_sources`` are used, with their
            ``extra_sources_landmarks``. May be chosen after training.
        lambda_appearance: of the reconstruction of the source from its code; the paper's lambda.
        lambda_pixel: of the weighted absolute difference to the true image, in [-1, 1].
        lambda_colour, lambda_gradient, lambda_perceptual: see ``nn.reconstruction``; the paper has the last alone.
        lambda_identity: of 1 - cosine of face embeddings.
        identity_every: updates from one identity term to the next; the term is multiplied by it.
        lambda_adversarial: of the generator's least-squares term, summed over three scales.
        lambda_smooth_mask: of the total variation of FusionNet's mask.
        adversarial_start: share of the generator's updates after which discriminators and their term begin.
        fusion_start: share of all updates after which the generator rests and FusionNet is trained; 1 for never.
        landmark_noise: training landmarks are moved by this much of the distance between the eyes: the data set's own
            ones are better than those a detector finds later.
        learning_rate, discriminator_rate, fusion_rate: of Adam (0.5, 0.999).
        decay_start: share of a phase from which its rate falls to 0.
        ema_decay: of the averaged weights.
    """

    image_size: int = 64
    base_width: int = 16
    cap_width: int = 128
    latent: int | None = None
    norm_group: int = 1
    spectral_norm: bool = False
    fusion_width: int = 8
    discriminator_width: int = 16
    concat: str = "all"
    fusion: str = "learned"
    preset: str = "clean"
    scheme: str = ""
    training: str = "video"
    driving_shape: str = "driving"
    sources: int = 1
    lambda_appearance: float = 25.0
    lambda_pixel: float = 25.0
    lambda_colour: float = 0.0
    lambda_gradient: float = 0.0
    lambda_perceptual: float = 1.0
    lambda_identity: float = 1.0
    identity_every: int = 1
    lambda_adversarial: float = 1.0
    lambda_smooth_mask: float = 1e-3
    adversarial_start: float = 0.0
    fusion_start: float = 0.8
    landmark_noise: float = 0.0
    learning_rate: float = 1e-4
    discriminator_rate: float = 5e-5
    fusion_rate: float = 2e-4
    decay_start: float = 0.5
    ema_decay: float = 0.999

    @classmethod
    def tiny(cls) -> Config:
        """Small and quick enough for tests."""
        return cls(
            image_size=64,
            base_width=8,
            cap_width=16,
            fusion_width=4,
            discriminator_width=4,
            learning_rate=4e-3,
            fusion_rate=4e-3,
            ema_decay=0.9,
            lambda_adversarial=0.1,
            fusion_start=0.6,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        for field, known in CHOICES.items():
            value = getattr(self, field)
            if value not in known:
                raise InputError(f"one_shot: {field} is '{value}'; {nearest(value, known)}")
        if self.preset == "official" and (self.norm_group != 1 or self.spectral_norm):
            raise InputError(
                "one_shot: the official preset has instance norm; use norm_group=1 and spectral_norm=false"
            )
        if self.scheme:
            scheme_named(self.scheme)
        for field in ("adversarial_start", "fusion_start", "decay_start"):
            if not 0 <= getattr(self, field) <= 1:
                raise InputError(f"one_shot: {field} is a share and must lie in [0, 1], not {getattr(self, field)}")
        for field in ("sources", "identity_every", "norm_group"):
            if getattr(self, field) < 1:
                raise InputError(f"one_shot: {field} must be at least 1, not {getattr(self, field)}")
        if self.fusion == "learned" and not self.has_fusion_net:
            raise InputError(
                "one_shot: FusionNet is not trained here; use fusion=fixed or fusion=none, or, for training on video "
                "pairs, fusion_start below 1 (on pairs made of one image the warp is the truth: nothing to choose)"
            )

    @property
    def has_fusion_net(self) -> bool:
        """Whether training makes a FusionNet; what is chosen after training does not change it."""
        return self.training == "video" and self.fusion_start < 1

    @property
    def landmark_scheme(self) -> str:
        """The scheme, its default filled in."""
        return self.scheme or ("osfr_146" if self.preset == "official" else "68")
