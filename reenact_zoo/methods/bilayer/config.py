"""Configuration of ``bilayer``: sizes, the paper's loss weights, and what differs at small scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reenact_zoo.methods.bilayer.embedders import EMBEDDING_SIDE, SIDE
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

FRAMES: Sequence[str] = ("foreground", "whole")
RELEASED_SIZE = 256


@dataclass
class Config:
    """What is built and how it is trained; loss weights are the paper's where a comment does not say otherwise.

    Attributes:
        image_size: side of the images in pixels, a power of two of 16 or more.
        width, cap: channels of embedder and texture generator at the largest size, and at most; the inference generator
            has half of both. (64, 512) at 256 px is the released network.
        pose_width: of the hidden layers of the pose embedder.
        projection_side: to which embeddings are resized before weights are read off them, a multiple of 16; half of it
            for the inference generator.
        enhancer_width, enhancer_inner, enhancer_blocks: channels at full and at half size, and residual blocks there.
        enhancer_steps: how often the texture is moved towards the source; 0 for no enhancer.
        discriminator_width: channels of its first layer.
        frame: "foreground" (the paper: the background of the source is hidden from the embedder, training compares
            the person alone, cut out by the predicted mask) or "whole" (everything is drawn and compared).
        mask_output: lay the person over black by the predicted mask; the released run shows what is drawn.
        lambda_pixel: of the mean absolute difference of the coarse picture alone, in [-1, 1].
        lambda_colour, lambda_gradient, lambda_perceptual: see ``nn.reconstruction``; of coarse picture plus moved
            texture, with no gradient into the coarse picture. The paper has the last alone.
        lambda_identity: of 1 - cosine of face embeddings, for the paper's features of a face network.
        identity_every: updates from one identity term to the next; the term is multiplied by it.
        lambda_segmentation: of the cross entropy of the driving frame's mask.
        lambda_flow: of the mean absolute offset, at the first update; times 0.9 every ``flow_decay_every`` updates.
        lambda_adversarial: of the generator's relativistic hinge term.
        lambda_matching: of the difference of the discriminator's feature maps.
        adversarial_start: share of the generators' updates after which the discriminator and its terms begin.
        enhancer_start: share of all updates after which the other networks rest and the enhancer is trained.
        learning_rate, discriminator_rate, enhancer_rate: of Adam (0.5, 0.999).
        decay_start: share of a phase from which its rate falls to 0; 1 for a constant rate.
        ema_decay: of the averaged weights.
    """

    image_size: int = 64
    width: int = 16
    cap: int = 128
    pose_width: int = 128
    projection_side: int = 16
    enhancer_width: int = 16
    enhancer_inner: int = 32
    enhancer_blocks: int = 4
    enhancer_steps: int = 4
    discriminator_width: int = 16
    frame: str = "foreground"
    mask_output: bool = False
    lambda_pixel: float = 10.0
    lambda_colour: float = 0.0
    lambda_gradient: float = 0.0
    lambda_perceptual: float = 10.0
    lambda_identity: float = 0.01
    identity_every: int = 1
    lambda_segmentation: float = 10.0
    lambda_flow: float = 10.0
    flow_decay_every: int = 50
    lambda_adversarial: float = 0.5
    lambda_matching: float = 10.0
    adversarial_start: float = 0.0
    enhancer_start: float = 0.8
    learning_rate: float = 2e-4
    discriminator_rate: float = 2e-4
    enhancer_rate: float = 2e-4
    decay_start: float = 1.0
    ema_decay: float = 0.999

    @classmethod
    def tiny(cls) -> Config:
        """Small and quick enough for tests."""
        return cls(
            image_size=16,  # two blocks: every layer is many small operations, whatever its size
            width=4,
            cap=8,
            pose_width=16,
            enhancer_width=4,
            enhancer_inner=8,
            enhancer_blocks=1,
            enhancer_steps=2,
            discriminator_width=4,
            frame="whole",
            lambda_colour=10.0,
            lambda_perceptual=0.0,
            lambda_identity=0.0,
            lambda_matching=1.0,
            adversarial_start=0.75,
            learning_rate=4e-3,
            enhancer_rate=4e-3,
            ema_decay=0.9,
        )

    @classmethod
    def released(cls) -> Config:
        """The network of the released VoxCeleb2 run: 102.8 million parameters."""
        return cls(
            image_size=RELEASED_SIZE,
            width=64,
            cap=512,
            pose_width=256,
            projection_side=32,
            enhancer_width=64,
            enhancer_inner=128,
            enhancer_blocks=8,
            discriminator_width=64,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        if self.frame not in FRAMES:
            raise InputError(f"bilayer: frame is '{self.frame}'; {nearest(self.frame, FRAMES)}")
        if self.image_size < 2 * EMBEDDING_SIDE or self.image_size.bit_count() != 1:
            raise InputError(f"bilayer: image_size must be a power of two of 16 or more, not {self.image_size}")
        if self.width % 2 or self.cap % 2:
            raise InputError(f"bilayer: width and cap must be even, not {self.width} and {self.cap}")
        if self.projection_side % (2 * EMBEDDING_SIDE) or self.projection_side <= 0:
            raise InputError(f"bilayer: projection_side must be a multiple of 16, not {self.projection_side}")
        for field in ("adversarial_start", "enhancer_start", "decay_start"):
            if not 0 <= getattr(self, field) <= 1:
                raise InputError(f"bilayer: {field} is a share and must lie in [0, 1], not {getattr(self, field)}")
        for field in ("identity_every", "flow_decay_every"):
            if getattr(self, field) < 1:
                raise InputError(f"bilayer: {field} must be at least 1, not {getattr(self, field)}")

    @property
    def halvings(self) -> int:
        """Between image and embedding."""
        return (self.image_size // EMBEDDING_SIDE).bit_length() - 1

    @property
    def channels(self) -> list[int]:
        """Of the texture generator's constant, then of each block's output."""
        blocks = (self.image_size // SIDE).bit_length() - 1
        return [min(self.width * 2 ** (blocks - i), self.cap) for i in range(blocks + 1)]

    @property
    def has_enhancer(self) -> bool:
        """Whether there is one, and training makes it."""
        return self.enhancer_steps > 0 and self.enhancer_start < 1
