"""Configuration of ``dcg_gan``: sizes, losses, and the ablations of the paper's table 1 as values.

sD is ``corr.inputs: [parsing]``, sG is ``gen.afm: bottom_only``, sDG is both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reenact_zoo.methods.dcg_gan.correspondence import Corr
from reenact_zoo.methods.dcg_gan.generator import Gen
from reenact_zoo.methods.dcg_gan.losses import LossWeights
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

CHOICES: dict[str, Sequence[str]] = {
    "head": ("auto", "bundled", "ict_reduced", "procedural_reduced", "flame"),
    "training_coefficients": ("estimated", "given"),
}


@dataclass
class Config:
    """What is built and how it is trained.

    Attributes:
        image_size: side of the images in pixels.
        head: what the proxies show: "flame" as in the paper, with DECA's encoder (licensed files); "bundled", a reduced
            ICT-FaceKit with E_3D of the synthetic people; "ict_reduced", the same head with its full mesh;
            "procedural_reduced", made by code, which shows pose, expression and light alone; "auto" is "flame" where
            its files are at hand, else "bundled". What "auto" found is what checkpoints record.
        flame_model, flame_landmarks, flame_texture: paths of FLAME's files; the first is looked up among the weights
            where empty, the last is optional.
        training_coefficients: of training frames. "estimated" runs E_3D on them, so that training sees the errors of
            use; "given" takes what the data set gives, reduced to the head's (needs ict_facekit), true on synthetic
            data.
        place_by_landmarks: correct E_3D's camera so that the head's points lie on the landmarks, which tell more
            precisely where a head is; framing decides much of how near a picture is to the truth. Not in the paper.
        landmark_noise: training landmarks are moved by this much of the distance between the eyes before E_3D looks
            through them: the data set's own ones are better than those a detector finds later.
        corr, gen: the estimator and the generator.
        losses: weights, and the share of training from which a term counts.
        judge_every: updates from one identity and geometry term to the next; the terms are multiplied by it.
        cycle_every: the same for the cycle term, whose reverse mapping is a softmax of all products once more.
        discriminator_width: channels of its first layer.
        paired_start, paired_end: probability of paired samples at first, and from half of training on.
        learning_rate, discriminator_rate, first_moment: of Adam (first_moment, 0.999).
        decay_start: share of training from which the rates fall to 0; the paper has no decay: 1.
        ema_decay: of the averaged weights; not in the paper.
    """

    image_size: int = 64
    head: str = "auto"
    flame_model: str = ""
    flame_landmarks: str = ""
    flame_texture: str = ""
    training_coefficients: str = "estimated"
    place_by_landmarks: bool = True
    landmark_noise: float = 0.035
    corr: Corr = field(default_factory=Corr)
    gen: Gen = field(default_factory=Gen)
    losses: LossWeights = field(default_factory=LossWeights)
    judge_every: int = 1
    cycle_every: int = 1
    discriminator_width: int = 16
    paired_start: float = 0.8
    paired_end: float = 0.5
    learning_rate: float = 2e-4
    discriminator_rate: float = 2e-4
    first_moment: float = 0.5
    decay_start: float = 0.5
    ema_decay: float = 0.999

    @classmethod
    def tiny(cls) -> Config:
        """Small and quick enough for tests."""
        return cls(
            image_size=32,
            head="bundled",
            corr=Corr.tiny(),
            gen=replace(Gen.tiny(), widths=[8, 8]),
            losses=LossWeights(identity=0.1, geometry=0.05),  # ten times as much every tenth update
            judge_every=10,
            discriminator_width=4,
            learning_rate=5e-3,
            ema_decay=0.9,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"dcg_gan: {name} is '{value}'; {nearest(value, known)}")
        if not 0 <= self.paired_end <= self.paired_start <= 1:
            raise InputError(
                "dcg_gan: paired_start and paired_end are probabilities, the first at least the second, not "
                f"{self.paired_start} and {self.paired_end}"
            )
        if not 0 <= self.decay_start <= 1:
            raise InputError(f"dcg_gan: decay_start is a share and must lie in [0, 1], not {self.decay_start}")
        if self.judge_every < 1 or self.cycle_every < 1 or self.landmark_noise < 0:
            raise InputError("dcg_gan: judge_every and cycle_every must be at least 1 and landmark_noise at least 0")
