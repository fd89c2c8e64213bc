"""The traditional baseline: warp the source image so that its facial landmarks come to lie on retargeted ones.

No network, no training. A small 3-D face fitted to both sets of landmarks separates pose, shape and expression; the
driving landmarks, corrected for the difference in face shape, are where the source's landmarks must go. See README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.faces.landmark_model import (
    Array,
    Face,
    Pose,
    face_model,
    fit_face,
    turned_over,
    with_shape_of,
)
from reenact_zoo.methods.base import Phase, ReenactmentModule
from reenact_zoo.methods.landmark_warp import mouth, plate
from reenact_zoo.methods.landmark_warp.mesh import (
    RING,
    RING_NEARNESS,
    HeadRegion,
    common_growth,
    mirrored,
    mirrored_share,
    surroundings,
    triangles,
)
from reenact_zoo.ops.coordinates import pixel_to_normalised
from reenact_zoo.ops.warp import piecewise_affine, warp
from reenact_zoo.types import PairBatch, ReenactmentOutput


@dataclass
class Config:
    """Attributes.

    keep_identity: 1 keeps the source's face shape, 0 takes over the driver's; in between blends.
    mouth_interior: paint what opens inside a mouth that is closed in the source; else the lips are stretched over it.
    """

    keep_identity: float = 1.0
    mouth_interior: bool = True

    @classmethod
    def tiny(cls) -> Config:
        """The same: there is nothing to make small."""
        return cls()


class LandmarkWarp(ReenactmentModule[Config]):
    """Similarity of the head, parallax of its turning and piecewise-affine face; the picture's frame stays.

    With ``driving_reference_landmarks`` in the batch the motion is relative to that frame. Samples with a row of NaN
    landmarks come back as NaN. No gradient.
    """

    Config = Config
    requires = frozenset({"source_landmarks", "driving_landmarks"})
    trainable = False

    def phases(self) -> list[Phase]:
        """Nothing to train."""
        return []

    @torch.no_grad()
    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """Image and fitted face of the source."""
        image = batch["source"].float()
        face = fit_face(batch["source_landmarks"], (image.shape[-2], image.shape[-1]))
        region = HeadRegion.of(face.fit.pose, np.ones(len(image)))
        return {"image": image, "face": face, "plate": plate.background(image, region)}

    @torch.no_grad()
    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Warp the encoded source; ``aux`` has the flow (B, H, W, 2) and the landmarks aimed at (B, 68, 2)."""
        image, source = state["image"], state["face"]
        size = (batch["driving"].shape[-2], batch["driving"].shape[-1])
        driving = fit_face(batch["driving_landmarks"], size)
        found = source.found & driving.found
        if "driving_reference_landmarks" in batch:
            reference = fit_face(batch["driving_reference_landmarks"], size)
            found &= reference.found
            pose, aim, expression = _relative(source, driving, reference)
        else:
            pose, aim, expression = _absolute(source, driving, self.config.keep_identity)
        flow, mirror, behind = _flow(source, pose, aim, expression, size, image.shape[-2:])
        flow, behind = flow.to(image.device), behind.to(image.device)
        reenacted = warp(image, flow, "border", "bicubic").clamp(0, 1)
        if mirror is not None:
            other, share = mirror[..., :2].to(image.device), mirror[..., 2].unsqueeze(1).to(image.device)
            reenacted = torch.lerp(reenacted, warp(image, other, "border"), share)
        reenacted = plate.lay_behind(reenacted, state["plate"], behind)
        if self.config.mouth_interior:
            reenacted = mouth.paint(reenacted, image, source.landmarks, aim, source.fit.pose.scale, pose.scale)
        missing = torch.from_numpy(~found).to(image.device)
        reenacted = reenacted.masked_fill(missing.view(-1, 1, 1, 1), float("nan"))
        landmarks = torch.from_numpy(pixel_to_normalised(aim, *size)).float().to(image.device)
        return ReenactmentOutput(reenacted, {"flow": flow, "landmarks": landmarks})


def _flow(
    source: Face, pose: Pose, aim: Array, expression: Array, size: tuple[int, int], source_size: tuple[int, ...]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """How the source's face gets to ``aim`` under ``pose``.

    Returns:
        Flow (B, H, W, 2); where the source hides a part of the face (B, H, W, 3): flow to the other half and that
        half's weight, None where it hides none; weight of the background (B, H, W).
    """
    model, fit = face_model(), source.fit
    extra_from, _ = fit.pose.project(model.points(fit.identity, fit.expression))
    extra_to, near = pose.project(model.points(fit.identity, expression))
    face_from = np.concatenate((source.landmarks, turned_over(extra_from)[:, 68:]), 1)
    face_to = np.concatenate((aim, turned_over(extra_to)[:, 68:]), 1)
    growth = common_growth(fit.pose, pose, face_from, face_to)
    region_from, region_to = HeadRegion.of(fit.pose, growth), HeadRegion.of(pose, growth)
    around, behind = surroundings(region_to, region_from, size, (source_size[0], source_size[1]))
    values = pixel_to_normalised(np.concatenate((face_from, region_from.ring()), 1), *source_size)
    hidden = mirrored_share(fit.pose, pose)[..., None]
    if (hidden > 0).any():
        values = np.concatenate((values, values[:, mirrored()], hidden), -1)
        around = np.concatenate((around, around, np.zeros_like(around[..., :1])), -1)
    flow = piecewise_affine(
        torch.from_numpy(values),
        torch.from_numpy(pixel_to_normalised(np.concatenate((face_to, region_to.ring()), 1), *size)).float(),
        torch.from_numpy(around),
        torch.from_numpy(triangles()),
        torch.from_numpy(np.concatenate((near, np.full((len(near), RING), RING_NEARNESS)), 1)),
    )
    return flow[..., :2], flow[..., 2:] if flow.shape[-1] > 2 else None, torch.from_numpy(behind)


def _absolute(source: Face, driving: Face, keep_identity: float) -> tuple[Pose, Array, Array]:
    """The driver's landmarks with the source's face shape."""
    return driving.fit.pose, with_shape_of(source, driving, keep_identity), driving.fit.expression


def _relative(source: Face, driving: Face, reference: Face) -> tuple[Pose, Array, Array]:
    """The source's own landmarks under the change of pose and expression since the reference frame."""
    s, d, r = source.fit, driving.fit, reference.fit
    ratio = s.pose.scale / r.pose.scale  # px of the source per px of the driving clip, at equal head size
    pose = Pose(
        ratio * d.pose.scale,
        d.pose.rotation @ r.pose.rotation.transpose(0, 2, 1) @ s.pose.rotation,
        s.pose.shift + ratio[:, None] * (d.pose.shift - r.pose.shift),
    )
    expression = s.expression + d.expression - r.expression
    model = face_model()
    own = source.landmarks - turned_over(s.pose.project(model.points(s.identity, s.expression))[0])[:, :68]
    angle = pose.roll - s.pose.roll
    c, k = np.cos(angle)[:, None], np.sin(angle)[:, None]
    growth = (pose.scale / s.pose.scale)[:, None]
    own = np.stack((growth * (c * own[..., 0] + k * own[..., 1]), growth * (c * own[..., 1] - k * own[..., 0])), -1)
    return pose, turned_over(pose.project(model.points(s.identity, expression))[0])[:, :68] + own, expression
