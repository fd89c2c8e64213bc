"""One-shot Face Reenactment (Zhang et al., BMVC 2019, arXiv:1908.03251).

The source is aligned with the driving landmarks and squeezed into one code; two decoders, one for the appearance and
one that the driving shape modulates, make G from it. FusionNet then takes each pixel from G or from R, the source with
its parts warped to the driving ones. README.md beside this file lists what differs from the released code.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reenact_zoo.faces.landmark_model import personalised_landmarks
from reenact_zoo.methods._judges import Judges
from reenact_zoo.methods.base import Phase, ReenactmentModule, linear_decay
from reenact_zoo.methods.one_shot import few_shot, losses, official, official_raster, sampling
from reenact_zoo.methods.one_shot.config import Config as OneShotConfig
from reenact_zoo.methods.one_shot.discriminators import MultiScalePatch
from reenact_zoo.methods.one_shot.fusion_net import FusionNet
from reenact_zoo.methods.one_shot.geometry import align_source, stand_ins, usable
from reenact_zoo.methods.one_shot.networks import (
    NUM_MAPS,
    AppearanceDecoder,
    AppearanceEncoder,
    SpadeDecoder,
    initialise,
    widths,
)
from reenact_zoo.methods.one_shot.parts import fixed_fusion, warp_parts
from reenact_zoo.methods.one_shot.pictures import GAMMA, from_network, to_network
from reenact_zoo.methods.one_shot.regions import official_region_maps, region_maps, weight_map
from reenact_zoo.methods.one_shot.schemes import scheme_named
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

OFFICIAL_DEVIATION = 0.02  # of fresh weights in the released code


@dataclass(frozen=True)
class Pair:
    """What one training update sees, rows without usable landmarks left out.

    Attributes:
        source: (B, 3, H, W); what the warp takes its pixels from.
        source_landmarks: (B, N, 2).
        seen: (B, 3, H, W) what the encoder sees: the aligned source, or the source as it is.
        truth: (B, 3, H, W) the driving frame.
        landmarks: (B, N, 2) driving ones, as good as a detector's.
        true_landmarks: (B, N, 2) driving ones of the data set.
    """

    source: Tensor
    source_landmarks: Tensor
    seen: Tensor
    truth: Tensor
    landmarks: Tensor
    true_landmarks: Tensor


class OneShot(ReenactmentModule[OneShotConfig]):
    """Appearance code, shape-adaptive decoder, and a mask that lets the warped source through.

    ``aux``: "generated" (G), "warped" (R), "mask" (share of R, (B, 1, H, W)), "aligned" (the source as the encoder sees
    it) and "reconstruction" (the source from its code alone). Samples whose landmarks are missing or degenerate come
    back as NaN.
    """

    Config = OneShotConfig
    requires = frozenset({"source_landmarks", "driving_landmarks"})
    averaged = ("encoder", "decoder", "generator", "fusion_net")

    def __init__(self, config: OneShotConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        sizes = widths(c.image_size, c.base_width, c.cap_width, c.latent, c.norm_group)
        self.encoder = AppearanceEncoder(sizes)
        self.decoder = AppearanceDecoder(sizes)
        self.generator = SpadeDecoder(sizes, NUM_MAPS, c.concat, "nearest" if self._official else "area")  # type: ignore[arg-type]
        self.fusion_net = FusionNet(c.fusion_width) if c.has_fusion_net else nn.Identity()
        self.discriminators = None
        if c.lambda_adversarial > 0:
            self.discriminators = MultiScalePatch(c.discriminator_width, c.image_size, spectral=c.spectral_norm)
        if self._official:
            for network in (self.encoder, self.decoder, self.generator):
                initialise(network, OFFICIAL_DEVIATION)
        self.use_channels_last()  # an update takes a fifth less time on CPUs, in float32 too
        self._judges: Judges | None = None
        self._adversarial_from = 0

    @property
    def _official(self) -> bool:
        return self.config.preset == "official"

    def load_official(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the authors' released weights, see ``official.load_official``."""
        with_discriminators = any(part in str(key) for key in state_dict for part in official.DISCRIMINATOR_PARTS)
        official.load_official(
            state_dict,
            encoder=self.encoder,
            decoder=self.decoder,
            generator=self.generator,
            discriminators=self.discriminators if with_discriminators else None,
        )

    # --- use ------------------------------------------------------------------------------------------------------

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """The source's entries: what is made of them depends on the driving frame from the alignment on."""
        return {key: value for key, value in batch.items() if key.startswith(("source", "extra_sources"))}

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        """Align, encode, decode, warp and fuse."""
        self._check_shapes(batch)
        scheme = self.config.landmark_scheme
        sources = few_shot.gather(batch, self.config.sources)
        driving = self._driving_landmarks(batch)
        found = sources.found.any(1) & usable(driving)
        aligned = self._aligned(sources.images, sources.landmarks, driving)
        code = few_shot.mean_code(self._code(aligned.flatten(0, 1)), sources.found)
        maps = self._maps(driving)
        generated, reconstruction = self._decode(code, maps)
        source, landmarks = few_shot.nearest_in_pose(sources, driving, scheme)
        fused, warped, mask = self._fused(generated, maps, source, landmarks, driving)
        if self._official:
            fused = torch.lerp(batch["source"].float(), fused, maps[:, :1])
        fused = fused.clamp(0, 1).masked_fill(~found.view(-1, 1, 1, 1), torch.nan)
        aux = {"generated": generated, "warped": warped, "mask": mask, "aligned": aligned[:, 0]}
        return ReenactmentOutput(fused, {**aux, "reconstruction": reconstruction})

    def _check_shapes(self, batch: PairBatch) -> None:
        size, scheme = self.config.image_size, self.config.landmark_scheme
        points = scheme_named(scheme).points
        for name in ("source_landmarks", "driving_landmarks"):
            shape = tuple(batch[name].shape)
            if shape != (len(batch["source"]), points, 2):
                raise InputError(
                    f"'{name}' has shape {shape}, but landmark scheme '{scheme}' has {points} points: one_shot needs "
                    f"({len(batch['source'])}, {points}, 2); choose the scheme of your landmark detector"
                )
        images = {"source": batch["source"], "driving": batch["driving"]}
        if "extra_sources" in batch:
            images["extra_sources"] = batch["extra_sources"]
        for key, image in images.items():
            if image.shape[-2:] != (size, size):
                raise InputError(
                    f"this one_shot works on {size}x{size} images, but '{key}' is "
                    f"{image.shape[-1]}x{image.shape[-2]}; use image_size {size}, or weights of that size"
                )

    def _driving_landmarks(self, batch: PairBatch) -> Tensor:
        if self.config.driving_shape == "driving":
            return batch["driving_landmarks"]
        if self.config.landmark_scheme != "68":
            raise InputError("one_shot: driving_shape=personalised needs the 68 point scheme; use scheme=68")
        size = (self.config.image_size, self.config.image_size)
        return personalised_landmarks(batch["source_landmarks"], batch["driving_landmarks"], size)

    def _aligned(self, images: Tensor, landmarks: Tensor, driving: Tensor) -> Tensor:
        """Images (B, K, 3, H, W) brought to the driving landmarks (B, N, 2); black where that cannot be done."""
        aim = driving[:, None].expand_as(landmarks).flatten(0, 1)
        # the released code brightens first, so its grey border and its 8 bits are those of the brightened picture
        power = GAMMA if self._official else 1.0
        aligned, _ = align_source(
            images.flatten(0, 1).pow(1 / power),
            landmarks.flatten(0, 1),
            aim,
            self.config.landmark_scheme,
            official=self._official,
        )
        return aligned.pow(power).nan_to_num(0).view_as(images)

    def _maps(self, landmarks: Tensor) -> Tensor:
        size, scheme = self.config.image_size, self.config.landmark_scheme
        if self._official:
            return official_region_maps(landmarks, size, scheme).nan_to_num(0)
        return region_maps(landmarks, (size, size), scheme).nan_to_num(0)

    def _code(self, images: Tensor) -> Tensor:
        mean = self.encoder(to_network(images, self._official))
        return self.encoder.sample(mean) if self._official else mean

    def _decode(self, code: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """G and the appearance decoder's image, both (B, 3, H, W) in [0, 1]."""
        features, reconstruction = self.decoder(code)
        generated = self.generator(maps, code, features)
        return from_network(generated, self._official), from_network(reconstruction, self._official)

    def _fused(
        self, generated: Tensor, maps: Tensor, source: Tensor, landmarks: Tensor, driving: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fused images (B, 3, H, W), R (B, 3, H, W) and its share in them (B, 1, H, W)."""
        scheme, fusion = self.config.landmark_scheme, self.config.fusion
        if self._official and fusion == "fixed":
            _, own, aim = stand_ins(source, landmarks, driving, scheme)
            return official_raster.fuse_batch(generated, source, own, aim, scheme)
        warped, parts = warp_parts(source, landmarks, driving, scheme)
        if fusion == "fixed":
            fused, mask = fixed_fusion(generated, warped, parts, driving, scheme)
            return fused.nan_to_num(0), warped.nan_to_num(0), mask.nan_to_num(0)
        warped = warped.nan_to_num(0)
        if fusion == "none":
            return generated, warped, torch.zeros_like(generated[:, :1])
        mask = self.fusion_net(to_network(generated), to_network(warped), maps)
        return torch.lerp(generated, warped, mask), warped, mask

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Generator and discriminators until ``fusion_start``, then FusionNet alone, on a generator that rests."""
        c = self.config
        stop = None
        if self.max_updates is not None and c.has_fusion_net:
            stop = max(1, round(c.fusion_start * self.max_updates))
        last = stop or self.max_updates or 1
        self._adversarial_from = min(round(c.adversarial_start * last), last - 1)
        decay = linear_decay(min(c.decay_start, 0.999))
        networks = ["encoder", "decoder", "generator"]
        listed = [Phase("generator", networks, self._generator_losses, _adam(c.learning_rate), decay, stop=stop)]
        if self.discriminators is not None:
            listed.append(
                Phase(
                    "discriminator",
                    ["discriminators"],
                    self._discriminator_losses,
                    _adam(c.discriminator_rate),
                    decay,
                    start=self._adversarial_from,
                    stop=stop,
                )
            )
        if c.has_fusion_net:
            listed.append(
                Phase("fusion", ["fusion_net"], self._fusion_losses, _adam(c.fusion_rate), decay, start=stop or 0)
            )
        return listed

    @property
    def judges(self) -> Judges:
        """The fixed networks of the losses, loaded when first asked for."""
        if self._judges is None:
            self._judges = Judges.of(self.config, self.device)
            self.instruments = self._judges.instruments
        return self._judges

    def _pair(self, batch: PairBatch) -> Pair | None:
        """The rows that can be trained on; None where there is none."""
        scheme, noise = self.config.landmark_scheme, self.config.landmark_noise
        rows = usable(batch["source_landmarks"])
        if self.config.training == "video":
            rows = rows & usable(batch["driving_landmarks"])
        if not bool(rows.any()):
            return None
        source, true_source = batch["source"][rows].float(), batch["source_landmarks"][rows].float()
        if self.config.training == "single_image":
            truth, true_landmarks = sampling.contour_swaps(source, true_source, scheme)
            points = sampling.estimated(true_landmarks, noise, scheme)
            return Pair(source, true_source, source, truth, points, true_landmarks)
        truth, true_landmarks = batch["driving"][rows].float(), batch["driving_landmarks"][rows].float()
        source_points = sampling.estimated(true_source, noise, scheme)
        points = sampling.estimated(true_landmarks, noise, scheme)
        seen = self._aligned(source[:, None], source_points[:, None], points)[:, 0]
        return Pair(source, source_points, seen, truth, points, true_landmarks)

    def _generator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        pair = self._pair(batch)
        if pair is None:
            return {"nothing": _nothing(self.encoder, self.decoder, self.generator)}
        c = self.config
        maps = self._maps(pair.landmarks)
        generated, reconstruction = self._decode(self._code(pair.seen), maps)
        truth = pair.truth * maps[:, :1] if self._official else pair.truth
        made, real = to_network(generated, self._official), to_network(truth, self._official)
        shared["made"], shared["real"] = made.detach(), real
        found = self.judges.reconstruction.parts(generated, truth)
        if c.lambda_appearance > 0:
            seen = to_network(pair.seen, self._official)
            rebuilt = to_network(reconstruction, self._official)
            found["appearance"] = c.lambda_appearance * losses.appearance(rebuilt, seen)
        if c.lambda_pixel > 0:
            found["pixel"] = c.lambda_pixel * losses.weighted_pixel(made, real, weight_map(maps))
        if c.lambda_identity > 0 and self.num_updates % c.identity_every == 0:
            points = losses.as_68(pair.true_landmarks, c.landmark_scheme)
            distance = self.judges.identity_distance(generated, truth, points)
            found["identity"] = c.lambda_identity * c.identity_every * distance
        if self.discriminators is not None and self.num_updates >= self._adversarial_from:
            found["adversarial"] = c.lambda_adversarial * losses.fooling(self.discriminators(made))
        return found or {"nothing": _nothing(self.encoder, self.decoder, self.generator)}

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        assert self.discriminators is not None
        if "made" not in shared:
            return {"nothing": _nothing(self.discriminators)}
        real, made = self.discriminators(shared["real"]), self.discriminators(shared["made"])
        return {"least_squares": losses.telling_apart(real, made)}

    def _of_another_shape(self, pair: Pair) -> Tensor:
        """Driving landmarks (B, N, 2) as if another person of the batch had driven.

        On a pair of one person G and R lie where the truth does, and their detail can be trusted; in use the driver's
        face has another shape, and a mask learned on the former takes too much of it.
        """
        if self.config.landmark_scheme != "68":
            return pair.landmarks
        size = (self.config.image_size, self.config.image_size)
        points = personalised_landmarks(pair.source_landmarks.roll(1, 0), pair.landmarks, size)
        if self.config.driving_shape == "personalised":
            points = personalised_landmarks(pair.source_landmarks, points, size)
        return torch.where(usable(points).view(-1, 1, 1), points, pair.landmarks)

    def _fusion_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        pair = self._pair(batch)
        if pair is None:
            return {"nothing": _nothing(self.fusion_net)}
        c = self.config
        with torch.no_grad():
            points = self._of_another_shape(pair)
            maps = self._maps(points)
            seen = self._aligned(pair.source[:, None], pair.source_landmarks[:, None], points)[:, 0]
            generated, _ = self._decode(self._code(seen), maps)
            warped, _ = warp_parts(pair.source, pair.source_landmarks, points, c.landmark_scheme)
        mask = self.fusion_net(to_network(generated), to_network(warped), maps)
        fused = torch.lerp(generated, warped, mask)
        found = self.judges.reconstruction.parts(fused, pair.truth)
        if c.lambda_pixel > 0:
            made, real = to_network(fused), to_network(pair.truth)
            found["pixel"] = c.lambda_pixel * losses.weighted_pixel(made, real, weight_map(maps))
        found["smooth_mask"] = c.lambda_smooth_mask * losses.total_variation(mask)
        return found


def _adam(rate: float) -> Any:
    return functools.partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.999))


def _nothing(*networks: nn.Module) -> Tensor:
    """A loss of 0 that every parameter takes part in: the batch had no usable row."""
    return torch.stack([p.sum() for network in networks for p in network.parameters()]).sum() * 0
