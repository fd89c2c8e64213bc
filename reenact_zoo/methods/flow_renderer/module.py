"""3DFlowRenderer (Nijhawan, Yashima, Kojima, "One-shot Face Re-enactment via Dense 3D Facial Flow Estimation",
arXiv:2404.14667).

The source's foreground becomes a volume of features; head coefficients of both frames say how a rigid head would move
it, and a network what expression adds. The warped volume is drawn in two dimensions, refined, and laid over the
source's background, of which only what the head uncovers is made anew. README.md beside this file says what the paper
leaves open and how it is read here.
"""

from __future__ import annotations

import functools
from typing import Any, Self

import torch
from torch import Tensor

from reenact_zoo.methods.base import Phase, ReenactmentModule, linear_decay
from reenact_zoo.methods.flow_renderer import losses
from reenact_zoo.methods.flow_renderer.compose import untouched
from reenact_zoo.methods.flow_renderer.config import Config as FlowRendererConfig
from reenact_zoo.methods.flow_renderer.descriptor import READERS, windowed
from reenact_zoo.methods.flow_renderer.estimates import Estimates
from reenact_zoo.methods.flow_renderer.flow import flow_at
from reenact_zoo.methods.flow_renderer.networks import Networks, Rendered, Source
from reenact_zoo.methods.flow_renderer.rows import CoefficientRows, finite_rows
from reenact_zoo.methods.flow_renderer.training import Lesson, Pair, Teacher
from reenact_zoo.nn.discriminators import PatchDiscriminator, layers_for
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

WARP = ("networks.appearance", "networks.mapping", "networks.flow", "networks.rgb_head")
REST = ("networks.refinement", "networks.inpainting")


class FlowRenderer(ReenactmentModule[FlowRendererConfig]):
    """Feature volume, rigid and residual 3-D flow, refinement, inpainting.

    With ``driving_reference`` in the batch the motion is relative to that frame, else absolute: the driving head's
    rotation, place and size are taken over.

    ``aux``: "warped" (the warped volume as RGB), "foreground" (on black), "inpainted" (B, 3, H, W); "matte" of the
    rendered foreground and "known", 1 where the source's pixel is copied bit by bit, (B, 1, H, W); "occlusion"
    (B, 1, h, w); "flow" (B, H, W, 2): where in the source each pixel comes from, projected, still outside the rendered
    foreground. Samples without a face, or without a matte, come back as NaN.
    """

    Config = FlowRendererConfig
    requires = frozenset({"source_matte", "source_coefficients", "driving_coefficients"})
    training_requires = frozenset({"driving_matte", "source_landmarks", "driving_landmarks"})
    averaged = ("networks",)

    def __init__(self, config: FlowRendererConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.reader = READERS[c.coefficients]()
        self.networks = Networks(
            c.image_size,
            self.reader.numbers,
            c.sizes,
            rigid_prior=c.rigid_prior,
            inpainting=c.inpainting,
            camera_distance=self.reader.camera_distance,
        )
        self.discriminator = None
        if c.losses.adversarial > 0:
            self.discriminator = PatchDiscriminator(c.discriminator_width, layers_for(c.image_size), spectral=True)
        self.rows = CoefficientRows(self.reader, self._instruments)
        self._full_from = self._adversarial_from = 0

    def use_channels_last(self) -> Self:
        """Two-dimensional convolutions channels-last; volumes keep their layout, which PyTorch has no such form for."""
        self.memory_format = torch.channels_last
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return self

    @functools.cached_property  # lies beside the registered modules: it belongs in no checkpoint
    def estimates(self) -> Estimates:
        """What training reads its frames with, loaded when first asked for."""
        return Estimates(self.device)

    def _instruments(self) -> Estimates:
        return self.estimates

    @functools.cached_property
    def teacher(self) -> Teacher:
        """The losses and the fixed networks that they look through, loaded when first asked for."""
        found = Teacher(self.config, self.reader, self.device, self._instruments)
        self.instruments = tuple(sorted({*self.instruments, *found.instruments}))
        return found

    # --- use ------------------------------------------------------------------------------------------------------

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """Volume, code and known background, and the source's coefficients for relative motion."""
        image = self._checked("source", batch["source"])
        matte = batch["source_matte"].float()
        if matte.shape != (len(image), 1, *image.shape[2:]):
            raise InputError(
                f"flow_renderer needs 'source_matte' of shape {(len(image), 1, *image.shape[2:])}, not "
                f"{tuple(matte.shape)}"
            )
        rows = self.rows.of(batch, "source")
        found = finite_rows(rows) & finite_rows(matte)
        rows = rows.masked_fill(~found[:, None], 0)
        numbers = windowed(self.reader.descriptor(rows)[:, None], self.config.sizes.mapping.window)
        matte = matte.masked_fill(~found.view(-1, 1, 1, 1), 0).clamp(0, 1)
        encoded = self.networks.encode(image, matte, numbers, self.reader.motion(rows))
        return {"encoded": encoded, "rows": rows, "found": found}

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Warp, draw, refine and compose for one driving frame per source."""
        source: Source = state["encoded"]
        self._checked("driving", batch["driving"])
        rows = self.rows.of(batch, "driving")
        window = self.rows.window(batch, rows, self.config.sizes.mapping.window)
        found = state["found"] & finite_rows(rows)
        if "driving_reference" in batch or "driving_reference_coefficients" in batch:
            reference = self.rows.of(batch, "driving_reference")
            found = found & finite_rows(reference)
            rows = self.reader.relative(state["rows"], rows, reference)
            window = self.reader.relative(state["rows"][:, None], window, reference[:, None])
        rows = rows.masked_fill(~found[:, None], 0)
        # Frames of the window in which no face was found are taken for the frame itself.
        window = torch.where(window.isfinite().all(-1, keepdim=True), window, rows[:, None])
        numbers = windowed(self.reader.descriptor(window), self.config.sizes.mapping.window)
        rendered = self.networks(source, numbers, self.reader.motion(rows))
        image = rendered.composed.image.float().clamp(0, 1)
        image = image.masked_fill(~found.view(-1, 1, 1, 1), torch.nan)
        return ReenactmentOutput(image, self._aux(source, rendered))

    def _checked(self, name: str, images: Tensor) -> Tensor:
        size = self.config.image_size
        if images.shape[-2:] != (size, size):
            raise InputError(
                f"this flow_renderer works on {size}x{size} images, but '{name}' is "
                f"{images.shape[-1]}x{images.shape[-2]}; use image_size {size}, or weights of that size"
            )
        return images.float()

    def _aux(self, source: Source, rendered: Rendered) -> dict[str, Tensor]:
        matte = rendered.composed.matte
        known = untouched(source.known, matte) & self.config.inpainting
        return {
            "warped": rendered.warped_rgb,
            "foreground": rendered.refined.rgb * matte,
            "matte": matte,
            "inpainted": rendered.composed.inpainted,
            "flow": projected(rendered.warped.field.flow_2d(), matte),
            "occlusion": rendered.warped.field.occlusion,
            "known": known.float(),
        }

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """What warps, alone; then everything, with a fresh optimiser; and the discriminator where there is one."""
        c = self.config
        last = self.max_updates or 1
        # Without a budget only one update is certain to be the first phase's.
        self._full_from = min(round(c.warp_share * last), last - 1) if self.max_updates else int(c.warp_share > 0)
        self._adversarial_from = max(self._full_from, min(round(c.losses.adversarial_start * last), last - 1))
        rate = _adam(c.learning_rate, c.first_moment)
        decay = linear_decay(min(c.decay_start, 0.999))
        listed = []
        if self._full_from > 0:
            listed.append(Phase("warp", WARP, self._warp_losses, rate, stop=self._full_from, clip_norm=c.clip_norm))
        every = WARP + (REST if c.inpainting else REST[:1])
        listed.append(
            Phase("full", every, self._full_losses, rate, decay, start=self._full_from, clip_norm=c.clip_norm)
        )
        if self.discriminator is not None:
            rate = _adam(c.discriminator_rate, c.first_moment)
            listed.append(
                Phase(
                    "discriminator",
                    ["discriminator"],
                    self._discriminator_losses,
                    rate,
                    decay,
                    start=self._adversarial_from,
                )
            )
        return listed

    def _lesson(self, pair: Pair) -> Lesson:
        """Source and warp of the pairs of one update."""
        window = self.config.sizes.mapping.window
        numbers = [windowed(self.reader.descriptor(rows)[:, None], window) for rows in (pair.rows, pair.driving_rows)]
        motions = [self.reader.motion(rows) for rows in (pair.rows, pair.driving_rows)]
        source = self.networks.encode(pair.source, pair.matte, numbers[0], motions[0])
        code = self.networks.describe(numbers[1])
        warped = self.networks.warp(source.volume, source.code, code, source.motion, motions[1])
        return Lesson(pair, source, code, motions[1], warped, self.networks.rgb(warped.volume))

    def _warp_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        pair = self.teacher.pair(batch)
        if pair is None:
            return self._nothing(*(self.get_submodule(name) for name in WARP))
        found = self.teacher.warp(self.networks, self._lesson(pair), self.num_updates, alone=True)
        return found or self._nothing(self.networks.flow)

    def _full_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        pair = self.teacher.pair(batch)
        if pair is None:
            return self._nothing(self.networks)
        lesson = self._lesson(pair)
        found = self.teacher.warp(self.networks, lesson, self.num_updates, alone=False)
        refined = self.networks.refine(lesson.source, lesson.warped, lesson.warped_rgb, lesson.code)
        composed = self.networks.compose(lesson.source, refined)
        found |= self.teacher.picture(pair, refined, composed, self.num_updates)
        shared["made"], shared["real"] = composed.image.detach(), pair.driving
        if self.discriminator is not None and self.num_updates >= self._adversarial_from:
            scores = self.discriminator(2 * composed.image - 1)
            found["adversarial"] = self.config.losses.adversarial * losses.fooling(scores)
        return found or self._nothing(self.networks)

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        assert self.discriminator is not None
        if "made" not in shared:
            return self._nothing(self.discriminator)
        real, made = (self.discriminator(2 * shared[name] - 1) for name in ("real", "made"))
        return {"hinge": losses.telling_apart(real, made)}

    @staticmethod
    def _nothing(*networks: torch.nn.Module) -> dict[str, Tensor]:
        """A loss of 0 that every parameter takes part in: the batch had no usable row."""
        sums = [parameter.sum() for network in networks for parameter in network.parameters()]
        return {"nothing": torch.stack(sums).sum() * 0}


def projected(flow: Tensor, matte: Tensor) -> Tensor:
    """Flow (B, h, w, 2) at the size of the matte (B, 1, H, W): (B, H, W, 2), still where the matte is below half."""
    height, width = matte.shape[2:]
    still = identity_grid(height, width, flow.device)
    return torch.where(matte[:, 0, :, :, None] >= 0.5, flow_at(flow.float(), height, width), still)


def _adam(rate: float, first_moment: float) -> Any:
    return functools.partial(torch.optim.Adam, lr=rate, betas=(first_moment, 0.999))
