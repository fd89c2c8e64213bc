"""One training update: the pairs it sees, and its terms; see ``losses`` for what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reenact_zoo.methods._judges import Judges
from reenact_zoo.methods._sampling import as_detected, with_cross_pairs
from reenact_zoo.methods.flow_renderer import losses
from reenact_zoo.methods.flow_renderer.config import Config
from reenact_zoo.methods.flow_renderer.descriptor import Reader
from reenact_zoo.methods.flow_renderer.estimates import INSTRUMENTS, Estimates
from reenact_zoo.methods.flow_renderer.networks import Composed, Networks, Source, Warped
from reenact_zoo.methods.flow_renderer.refinement import Refined
from reenact_zoo.methods.flow_renderer.rigid import RigidMotion
from reenact_zoo.methods.flow_renderer.rows import CoefficientRows, finite_rows
from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights
from reenact_zoo.types import PairBatch


@dataclass(frozen=True)
class Pair:
    """What one training update sees, rows without a usable face left out.

    Attributes:
        source, driving: (B, 3, S, S).
        matte: (B, 1, S, S) of the source, as good as in use.
        driving_matte: (B, 1, S, S) of the data set.
        rows, driving_rows: (B, K) coefficients, as good as in use.
        paired: (B,) bool; True: the driving frame is the ground truth.
        landmarks: (B, 68, 2) of the driving frame.
    """

    source: Tensor
    driving: Tensor
    matte: Tensor
    driving_matte: Tensor
    rows: Tensor
    driving_rows: Tensor
    paired: Tensor
    landmarks: Tensor


@dataclass(frozen=True)
class Lesson:
    """A pair on its way through the networks, up to the RGB of the warped volume.

    Attributes:
        pair: it.
        source: encoded.
        code: (B, code) of the driving motion.
        motion: of the driving head.
        warped: V_w.
        warped_rgb: P(V_w), (B, 3, S, S).
    """

    pair: Pair
    source: Source
    code: Tensor
    motion: RigidMotion
    warped: Warped
    warped_rgb: Tensor


class Teacher:
    """The losses with the fixed networks that they look through; no part of the method or of its checkpoints.

    Args:
        config: of the method.
        reader: of its rows.
        device: where it runs.
        estimates: makes the instruments of training frames.

    Attributes:
        instruments: weight entries that training looks at.
    """

    def __init__(
        self, config: Config, reader: Reader, device: torch.device, estimates: Callable[[], Estimates]
    ) -> None:
        self._config, self._reader, self._estimates = config, reader, estimates
        weights = ReconstructionWeights(config.losses.colour, config.losses.gradient, config.losses.perceptual)
        self._judges = Judges(weights, config.losses.identity > 0, device)
        self._plain = ReconstructionLoss(replace(weights, perceptual=0.0))
        self._rows = CoefficientRows(reader, estimates)
        self.instruments = self._judges.instruments
        if config.training_annotations == "estimated" or config.losses.coefficients > 0:
            self.instruments = tuple(sorted({*self.instruments, *INSTRUMENTS}))

    # --- what an update sees --------------------------------------------------------------------------------------

    def pair(self, batch: PairBatch) -> Pair | None:
        """The rows that can be trained on; None where there is none."""
        batch = with_cross_pairs(batch, self._config.cross_share)
        rows, driving_rows, matte = self._annotations(batch)
        driving_matte = batch["driving_matte"].float()
        usable = torch.stack([finite_rows(x) for x in (rows, driving_rows, matte, driving_matte)]).all(0)
        if not bool(usable.any()):
            return None
        return Pair(
            source=batch["source"][usable].float(),
            driving=batch["driving"][usable].float(),
            matte=matte[usable].clamp(0, 1),
            driving_matte=driving_matte[usable],
            rows=rows[usable],
            driving_rows=driving_rows[usable],
            paired=batch["same_identity"][usable],
            landmarks=batch["driving_landmarks"][usable].float(),
        )

    @torch.no_grad()
    def _annotations(self, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (B, K) of source and driving frame, and the source's matte (B, 1, S, S)."""
        if self._config.training_annotations == "given":
            return self._rows.of(batch, "source"), self._rows.of(batch, "driving"), batch["source_matte"].float()
        points = torch.cat([batch["source_landmarks"], batch["driving_landmarks"]]).float()
        points = as_detected(points, self._config.landmark_noise)
        images = torch.cat([batch["source"], batch["driving"]]).float()
        rows, driving_rows = self._estimates().coefficients(images, points).chunk(2)
        return rows, driving_rows, self._estimates().matte(batch["source"].float(), points[: len(rows)])

    # --- distances ------------------------------------------------------------------------------------------------

    def _distance(self, made: Tensor, truth: Tensor, weight: Tensor | None = None, *, features: bool = False) -> Tensor:
        """Of pictures (B, 3, S, S), with the zoo's one set of parts; with or without features."""
        loss = self._judges.reconstruction if features or self._config.losses.everywhere else self._plain
        result: Tensor = loss(made.float(), truth.float(), weight)
        return result

    # --- the warp -------------------------------------------------------------------------------------------------

    def warp(self, networks: Networks, lesson: Lesson, update: int, *, alone: bool) -> dict[str, Tensor]:
        """Terms of both phases.

        Args:
            networks: they.
            lesson: the pairs on their way.
            update: number of the update; some terms are computed at every so many ones, and count that many times.
            alone: phase 1: features of P(V_w) are compared.
        """
        w, paired = self._config.losses, lesson.pair.paired
        field = lesson.warped.field
        truth = lesson.pair.driving * lesson.pair.driving_matte
        found = {}
        if w.warped > 0 and bool(paired.any()):
            distance = self._distance(lesson.warped_rgb[paired], truth[paired], features=alone)
            found["warped"] = w.warped * distance
        if w.occlusion > 0:
            found["occlusion"] = w.occlusion * losses.total_variation(field.occlusion)
        if w.flow > 0:
            found["flow"] = w.flow * losses.flow_smoothness(field.residual)
        if w.coefficients > 0 and update % self._config.judge_every == 0:
            found["coefficients"] = w.coefficients * self._config.judge_every * self._read_again(lesson, truth)
        if update % self._config.cycle_every == 0:
            back = self.cycle(networks, lesson) if self._config.cyclic else {}
            if w.own > 0:
                back["own"] = w.own * self._distance(networks.rgb(lesson.source.volume), lesson.source.foreground)
            found |= {name: self._config.cycle_every * value for name, value in back.items()}
        return found

    def cycle(self, networks: Networks, lesson: Lesson) -> dict[str, Tensor]:
        """Terms of the way back to the source, on all pairs: "cycled", "volume", "flow_cycle"."""
        w, source, field = self._config.losses, lesson.source, lesson.warped.field
        if not max(w.cycled, w.volume, w.flow_cycle) > 0:
            return {}
        seen = losses.without_gradient_of_occlusion(lesson.warped.unmasked, field.occlusion)
        back = networks.warp(seen, lesson.code, source.code, lesson.motion, source.motion, detach_occlusion=True)
        found = {}
        if w.cycled > 0:
            found["cycled"] = w.cycled * self._distance(networks.rgb(back.volume), source.foreground)
        if w.volume > 0:
            found["volume"] = w.volume * losses.volume_cycle(back.unmasked, source.volume, back.field.occlusion)
        if w.flow_cycle > 0:
            distance = losses.flow_cycle(field.flow, back.field.flow, back.field.occlusion)
            found["flow_cycle"] = w.flow_cycle * distance
        return found

    def _read_again(self, lesson: Lesson, truth: Tensor) -> Tensor:
        """Expression and head angles that E_3D sees in P(V_w) against those it sees in the driving foreground.

        Both are read where the driving landmarks lie, a little off, on black.
        """
        points = as_detected(lesson.pair.landmarks, self._config.landmark_noise)
        ours = self._estimates().coefficients(lesson.warped_rgb.float(), points)
        with torch.no_grad():
            theirs = self._estimates().coefficients(truth, points)
        columns = self._reader.expressions + 3
        return losses.read_again(self._reader.descriptor(ours), self._reader.descriptor(theirs), columns)

    # --- the picture ----------------------------------------------------------------------------------------------

    def picture(self, pair: Pair, refined: Refined, composed: Composed, update: int) -> dict[str, Tensor]:
        """Terms of the second phase, all of self pairs; nothing where there is none."""
        w, rows = self._config.losses, pair.paired
        if not bool(rows.any()):
            return {}
        truth, alpha = pair.driving[rows], pair.driving_matte[rows]
        found = {}
        if w.foreground > 0 and self._config.inpainting:  # else refinement's colours are those of the whole picture
            found["foreground"] = w.foreground * self._distance(alpha * refined.rgb[rows], alpha * truth)
        if w.matte > 0:
            found["matte"] = w.matte * losses.matte(composed.matte[rows], refined.logit[rows], alpha)
        if w.image > 0:
            weight = losses.blank_weight(composed.blank[rows], w.blank)
            found["image"] = w.image * self._distance(composed.image[rows], truth, weight, features=True)
        every = self._config.judge_every
        if w.identity > 0 and update % every == 0 and bool(pair.landmarks[rows].isfinite().all()):
            distance = self._judges.identity_distance(composed.image[rows].float(), truth, pair.landmarks[rows])
            found["identity"] = w.identity * every * distance
        return found
