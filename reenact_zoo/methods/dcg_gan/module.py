"""DCG-GAN (Liu et al., "Semantic-aware One-shot Face Re-enactment with Dense Correspondence Estimation").

Two proxies are drawn from 3-D coefficients: P_s, the source's head, and P_r, the same head with the driving frame's
camera, pose and expression. Where they correspond, the source's pixels and parsing are brought over; a generator makes
the picture of what arrives. README.md beside this file says what the paper leaves open and how it is read here.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reenact_zoo.faces.parsing import CLASSES, parsing_picture
from reenact_zoo.methods._sampling import as_detected
from reenact_zoo.methods.base import Phase, ReenactmentModule, linear_decay
from reenact_zoo.methods.dcg_gan import losses
from reenact_zoo.methods.dcg_gan.config import Config as DcgGanConfig
from reenact_zoo.methods.dcg_gan.correspondence import DenseCorrespondence, Side, annealed
from reenact_zoo.methods.dcg_gan.generator import Generator, Warped
from reenact_zoo.methods.dcg_gan.heads import chosen_head, proxy_editor
from reenact_zoo.methods.dcg_gan.proxies import Proxy, ProxyEditor
from reenact_zoo.methods.dcg_gan.sampling import hybrid
from reenact_zoo.nn.discriminators import PatchDiscriminator, layers_for
from reenact_zoo.ops.correspondence import Correspondence
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput


@dataclass(frozen=True)
class Pair:
    """What one training update sees, rows without a usable face left out.

    Attributes:
        source, driving: (B, 3, S, S).
        parsing: M_s (B, 19, S, S).
        driving_parsing: (B, 19, S, S), where the batch has it.
        paired: (B,) bool; True: the driving frame is the ground truth.
        source_landmarks: (B, 68, 2) of the source image.
        source_proxy, proxy: P_s and P_r.
    """

    source: Tensor
    driving: Tensor
    parsing: Tensor
    driving_parsing: Tensor | None
    paired: Tensor
    source_landmarks: Tensor
    source_proxy: Proxy
    proxy: Proxy


class DcgGan(ReenactmentModule[DcgGanConfig]):
    """Proxies, dense correspondence, and a generator that sees what was warped.

    ``aux``: "source_proxy" (P_s) and "proxy" (P_r), (B, 3, S, S); "warped", "warped_proxy" and "warped_parsing" (I_s,
    P_s and M_s after the warp; M_s as a picture in the colours of its classes), (B, 3, h, w). Samples whose landmarks,
    coefficients or parsing are missing come back as NaN.
    """

    Config = DcgGanConfig
    requires = frozenset(
        {"source_landmarks", "driving_landmarks", "source_coefficients", "driving_coefficients", "source_parsing"}
    )
    training_requires = frozenset({"driving_parsing"})
    averaged = ("estimator", "generator")

    def __init__(self, config: DcgGanConfig | None = None) -> None:
        config = config or DcgGanConfig()
        super().__init__(dataclasses.replace(config, head=chosen_head(config)))
        c = self.config
        self.estimator = DenseCorrespondence(c.corr, c.image_size)
        self.generator = Generator(c.gen, c.image_size)
        self.calibration = losses.Calibration(c.losses)
        self.discriminator = None
        if c.losses.adversarial > 0:
            layers = layers_for(c.image_size)
            self.discriminator = PatchDiscriminator(c.discriminator_width, layers, spectral=True)
        self.use_channels_last()
        self._editor: ProxyEditor | None = None
        self._judges: losses.Judges | None = None
        self._adversarial_from = 0

    @property
    def editor(self) -> ProxyEditor:
        """The proxy editor on this device, made when first asked for."""
        if self._editor is None:
            self._editor = proxy_editor(self.config, self.device)
        return self._editor

    @property
    def judges(self) -> losses.Judges:
        """The fixed networks of the losses, loaded when first asked for."""
        if self._judges is None:
            editor, weights = self.editor, self.config.losses
            self._judges = losses.Judges(weights, self.device, coefficients=editor.compared, layout=editor.layout)
            self.instruments = tuple(sorted({*self._judges.instruments, *editor.drawer.instruments}))
        return self._judges

    # --- use ------------------------------------------------------------------------------------------------------

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """C_s, P_s, and the features that P_r is compared with; eq. (1)."""
        self._check(batch, "source")
        image, parsing = batch["source"].float(), batch["source_parsing"].float()
        coefficients = self._coefficients(batch, "source")
        found = coefficients.isfinite().all(1) & parsing.isfinite().flatten(1).all(1)
        proxy, parsing = self.editor.draw(coefficients, one_by_one=True), parsing.nan_to_num(0)
        features = self.estimator.encode_source(Side(proxy.image, proxy.landmarks, parsing))
        return {
            "joined": torch.cat([image, proxy.image, parsing], 1),
            "coefficients": coefficients,
            "features": features,
            "found": found,
        }

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Mix, draw P_r, warp, generate."""
        self._check(batch, "driving")
        driving = self._coefficients(batch, "driving")
        found = state["found"] & driving.isfinite().all(1)
        mixed = self.editor.mixed(state["coefficients"], driving)
        proxy = self.editor.draw(mixed, one_by_one=True)
        matched = self.estimator.from_features(state["features"], self._reenacted_side(proxy))
        warped = Warped.split(matched.warp(state["joined"]))
        image = self.generator(warped).image.float().clamp(0, 1)
        aux = {
            "source_proxy": state["joined"][:, 3:6],
            "proxy": proxy.image,
            "warped": warped.image,
            "warped_proxy": warped.proxy,
            "warped_parsing": parsing_picture(warped.parsing),
        }
        return ReenactmentOutput(image.masked_fill(~found.view(-1, 1, 1, 1), torch.nan), aux)

    def _coefficients(self, batch: PairBatch, role: str) -> Tensor:
        image, landmarks, given = (batch[key] for key in (role, f"{role}_landmarks", f"{role}_coefficients"))  # type: ignore[literal-required]
        return self.editor.coefficients(given, image.float(), landmarks, one_by_one=True)

    def _reenacted_side(self, proxy: Proxy) -> Side:
        """What is known of the picture to be made; where parsing is compared (sD), M_r is P_r's own."""
        parsing = proxy.parsing if self.estimator.needs_reenacted_parsing else None
        return Side(proxy.image, proxy.landmarks, parsing)

    def _check(self, batch: PairBatch, role: str) -> None:
        size = self.config.image_size
        image, landmarks = batch[role], batch[f"{role}_landmarks"]  # type: ignore[literal-required]
        if image.shape[-2:] != (size, size):
            raise InputError(
                f"this dcg_gan works on {size}x{size} images, but '{role}' is {image.shape[-1]}x{image.shape[-2]}; "
                f"use image_size {size}, or weights of that size"
            )
        wanted: dict[str, tuple[Tensor, tuple[int, ...]]] = {f"{role}_landmarks": (landmarks, (68, 2))}
        if role == "source":
            wanted["source_parsing"] = batch["source_parsing"], (len(CLASSES), size, size)
        for key, (value, shape) in wanted.items():
            if tuple(value.shape) != (len(image), *shape):
                raise InputError(f"dcg_gan needs '{key}' of shape {(len(image), *shape)}, not {tuple(value.shape)}")

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Generator with estimator, and discriminator, one after the other."""
        c = self.config
        last = self.max_updates or 1
        self._adversarial_from = min(round(c.losses.adversarial_start * last), last - 1)
        adam = functools.partial(_adam, first_moment=c.first_moment)
        decay = linear_decay(min(c.decay_start, 0.999))
        networks = ["estimator", "generator"]
        listed = [Phase("generator", networks, self._generator_losses, adam(c.learning_rate), decay)]
        if self.discriminator is not None:
            listed.append(
                Phase(
                    "discriminator",
                    ["discriminator"],
                    self._discriminator_losses,
                    adam(c.discriminator_rate),
                    decay,
                    start=self._adversarial_from,
                )
            )
        return listed

    def _pair(self, batch: PairBatch) -> Pair | None:
        """Hybrid sampling, then the proxies of the rows that can be trained on; None where there is none."""
        c = self.config
        share = losses.paired_share(self.progress, c.paired_start, c.paired_end)
        batch = hybrid(batch, share)
        drawn = self._training_coefficients(batch)
        rows = torch.stack([coefficients.isfinite().all(1) for coefficients in drawn]).all(0)
        if not bool(rows.any()):
            return None
        source, driving = (coefficients[rows] for coefficients in drawn)
        count = len(source)
        both = self.editor.draw(torch.cat([source, self.editor.mixed(source, driving)]))
        driving_parsing = batch["driving_parsing"][rows].float() if "driving_parsing" in batch else None
        return Pair(
            source=batch["source"][rows].float(),
            driving=batch["driving"][rows].float(),
            parsing=batch["source_parsing"][rows].float(),
            driving_parsing=driving_parsing,
            paired=batch["same_identity"][rows],
            source_landmarks=batch["source_landmarks"][rows].float(),
            source_proxy=both.rows(slice(count)),
            proxy=both.rows(slice(count, None)),
        )

    def _training_coefficients(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """C of source and driving frames (B, K) each, of both in one go."""
        images = torch.cat([batch["source"], batch["driving"]]).float()
        landmarks = torch.cat([batch["source_landmarks"], batch["driving_landmarks"]]).float()
        given = None
        if self.config.training_coefficients == "given":
            given = torch.cat([batch["source_coefficients"], batch["driving_coefficients"]])
        else:
            landmarks = as_detected(landmarks, self.config.landmark_noise)
        source, driving = self.editor.coefficients(given, images, landmarks).chunk(2)
        return source, driving

    def _generator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        pair = self._pair(batch)
        if pair is None:
            return {"nothing": _nothing(self.estimator, self.generator)}
        seen = Side(pair.source_proxy.image, pair.source_proxy.landmarks, pair.parsing)
        warmth = annealed(self.progress, self.config.corr)
        matched = self.estimator(seen, self._reenacted_side(pair.proxy), warmth)
        warped = Warped.split(matched.warp(torch.cat([pair.source, pair.source_proxy.image, pair.parsing], 1)))
        made = self.generator(warped).image
        shared["made"], shared["real"] = made.detach(), pair.driving
        found = {
            "proxy_warp": losses.proxy_warp(warped.proxy, pair.proxy.image),  # eq. (7)
            **self._cycle(matched, warped, pair),
            **self._judged(made, pair),
            **self._truth(made, warped, pair),
        }
        if self.config.losses.anchor > 0:
            own = self.estimator(seen, self._reenacted_side(pair.source_proxy), warmth)
            found["anchor"] = losses.anchor(own.warp(pair.source), pair.source)
        if self.discriminator is not None and self.num_updates >= self._adversarial_from:
            found["adversarial"] = losses.hinge_generator(self.discriminator(2 * made - 1))
        return self.calibration(found) or {"nothing": _nothing(self.estimator, self.generator)}

    def _truth(self, made: Tensor, warped: Warped, pair: Pair) -> dict[str, Tensor]:
        """What only paired rows know: the driving frame is the true picture."""
        if not bool(pair.paired.any()):
            return {}
        found = self.judges.pixel(made, pair.driving, pair.paired)
        if self.config.losses.pixel_l2 > 0:
            found["pixel_l2"] = losses.pixel_l2(made, pair.driving, pair.paired)
        if pair.driving_parsing is not None and self.config.losses.parsing > 0:
            found["parsing"] = losses.parsing_warp(warped.parsing, pair.driving_parsing, pair.paired)
        return found

    def _times(self, every: int) -> int:
        """How many times a term counts that comes at every so many updates; 0: not at this one.

        While weights are measured it comes at each one.
        """
        if self.calibration.measuring:
            return 1
        return 0 if self.num_updates % every else every

    def _cycle(self, matched: Correspondence, warped: Warped, pair: Pair) -> dict[str, Tensor]:
        """Eq. (8)."""
        times = self._times(self.config.cycle_every) if self.config.losses.cycle > 0 else 0
        return {"cycle": times * losses.cycle(matched.unwarp(warped.image), pair.source)} if times else {}

    def _judged(self, made: Tensor, pair: Pair) -> dict[str, Tensor]:
        """Identity and geometry."""
        c, times = self.config.losses, self._times(self.config.judge_every)
        found: dict[str, Tensor] = {}
        if times and c.identity > 0:
            found["identity"] = times * self.judges.identity(
                made, pair.source, pair.proxy.landmarks, pair.source_landmarks
            )
        if times and c.geometry > 0 and (self.calibration.measuring or self.progress >= c.geometry_start):
            found["geometry"] = times * self.judges.geometry(made, pair.driving, pair.proxy.landmarks)
        return found

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        assert self.discriminator is not None
        if "made" not in shared:
            return {"nothing": _nothing(self.discriminator)}
        real, made = (self.discriminator(2 * shared[name] - 1) for name in ("real", "made"))
        return {"hinge": losses.hinge_discriminator(real, made)}


def _adam(rate: float, first_moment: float) -> Any:
    return functools.partial(torch.optim.Adam, lr=rate, betas=(first_moment, 0.999))


def _nothing(*networks: nn.Module) -> Tensor:
    """A loss of 0 that every parameter takes part in: the batch had no usable row."""
    return torch.stack([p.sum() for network in networks for p in network.parameters()]).sum() * 0
