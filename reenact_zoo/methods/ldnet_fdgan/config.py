"""Configuration of ``ldnet_fdgan``: sizes, stages, loss weights, and every ablation as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from reenact_zoo.methods.ldnet_fdgan.fd_losses import FDLossWeights
from reenact_zoo.methods.ldnet_fdgan.ld_losses import LDLossWeights
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

NORMS = ("group", "instance")
SHARES = ("ld_collect", "ld_stage1_end", "ld_stage2_end", "adversarial_start", "adversarial_ramp", "cross_share")
SMALLEST_PX = 4  # side of the U-Nets' last map


@dataclass
class Config:
    """What is built and how it is trained; the defaults are those of the 64 pixel row.

    Attributes:
        image_size: side of the images in pixels.
        identities: people the training data have; labels reach from 0 to identities - 1.
        widths: channels after each halving of both U-Nets.
        last: channels at full size in the translator.
        norm: "group" (16 channels together) or "instance" (paper scale; learns badly on small maps).
        dictionary_sides: sides in pixels of the up path's maps that have a dictionary.
        dictionary_slots: entries of each.
        key_dim: length of keys and queries.
        dictionary: False: the extractor's features reach the translator at their own place instead (ablation).
        blend: a fourth channel of the translator chooses between its picture and the unmoved source; not in the paper.
        ld_net: False: the driver's landmarks are used as they are (ablation). May be chosen after training; training
            with False leaves LD-Net untrained.
        smoothing: share of the past in LD-Net's pose and expression codes from frame to frame of one clip, in [0, 1);
            0 for none. May be chosen after training.
        ld_width, pose_code, identity_code: see ``ld_net.LDNet``.
        ld_weights: a file of LD-Net's weights to start from, see ``ld_training.load_ld_net``; "" for none.
        ld_stage1_end, ld_stage2_end: shares of all updates at which LD-Net's stages end; FD-GAN has the rest. Equal
            to the value before: that stage is left out.
        ld_collect: share of all updates, the first of LD-Net's stage 1, in which faces are remembered and nothing is
            learnt: the bank of identities begins with people's mean shapes.
        ld_steps: LD-Net's optimiser steps per update; all but the last learn from remembered landmarks alone.
        ld_batch: faces per step.
        ld_memory: faces remembered.
        ld_rate: of Adam for LD-Net.
        ld_losses: LD-Net's loss weights.
        patch_widths: channels of discriminator and classifier after each halving.
        narrow: channels before the classifier's head.
        spectral: spectral norm in the discriminator.
        adversarial_start: share of FD-GAN's updates after which discriminator, classifier and their terms begin.
        adversarial_ramp: share of FD-GAN's updates over which these terms grow to their weights.
        cross_share: cross pairs made by exchange in every batch from then on, as a share of its rows.
        landmark_noise: training landmarks are moved by this much of the distance between the eyes: the data set's own
            ones are better than those a detector finds later.
        losses: FD-GAN's loss weights.
        learning_rate, patch_rate: of Adam (0.5, 0.999) for the U-Nets, and for discriminator and classifier.
        decay_start: share of FD-GAN's updates from which the rates fall to 0.
        ema_decay: of the U-Nets' averaged weights.
    """

    image_size: int = 64
    identities: int = 1000
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 96])
    last: int = 16
    norm: str = "group"
    dictionary_sides: list[int] = field(default_factory=lambda: [8, 16, 32])
    dictionary_slots: list[int] = field(default_factory=lambda: [64, 128, 256])
    key_dim: int = 64
    dictionary: bool = True
    blend: bool = False
    ld_net: bool = True
    smoothing: float = 0.0
    ld_width: int = 160
    pose_code: int = 32
    identity_code: int = 64
    ld_weights: str = ""
    ld_stage1_end: float = 0.1
    ld_stage2_end: float = 0.2
    ld_collect: float = 0.02
    ld_steps: int = 8
    ld_batch: int = 128
    ld_memory: int = 32768
    ld_rate: float = 2e-3
    ld_losses: LDLossWeights = field(default_factory=LDLossWeights)
    patch_widths: list[int] = field(default_factory=lambda: [16, 32, 64])
    narrow: int = 32
    spectral: bool = True
    adversarial_start: float = 0.3
    adversarial_ramp: float = 0.05
    cross_share: float = 0.25
    landmark_noise: float = 0.02
    losses: FDLossWeights = field(default_factory=FDLossWeights)
    learning_rate: float = 1e-3
    patch_rate: float = 4e-4
    decay_start: float = 0.5
    ema_decay: float = 0.999

    @classmethod
    def tiny(cls) -> Config:
        """Small and quick enough for tests."""
        return cls(
            image_size=32,
            identities=4,
            widths=[8, 16, 16],
            last=8,
            dictionary_sides=[8, 16],
            dictionary_slots=[4, 8],
            key_dim=8,
            ld_width=16,
            pose_code=8,
            identity_code=8,
            ld_stage1_end=0.1,
            ld_stage2_end=0.2,
            ld_collect=0.0,
            ld_steps=2,
            ld_batch=8,
            ld_memory=64,
            patch_widths=[4, 8],
            narrow=4,
            adversarial_start=0.6,
            losses=FDLossWeights(perceptual=0.0),
            learning_rate=5e-3,
            ema_decay=0.8,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        if self.norm not in NORMS:
            raise InputError(f"ldnet_fdgan: norm is '{self.norm}'; {nearest(self.norm, NORMS)}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"ldnet_fdgan: {name} is a share and must lie in [0, 1], not {getattr(self, name)}")
        if self.ld_stage2_end < self.ld_stage1_end:
            raise InputError("ldnet_fdgan: ld_stage2_end must not lie before ld_stage1_end")
        if not 0 <= self.smoothing < 1:
            raise InputError(f"ldnet_fdgan: smoothing must lie in [0, 1), not {self.smoothing}")
        for name in ("identities", "ld_steps", "ld_batch", "ld_memory"):
            if getattr(self, name) < 1:
                raise InputError(f"ldnet_fdgan: {name} must be at least 1, not {getattr(self, name)}")
        self._check_sizes()

    def _check_sizes(self) -> None:
        smallest = self.image_size >> len(self.widths)
        if self.image_size % 2 ** len(self.widths) or smallest < SMALLEST_PX:
            raise InputError(
                f"ldnet_fdgan: {len(self.widths)} widths halve the image as often, which {self.image_size} px do not "
                f"allow; the last map must have {SMALLEST_PX} px or more"
            )
        known = [self.image_size >> level for level in range(len(self.widths) - 1, 0, -1)]
        wrong = [side for side in self.dictionary_sides if side not in known]
        if wrong or not self.dictionary_sides or len(self.dictionary_sides) != len(self.dictionary_slots):
            raise InputError(
                f"ldnet_fdgan: dictionary_sides must be some of {known}, with as many dictionary_slots, not "
                f"{self.dictionary_sides} and {self.dictionary_slots}"
            )

    @property
    def slots(self) -> dict[int, int]:
        """Side of a level → slots of its dictionary."""
        return dict(zip(self.dictionary_sides, self.dictionary_slots, strict=True))
