"""LD-Net and FD-GAN (Xiang et al., "One-Shot Identity-Preserving Portrait Reenactment", 2020, arXiv:2004.12452).

LD-Net gives the driver's landmarks the source's face shape. FD-GAN paints the source along them: an extractor writes
what the source looks like into dictionaries, once; a translator reads them for every frame. Self and cross pairs take
the same path. README.md beside this file says what the paper states and what is our design.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from reenact_zoo.methods import _weights
from reenact_zoo.methods.base import Phase, ReenactmentModule, linear_decay
from reenact_zoo.methods.ldnet_fdgan import fd_losses, ld_losses
from reenact_zoo.methods.ldnet_fdgan.config import Config as LdnetFdganConfig
from reenact_zoo.methods.ldnet_fdgan.driving import check_rows, driven_landmarks, estimated, smoothed_landmarks
from reenact_zoo.methods.ldnet_fdgan.fd_networks import Dictionary, Extractor, PatchNetwork, Translator
from reenact_zoo.methods.ldnet_fdgan.landmark_maps import NUM_MAPS, as_picture, landmark_maps
from reenact_zoo.methods.ldnet_fdgan.landmark_shape import usable
from reenact_zoo.methods.ldnet_fdgan.ld_net import LDNet
from reenact_zoo.methods.ldnet_fdgan.ld_training import load_ld_net
from reenact_zoo.methods.ldnet_fdgan.stages import LandmarkStages, alternate, nothing
from reenact_zoo.methods.ldnet_fdgan.temporal import CodeSmoother
from reenact_zoo.nn.reconstruction import ReconstructionLoss
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

Losses = Mapping[str, Tensor]
WITHOUT_BUDGET = 100  # updates that the ranges of phases are made for where no budget is set
NAMES = {"ld_stage1": "ld_classifier", "ld_stage2": "ld_critic"}  # LD-Net's phases and their opponents'


class LdnetFdgan(ReenactmentModule[LdnetFdganConfig]):
    """Personalised landmarks, then a portrait painted along them.

    ``aux``: "driver_landmarks" and "ld_net_landmarks", drawn (B, 1, H, W), "landmarks" (B, 68, 2), those painted along,
    and with ``blend`` "share" (B, 1, H, W) of the painted picture. Samples without landmarks come back as NaN.
    """

    Config = LdnetFdganConfig
    requires = frozenset({"source_landmarks", "driving_landmarks"})
    averaged = ("extractor", "translator")

    def __init__(self, config: LdnetFdganConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        both: dict[str, Any] = {"widths": c.widths, "slots": c.slots, "key_dim": c.key_dim, "norm": c.norm}
        self.extractor = Extractor(NUM_MAPS, c.image_size, dictionary=c.dictionary, **both)
        self.translator = Translator(
            NUM_MAPS, c.image_size, dictionary=c.dictionary, last=c.last, blend=c.blend, **both
        )
        self.ld_net = LDNet(c.ld_width, c.pose_code, c.identity_code)
        codes = (c.ld_width, c.pose_code, c.identity_code)
        self.ld_support = ld_losses.LDSupport(c.identities, *codes, c.ld_losses.adversary_space)
        judged = c.losses.adversarial > 0 or c.losses.feature_matching > 0
        self.discriminator = PatchNetwork(3 + NUM_MAPS, 1, c.patch_widths, c.norm, c.spectral) if judged else None
        named = c.losses.identity > 0
        self.classifier = PatchNetwork(3, c.identities, c.patch_widths, c.norm, narrow=c.narrow) if named else None
        self._stages = LandmarkStages(self.ld_net, self.ld_support, c.ld_losses, c.ld_memory, c.ld_batch)
        self._fixed: dict[str, ReconstructionLoss] = {}  # a plain dict: no part of the method, not in its checkpoints
        self._collect_until = self._fd_from = self._adversarial_from = 0

    # --- use ------------------------------------------------------------------------------------------------------

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """Write the dictionaries: all that is kept of the picture itself."""
        self._check(batch, "source")
        points = batch["source_landmarks"].float()
        found = usable(points)
        entries = self.extractor(batch["source"].float(), self._maps(points))
        state: dict[str, Any] = {"found": found, "landmarks": points, "dictionary": entries}
        if self.config.blend:
            state["source"] = batch["source"].float()
        if self.config.smoothing > 0:
            state["smoother"] = CodeSmoother(self.config.smoothing)
        return state

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Read them along each frame's personalised landmarks; one source serves any number of frames.

        With ``smoothing`` the frames of one source, in this call and the next ones on this state, are taken for
        consecutive ones of a clip.
        """
        self._check(batch, "driving")
        points = batch["driving_landmarks"].float()
        smoother = state.get("smoother") if len(state["found"]) == 1 else None
        state = {key: _for_frames(value, len(points)) for key, value in state.items()}
        landmarks = points
        if self.config.ld_net and smoother is not None:
            landmarks = smoothed_landmarks(self.ld_net, smoother, state["landmarks"], points)
        elif self.config.ld_net:
            landmarks = driven_landmarks(self.ld_net, state["landmarks"], points)
        found = state["found"] & usable(points) & usable(landmarks)
        maps = self._maps(landmarks)
        picture, share = self._paint(maps, state["dictionary"], state.get("source"))
        aux = {"driver_landmarks": as_picture(self._maps(points)), "ld_net_landmarks": as_picture(maps)}
        aux |= {"landmarks": landmarks} | ({} if share is None else {"share": share})
        return ReenactmentOutput(picture.clamp(0, 1).masked_fill(~found.view(-1, 1, 1, 1), torch.nan), aux)

    def _check(self, batch: PairBatch, role: str) -> None:
        whole: Mapping[str, Any] = batch
        image, size = whole[role], self.config.image_size
        if image.shape[-2:] != (size, size):
            raise InputError(
                f"this ldnet_fdgan works on {size}x{size} images, but '{role}' is {image.shape[-1]}x{image.shape[-2]}; "
                f"use image_size {size}, or weights of that size"
            )
        check_rows(whole[f"{role}_landmarks"], f"{role}_landmarks", len(image))

    def _maps(self, landmarks: Tensor) -> Tensor:
        """Drawn landmarks (B, M, H, W); empty where there is no face."""
        size = self.config.image_size
        return landmark_maps(landmarks, (size, size)).nan_to_num(0)

    def _paint(self, maps: Tensor, entries: Dictionary, source: Tensor | None) -> tuple[Tensor, Tensor | None]:
        picture, share = self.translator(maps, entries)
        if share is not None and source is not None:
            picture = torch.lerp(source, picture, share)
        return picture, share

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """LD-Net's two stages on landmarks alone, then FD-GAN on pictures, with LD-Net at rest."""
        c = self.config
        if c.ld_weights and self.num_updates == 0:
            _weights.load_state(self.ld_net, load_ld_net(c.ld_weights).state_dict(), f"'{c.ld_weights}'")
        if c.ld_net and not c.ld_weights and self.max_updates is not None and c.ld_stage2_end == 0:
            raise InputError(
                "ldnet_fdgan: LD-Net would stay untrained; give it a share of the updates (ld_stage1_end, "
                "ld_stage2_end), its weights (ld_weights), or leave it out (ld_net=false)"
            )
        total = self.max_updates or WITHOUT_BUDGET
        ends = [round(share * total) if c.ld_net else 0 for share in (c.ld_stage1_end, c.ld_stage2_end)]
        self._collect_until, self._fd_from = min(round(c.ld_collect * total), max(0, ends[0] - 1)), ends[1]
        self._adversarial_from = ends[1] + round(c.adversarial_start * max(0, total - ends[1]))
        return [
            *self._stage_phases("ld_stage1", 0, ends[0], total),
            *self._stage_phases("ld_stage2", ends[0], ends[1], total + 1),
            *self._painting_phases(),
        ]

    def _stage_phases(self, name: str, start: int, stop: int, never: int) -> list[Phase]:
        """A stage of LD-Net and its opponent; an empty stage is put at update ``never``, after the end."""
        first = name == "ld_stage1"
        encoder = ["ld_net.pose_expression_encoder", "ld_support.bank"] if first else ["ld_net.identity_encoder"]
        opponent = ["ld_support.classifier"] if first else ["ld_support.critic"]
        start, stop = (start, stop) if stop > start else (never, never + 1)
        make = functools.partial(torch.optim.Adam, lr=self.config.ld_rate)
        rest = functools.partial(
            Phase, optimiser=make, lr_scale=ld_losses.decay, start=start, stop=stop, clip_norm=None
        )
        losses = functools.partial(self._stage_losses, name)
        against = functools.partial(self._opponent_losses, name)
        return [
            rest(name=name, networks=[*encoder, "ld_net.generator"], losses=losses),
            rest(name=NAMES[name], networks=opponent, losses=against),
        ]

    def _painting_phases(self) -> list[Phase]:
        c, decay = self.config, linear_decay(min(self.config.decay_start, 0.999))
        networks, start = ["extractor", "translator"], self._fd_from
        listed = [Phase("generator", networks, self._generator_losses, _adam(c.learning_rate), decay, start=start)]
        patch = {"discriminator": self._discriminator_losses, "classifier": self._classifier_losses}
        return listed + [
            Phase(name, [name], losses, _adam(c.patch_rate), decay, start=self._adversarial_from)
            for name, losses in patch.items()
            if getattr(self, name) is not None
        ]

    # LD-Net

    def _stage_losses(self, name: str, batch: PairBatch, shared: dict[str, Any]) -> Losses:
        people = fd_losses.people_of(batch, self.config.identities)
        for role, numbers in zip(("source", "driving"), people, strict=True):
            self._stages.remember(batch[f"{role}_landmarks"], numbers)  # type: ignore[literal-required]
        stage, opponent = self._stage_functions(name)
        if self._collecting:
            return nothing(self.ld_net)
        with torch.autocast(self.device.type, enabled=False):
            if name == "ld_stage1" and self.num_updates == self._collect_until:
                self._stages.start_bank()
            if self._phases is not None and self.config.ld_steps > 1 and self.trainer.world_size == 1:
                optimisers = self._optimisers_of(name, NAMES[name])
                alternate(list(zip(optimisers, (stage, opponent), strict=True)), self.config.ld_steps - 1)
            return stage()

    @property
    def _collecting(self) -> bool:
        """Whether too little is remembered to learn from."""
        return self.num_updates < self._collect_until or len(self._stages.memory) < 2

    def _opponent_losses(self, name: str, batch: PairBatch, shared: dict[str, Any]) -> Losses:
        if self._collecting:
            return nothing(self.ld_support)
        with torch.autocast(self.device.type, enabled=False):
            return self._stage_functions(name)[1]()

    def _stage_functions(self, name: str) -> tuple[Callable[[], Losses], Callable[[], Losses]]:
        stages = self._stages
        if name == "ld_stage1":
            return stages.stage1, stages.stage1_opponent
        return stages.stage2, stages.stage2_opponent

    def _optimisers_of(self, *names: str) -> list[torch.optim.Optimizer]:
        optimisers = cast("list[torch.optim.Optimizer]", self.optimizers(use_pl_optimizer=False))
        order = [phase.name for phase in self._phases or []]
        return [optimisers[order.index(name)] for name in names]

    # FD-GAN

    @property
    def _reconstruct(self) -> ReconstructionLoss:
        """The fixed networks of the losses, loaded when first asked for."""
        if not self._fixed:
            self._fixed["reconstruction"] = self.config.losses.reconstruction(self.device)
            self.instruments = tuple(name for name in (self._fixed["reconstruction"].backbone_name,) if name)
        return self._fixed["reconstruction"]

    @property
    def _ramp(self) -> float:
        """Share of their weights that the terms of discriminator and classifier have; 0 before they begin."""
        c, total = self.config, self.max_updates or WITHOUT_BUDGET
        if self.num_updates < self._adversarial_from:
            return 0.0
        length = c.adversarial_ramp * max(1, total - self._fd_from)
        return min(1.0, (self.num_updates - self._adversarial_from + 1) / max(1.0, length))

    def _generator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> Losses:
        fit = usable(batch["source_landmarks"]) & usable(batch["driving_landmarks"])
        together = self._ramp > 0 and (self.discriminator is not None or self.classifier is not None)
        source, driving = fd_losses.people_of(batch, self.config.identities) if together else (None, None)
        rows = fd_losses.sample_rows(batch["same_identity"] & fit, source, driving, self.config.cross_share)
        rows = rows.among(fit, cross=together)
        if len(rows.sources()) == 0:
            return nothing(self.extractor, self.translator)
        made, maps = self._made(batch, rows)
        count = len(rows.paired)
        found: dict[str, Tensor] = {}
        if count:
            truth = batch["driving"][rows.paired].float()
            found |= self._reconstruct.parts(made[:count], truth)
            shared["real"] = torch.cat([truth, maps[:count]], 1)
        if source is not None:
            whom = source[rows.sources()]
            shared |= {"made": made.detach(), "maps": maps, "whom": whom, "people": source[fit], "fit": fit}
            found |= self._patch_terms(made, maps, whom, shared.get("real"))
        return found or nothing(self.extractor, self.translator)

    def _made(self, batch: PairBatch, rows: fd_losses.Rows) -> tuple[Tensor, Tensor]:
        """Reenacted pictures and the maps they follow, self pairs along their own landmarks, then cross pairs."""
        noise = self.config.landmark_noise
        source_points = estimated(batch["source_landmarks"].float(), noise)
        points = estimated(batch["driving_landmarks"].float(), noise)
        source = batch["source"].float()
        who = rows.sources()
        entries = self.extractor(source, self._maps(source_points))
        cross = points[rows.cross_driving]
        if self.config.ld_net and len(cross):
            with torch.no_grad():
                cross = driven_landmarks(self.ld_net, source_points[rows.cross_source], cross)
        maps = self._maps(torch.cat([points[rows.paired], cross]))
        chosen = {side: values[who] for side, values in entries.items()}
        return self._paint(maps, chosen, source[who])[0], maps

    def _patch_terms(self, made: Tensor, maps: Tensor, whom: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        """What discriminator and classifier say to the generator."""
        w, ramp = self.config.losses, self._ramp
        found: dict[str, Tensor] = {}
        if self.discriminator is not None:
            scores, kept = self.discriminator(torch.cat([made, maps], 1))
            if w.adversarial > 0:
                found["adversarial"] = ramp * w.adversarial * fd_losses.fooling(scores)
            if w.feature_matching > 0 and real is not None:
                with torch.no_grad():
                    aims = self.discriminator(real)[1]
                own = [values[: len(real)] for values in kept]
                found["features"] = ramp * w.feature_matching * fd_losses.feature_matching(own, aims)
        if self.classifier is not None:
            found["identity"] = ramp * w.identity * fd_losses.naming(self.classifier(made)[0], whom)
        return found

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> Losses:
        assert self.discriminator is not None
        if "made" not in shared or "real" not in shared:
            return nothing(self.discriminator)
        real = self.discriminator(shared["real"])[0]
        made = self.discriminator(torch.cat([shared["made"], shared["maps"]], 1))[0]
        return {"least_squares": fd_losses.telling_apart(real, made)}

    def _classifier_losses(self, batch: PairBatch, shared: dict[str, Any]) -> Losses:
        assert self.classifier is not None
        if "made" not in shared:
            return nothing(self.classifier)
        real = self.classifier(batch["source"][shared["fit"]].float())[0]
        made = self.classifier(shared["made"])[0]
        return {
            "naming": fd_losses.naming(real, shared["people"]),
            "not_naming": fd_losses.not_naming(made, shared["whom"]),
        }

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log how well slots and places tell each other apart: 1 for not at all."""
        values: dict[str, Tensor] = {}
        for network, part in ((self.extractor.writers, "written"), (self.translator.readers, "read")):
            for side, module in network.items():
                entropy = getattr(module, "entropy", None)  # none without a dictionary, or before the first use
                values |= {} if entropy is None else {f"dictionary/{side}/{part}": entropy}
                usage = getattr(module, "usage", None)
                values |= {} if usage is None else {f"dictionary/{side}/used": usage}
        self.log_dict(values, batch_size=1)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the remembered landmarks while LD-Net still needs them."""
        super().on_save_checkpoint(checkpoint)
        if self.num_updates < self._fd_from:
            checkpoint[_weights.KEY]["landmark_memory"] = self._stages.memory.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up again."""
        super().on_load_checkpoint(checkpoint)
        remembered = checkpoint[_weights.KEY].get("landmark_memory")
        if remembered is not None:
            self._stages.memory.load(remembered)


def _for_frames(value: Any, frames: int) -> Any:
    """One source's entry of a state for every frame; entries of as many sources as frames stay."""
    if isinstance(value, dict):
        return {key: _for_frames(entry, frames) for key, entry in value.items()}
    return value.expand(frames, *value.shape[1:]) if isinstance(value, Tensor) and len(value) == 1 else value


def _adam(rate: float) -> Any:
    return functools.partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.999))
