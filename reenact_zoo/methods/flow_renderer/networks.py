"""All networks of ``flow_renderer`` and the order in which they work: once per source, then once per frame.

once:   foreground → A → volume, features    descriptor → code    matte → known background
frame:  rigid grid + residual flow → warped volume → P → warped RGB → refinement → matte, foreground
        → blank area → inpainting → composition
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reenact_zoo.methods.flow_renderer.appearance import Appearance, AppearanceSizes, VolumeSizes
from reenact_zoo.methods.flow_renderer.compose import (
    blank_area,
    canvas,
    compose,
    known_background,
    matte_from_logit,
    pool_size,
)
from reenact_zoo.methods.flow_renderer.flow import FlowField, FlowNetwork, FlowSizes, Mapping, MappingSizes, flow_at
from reenact_zoo.methods.flow_renderer.inpainting import Inpainting, InpaintingSizes
from reenact_zoo.methods.flow_renderer.refinement import Refined, Refinement, RefinementSizes
from reenact_zoo.methods.flow_renderer.rgb_head import HeadSizes, RgbHead
from reenact_zoo.methods.flow_renderer.rigid import ICT_REDUCED, RigidMotion, identity_volume_grid, rigid_grid
from reenact_zoo.methods.flow_renderer.warp3d import warp_volume
from reenact_zoo.ops.warp import warp
from reenact_zoo.types import InputError


@dataclass
class Sizes:
    """Sizes of all parts; the defaults are for 64 pixels.

    Attributes:
        volume, appearance, mapping, flow, head, refinement, inpainting: see each.
        pool_at_256: window of the known background's margin, in pixels of a picture of 256; 3 pixels at 64.
        known_below: bound of the source's matte in that window. The estimated matte of small pictures has a soft rim:
            .02 leaves 73 % of the background known there, .1 84 %.
    """

    volume: VolumeSizes = field(default_factory=VolumeSizes)
    appearance: AppearanceSizes = field(default_factory=AppearanceSizes)
    mapping: MappingSizes = field(default_factory=MappingSizes)
    flow: FlowSizes = field(default_factory=FlowSizes)
    head: HeadSizes = field(default_factory=HeadSizes)
    refinement: RefinementSizes = field(default_factory=RefinementSizes)
    inpainting: InpaintingSizes = field(default_factory=InpaintingSizes)
    pool_at_256: int = 7
    known_below: float = 0.1

    @classmethod
    def tiny(cls) -> Sizes:
        """Small and quick enough for tests, 64 pixels."""
        return cls(
            VolumeSizes.tiny(),
            AppearanceSizes.tiny(),
            MappingSizes.tiny(),
            FlowSizes.tiny(),
            HeadSizes.tiny(),
            RefinementSizes.tiny(),
            InpaintingSizes.tiny(),
        )

    @classmethod
    def paper(cls) -> Sizes:
        """256 pixels."""
        return cls(
            VolumeSizes.paper(),
            AppearanceSizes.paper(),
            MappingSizes.paper(),
            FlowSizes.paper(),
            HeadSizes.paper(),
            RefinementSizes.paper(),
            InpaintingSizes.paper(),
            known_below=0.02,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        if self.pool_at_256 < 1 or not 0 < self.known_below <= 1:
            raise InputError("flow_renderer: pool_at_256 must be at least 1 and known_below lie in (0, 1]")


@dataclass(frozen=True)
class Source:
    """What is computed once per source.

    Attributes:
        image: (B, 3, H, W), as it came.
        foreground: (B, 3, H, W), on black.
        matte: (B, 1, H, W).
        volume: (B, C, D, h, w).
        features: (B, F, h, w).
        code: (B, code).
        motion: of the head.
        known: (B, 1, H, W) bool, K.
    """

    image: Tensor
    foreground: Tensor
    matte: Tensor
    volume: Tensor
    features: Tensor
    code: Tensor
    motion: RigidMotion
    known: Tensor

    def canvas(self) -> Tensor:
        """(B, 4, H, W): known background on black, and K."""
        known = self.known.to(self.image.dtype)
        return torch.cat((known * self.image, known), dim=1)


@dataclass(frozen=True)
class Warped:
    """A warped volume (B, C, D, h, w), multiplied by the occlusion and ``unmasked``, and the flow that made it."""

    volume: Tensor
    unmasked: Tensor
    field: FlowField


@dataclass(frozen=True)
class Composed:
    """The finished picture and what it is made of.

    Attributes:
        image: y (B, 3, H, W).
        matte: a (B, 1, H, W) in [0, 1].
        blank: B (B, 1, H, W) in [0, 1].
        inpainted: y_in (B, 3, H, W); without inpainting the same as ``image``.
    """

    image: Tensor
    matte: Tensor
    blank: Tensor
    inpainted: Tensor


@dataclass(frozen=True)
class Rendered:
    """Everything that one driving frame made."""

    warped: Warped
    warped_rgb: Tensor
    refined: Refined
    composed: Composed


class Networks(nn.Module):
    """See the module.

    Args:
        image_size: H = W.
        descriptor: numbers of a motion descriptor.
        sizes: of all parts.
        rigid_prior: false for the ablation whose flow is learned alone.
        inpainting: false for the ablation in which refinement draws the whole picture.
        camera_distance: of the head model's camera, see ``rigid_grid``.
    """

    def __init__(
        self,
        image_size: int,
        descriptor: int,
        sizes: Sizes,
        *,
        rigid_prior: bool = True,
        inpainting: bool = True,
        camera_distance: float | None = ICT_REDUCED.camera_distance,
    ) -> None:
        super().__init__()
        volume, code = sizes.volume, sizes.mapping.code
        self.shape, self.depth_span = volume.shape(image_size), volume.depth_span
        self.rigid_prior, self.camera_distance = rigid_prior, camera_distance
        self.pool, self.known_below = pool_size(image_size, sizes.pool_at_256), sizes.known_below
        self.appearance = Appearance(volume, sizes.appearance)
        self.mapping = Mapping(descriptor, sizes.mapping)
        self.flow = FlowNetwork(volume, self.shape, code, sizes.flow)
        self.rgb_head = RgbHead(volume, sizes.head)
        self.refinement = Refinement(
            image_size, volume, sizes.appearance.features, code, sizes.refinement, whole_image=not inpainting
        )
        self.inpainting = Inpainting(image_size, sizes.inpainting) if inpainting else None

    def encode(self, image: Tensor, matte: Tensor, descriptor: Tensor, motion: RigidMotion) -> Source:
        """Everything that depends on the source alone.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            matte: (B, 1, H, W) in [0, 1].
            descriptor: (B, N) or (B, N, T), without NaN.
            motion: of the source's head.
        """
        foreground = matte * image
        found = self.appearance(foreground)
        known = known_background(matte, self.pool, self.known_below)
        code = self.describe(descriptor)
        return Source(image, foreground, matte, found.volume, found.features, code, motion, known)

    def describe(self, descriptor: Tensor) -> Tensor:
        """Motion descriptor (B, N) or (B, N, T) → code (B, code)."""
        return self.mapping.describe(descriptor)

    def base_grid(self, motion_from: RigidMotion, motion_to: RigidMotion) -> Tensor:
        """(B, D, h, w, 3): the rigid prior, or without it the grid that changes nothing."""
        if self.rigid_prior:
            return rigid_grid(motion_from, motion_to, self.shape, self.depth_span, self.camera_distance)
        still = identity_volume_grid(self.shape, motion_from.rotation.device)
        return still.expand(len(motion_from.rotation), -1, -1, -1, -1)

    def warp(
        self,
        volume: Tensor,
        code_from: Tensor,
        code_to: Tensor,
        motion_from: RigidMotion,
        motion_to: RigidMotion,
        detach_occlusion: bool = False,
    ) -> Warped:
        """Move a volume (B, C, D, h, w) from one motion to another; swapped arguments lead back.

        Args:
            volume: of the motion ``from``.
            code_from: (B, code) of the motion that is there.
            code_to: (B, code) of the motion that is wanted.
            motion_from: of the head in ``volume``.
            motion_to: of the head that is wanted.
            detach_occlusion: no gradient through the mask; hiding everything would satisfy a cycle.
        """
        change = self.mapping.between(code_from, code_to)
        field = self.flow(volume, change, self.base_grid(motion_from, motion_to))
        moved = warp_volume(volume, field.flow)
        occlusion = field.occlusion.detach() if detach_occlusion else field.occlusion
        return Warped(moved * occlusion[:, :, None], moved, field)

    def rgb(self, volume: Tensor) -> Tensor:
        """The shared head P: (B, C, D, h, w) → (B, 3, H, W) RGB in [0, 1]."""
        result: Tensor = self.rgb_head(volume)
        return result

    def refine(self, source: Source, warped: Warped, warped_rgb: Tensor, code: Tensor) -> Refined:
        """Foreground and matte of the driving motion ``code`` (B, code)."""
        flow = warped.field.flow_2d()
        features = warp(source.features.float(), flow)
        finer = flow_at(flow, source.image.shape[-2], source.image.shape[-1])
        foreground = warp(torch.cat((source.foreground, source.matte), dim=1), finer)
        known = None if self.inpainting is not None else source.canvas()
        refined: Refined = self.refinement(warped_rgb, warped.volume, features, foreground, code, known)
        return refined

    def compose(self, source: Source, refined: Refined) -> Composed:
        """Put the picture together; without inpainting refinement has drawn it."""
        matte = matte_from_logit(refined.logit)
        blank = blank_area(source.known, matte)
        if self.inpainting is None:
            return Composed(refined.rgb, matte, blank, refined.rgb)
        there = canvas(source.image, refined.rgb, source.known, matte)
        inpainted = self.inpainting(there, blank, matte)
        return Composed(compose(source.image, refined.rgb, matte, source.known, inpainted), matte, blank, inpainted)

    def forward(self, source: Source, descriptor: Tensor, motion: RigidMotion) -> Rendered:
        """One frame: descriptor (B, N) or (B, N, T) and head motion of the driving frame."""
        code = self.describe(descriptor)
        warped = self.warp(source.volume, source.code, code, source.motion, motion)
        warped_rgb = self.rgb(warped.volume)
        refined = self.refine(source, warped, warped_rgb, code)
        return Rendered(warped, warped_rgb, refined, self.compose(source, refined))
