"""Configuration of ``flow_renderer``: sizes, losses, the two phases, and the ablations as values.

Ablations: ``cyclic: false``, ``rigid_prior: false``, ``sizes.volume.depth: 1``, ``sizes.refinement.transformer: false``
and ``inpainting: false``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reenact_zoo.methods.flow_renderer.descriptor import READERS
from reenact_zoo.methods.flow_renderer.losses import LossWeights
from reenact_zoo.methods.flow_renderer.networks import Sizes
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

CHOICES: dict[str, Sequence[str]] = {
    "coefficients": tuple(READERS),
    "training_annotations": ("estimated", "given"),
}
MOST_CROSS = 0.25  # share of pairs on which only the cycle is known; more of them, and no flow is the best flow


@dataclass
class Config:
    """What is built and how it is trained.

    Attributes:
        image_size: side of the images in pixels.
        coefficients: kind of the rows of coefficients, see ``descriptor``.
        training_annotations: of training frames. "estimated" reads the coefficients of both frames and the source's
            matte with the instruments that evaluation uses, because those make errors that the truth has not (needs
            the bundled ones: ``coefficients: ict_reduced``); "given" takes what the data set gives.
        landmark_noise: training landmarks are moved by this much of the distance between the eyes before instruments
            look through them: the data set's own ones are better than those a detector finds later.
        sizes: of the networks.
        rigid_prior: start every flow from the rigid motion of the heads; false: from no motion.
        inpainting: fill the uncovered background with a network of its own; false: refinement draws the whole picture.
        cyclic: warp back to the source as well.
        warp_share: share of the updates in which only appearance, flow and RGB head learn; then everything, with a
            fresh optimiser. Not below 0, below 1.
        cross_share: share of pairs that get another person's driving frame in training, at most 0.25.
        losses: weights.
        cycle_every: updates between terms of the way back and of P(V_s), which then count that many times.
        judge_every: the same for terms that look through an identity or coefficient network.
        discriminator_width: channels of its first layer.
        learning_rate, discriminator_rate, first_moment: of Adam (first_moment, 0.999).
        clip_norm: largest norm of the gradient; null for none.
        decay_start: share of the second phase from which rates fall to 0; 1 for never.
        ema_decay: of the averaged weights.
    """

    image_size: int = 64
    coefficients: str = "ict_reduced"
    training_annotations: str = "estimated"
    landmark_noise: float = 0.035
    sizes: Sizes = field(default_factory=Sizes)
    rigid_prior: bool = True
    inpainting: bool = True
    cyclic: bool = True
    warp_share: float = 0.12
    cross_share: float = 0.2
    losses: LossWeights = field(default_factory=LossWeights)
    cycle_every: int = 2
    judge_every: int = 4
    discriminator_width: int = 16
    learning_rate: float = 1e-3
    discriminator_rate: float = 2e-4
    first_moment: float = 0.5
    clip_norm: float | None = 10.0
    decay_start: float = 0.5
    ema_decay: float = 0.999

    @classmethod
    def tiny(cls) -> Config:
        """Small and quick enough for tests: no instrument is needed."""
        return cls(
            image_size=32,
            coefficients="flame",
            training_annotations="given",
            sizes=Sizes.tiny(),
            losses=LossWeights.tiny(),
            cycle_every=3,
            discriminator_width=4,
            learning_rate=5e-3,
            decay_start=1.0,
            ema_decay=0.9,
        )

    @classmethod
    def paper(cls) -> Config:
        """256 pixels, sizes and rates of the published components that the paper builds on."""
        return cls(
            image_size=256,
            training_annotations="given",
            landmark_noise=0.0,
            sizes=Sizes.paper(),
            warp_share=0.5,
            losses=LossWeights.paper(),
            cycle_every=1,
            judge_every=1,
            discriminator_width=64,
            learning_rate=1e-4,
            discriminator_rate=1e-4,
            clip_norm=1.0,
            decay_start=0.5,
            ema_decay=0.998,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"flow_renderer: {name} is '{value}'; {nearest(value, known)}")
        self._check_shares()
        for name in ("cycle_every", "judge_every"):
            if getattr(self, name) < 1:
                raise InputError(f"flow_renderer: {name} must be at least 1, not {getattr(self, name)}")
        if self.landmark_noise < 0:
            raise InputError(f"flow_renderer: landmark_noise must be at least 0, not {self.landmark_noise}")
        if self.coefficients != "ict_reduced":
            self._check_foreign()

    def _check_shares(self) -> None:
        if not 0 <= self.warp_share < 1:
            raise InputError(
                f"flow_renderer: warp_share is the first phase's share of training, 0 to below 1, not {self.warp_share}"
            )
        if not 0 <= self.cross_share <= MOST_CROSS:
            raise InputError(
                f"flow_renderer: cross_share must lie in [0, {MOST_CROSS}], not {self.cross_share}: on pairs of two "
                "persons a flow without expression satisfies the cycle"
            )
        if not 0 <= self.decay_start <= 1:
            raise InputError(f"flow_renderer: decay_start is a share and must lie in [0, 1], not {self.decay_start}")

    def _check_foreign(self) -> None:
        """The bundled E_3D reads rows of "ict_reduced" alone."""
        if self.training_annotations == "estimated":
            raise InputError(
                f"flow_renderer: coefficients '{self.coefficients}' cannot be estimated in training; set "
                "training_annotations=given, or coefficients=ict_reduced"
            )
        if self.losses.coefficients > 0:
            raise InputError(
                f"flow_renderer: coefficients '{self.coefficients}' cannot be read in a picture that training made; "
                "set losses.coefficients=0, or coefficients=ict_reduced"
            )
