"""First Order Motion Model for Image Animation (Siarohin et al., NeurIPS 2019, arXiv:2003.00196).

Keypoints with Jacobians, learned without labels, are found in source and driving frame; local affine motions between
them are joined into one flow; features of the source are warped by it, dimmed where the source hides what is needed,
and drawn anew. README.md beside this file lists what differs from the released code.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reenact_zoo.methods.base import Phase, ReenactmentModule, linear_decay
from reenact_zoo.methods.fomm import losses, official, pictures
from reenact_zoo.methods.fomm.config import Config as FommConfig
from reenact_zoo.methods.fomm.convention import Convention
from reenact_zoo.methods.fomm.dense_motion import Motion
from reenact_zoo.methods.fomm.discriminator import Discriminator
from reenact_zoo.methods.fomm.generator import Encoded, OcclusionAwareGenerator
from reenact_zoo.methods.fomm.keypoints import KeypointDetector
from reenact_zoo.methods.fomm.motion import Keypoints, transfer
from reenact_zoo.methods.fomm.transforms import random_transform
from reenact_zoo.nn.backbones import ENTRIES
from reenact_zoo.nn.reconstruction import ReconstructionLoss
from reenact_zoo.ops.hulls import best_frame
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput


class Fomm(ReenactmentModule[FommConfig]):
    """Keypoints, dense motion, and the generator that knows what is hidden.

    With ``driving_reference`` in the batch the motion is relative to that frame, else absolute: the driver's keypoints
    are taken over with its face shape and place.

    ``aux``: "flow" (B, H, W, 2), "warped" (the source under it), "occlusion" (B, 1, h, w), "source_keypoints",
    "driving_keypoints" and "aimed_keypoints" (B, K, 2), which differ from the driving ones in relative motion, and for
    pages "source_dots", "aimed_dots" (B, 3, H, W) and "heat" (B, 3, h, w; of the driving frame).
    """

    Config = FommConfig
    averaged = ("keypoint_detector", "generator")

    def __init__(self, config: FommConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.keypoint_detector = KeypointDetector(c)
        self.generator = OcclusionAwareGenerator(c)
        self.discriminator = Discriminator(c) if c.lambda_adversarial > 0 else None
        self.convention = Convention(c.preset)
        self.use_channels_last()  # convolutions on CPUs prefer it, in float32 too

    def load_official(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a released checkpoint, see ``official.load_official``; a discriminator where this method has one.

        The released weights were trained on VGG-19's features, which ``instruments`` then says.
        """
        official.load_official(
            state_dict,
            kp_detector=self.keypoint_detector,
            generator=self.generator,
            discriminator=self.discriminator,
        )
        self.instruments = tuple(sorted({*self.instruments, ENTRIES["vgg19"]}))

    # --- use ------------------------------------------------------------------------------------------------------

    def encode_source(self, batch: PairBatch) -> dict[str, Any]:
        """Keypoints of the source, its features before the warp, the picture itself, and its keypoints as dots."""
        source = self._checked("source", batch["source"])
        keypoints, _ = self.keypoint_detector(source)
        dots = pictures.dots(source, self.convention.as_project(keypoints.values, *source.shape[-2:]))
        return {"source": source, "keypoints": keypoints, "encoded": self.generator.encode(source), "dots": dots}

    def drive(self, state: dict[str, Any], batch: PairBatch) -> ReenactmentOutput:
        """Bring the encoded source to the driving frame, or to its change since ``driving_reference``."""
        source: Keypoints = state["keypoints"]
        encoded: Encoded = state["encoded"]
        driving, heat = self.keypoint_detector(self._checked("driving", batch["driving"]))
        reference = None
        if "driving_reference" in batch:
            reference, _ = self.keypoint_detector(self._checked("driving_reference", batch["driving_reference"]))
        c = self.config
        aim = transfer(source, driving, reference, c.adapt_scale, c.relative_jacobian)
        reenacted, motion = self.generator(encoded, source, aim)
        found = self._aux(state["source"], source, driving, aim, motion, heat)
        return ReenactmentOutput(reenacted, found | {"source_dots": state["dots"]})

    def best_frame(self, source: Tensor, clip: Tensor) -> int:
        """Frame of a driving clip whose keypoints lie most like the source's: a good ``driving_reference``.

        Args:
            source: (3, H, W) RGB in [0, 1].
            clip: (T, 3, H, W).

        Raises:
            InputError: the keypoints of the source, or of every frame, lie on one line.
        """
        with torch.no_grad():
            wanted, _ = self.keypoint_detector(self._checked("source", source[None]))
            frames = [self.keypoint_detector(self._checked("clip", frame[None]))[0].values for frame in clip]
        return best_frame(wanted.values[0], torch.cat(frames))

    def _checked(self, name: str, images: Tensor) -> Tensor:
        size = self.config.image_size
        if images.shape[-2:] != (size, size):
            raise InputError(
                f"this fomm works on {size}x{size} images, but '{name}' is {images.shape[-1]}x{images.shape[-2]}; "
                f"use image_size {size}, or weights of that size"
            )
        return images

    def _aux(
        self, image: Tensor, source: Keypoints, driving: Keypoints, aim: Keypoints, motion: Motion, heat: Tensor
    ) -> dict[str, Tensor]:
        height, width = image.shape[-2:]
        flow = self.convention.resized(motion.flow, height, width)
        places = {"source": source, "driving": driving, "aimed": aim}
        found = {
            f"{name}_keypoints": self.convention.as_project(points.values, height, width)
            for name, points in places.items()
        }
        warped = self.convention.sample(image, flow)
        return found | {
            "flow": self.convention.as_project(flow, height, width),
            "warped": warped,
            "occlusion": motion.occlusion,
            "aimed_dots": pictures.dots(warped, found["aimed_keypoints"]),
            "heat": pictures.heat_picture(heat),
        }

    # --- training -------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Detector and generator together; then, where there is one, the discriminator on the same pictures."""
        c = self.config
        decay = _steps if c.schedule == "steps" else linear_decay(min(c.decay_start, 0.999))
        networks = ["keypoint_detector", "generator"]
        rate = _adam(c.learning_rate)
        listed = [Phase("generator", networks, self._generator_losses, rate, decay, clip_norm=c.clip_norm)]
        if self.discriminator is not None:
            rate = _adam(c.discriminator_rate)
            listed.append(Phase("discriminator", ["discriminator"], self._discriminator_losses, rate, decay))
        return listed

    @functools.cached_property  # lies beside the registered modules: it belongs in no checkpoint
    def reconstruction(self) -> ReconstructionLoss:
        """The distance to the true picture, its networks loaded when first asked for."""
        found = losses.reconstruction(self.config, self.device)
        self.instruments = tuple(sorted({*self.instruments, found.backbone_name} - {""}))
        return found

    def _generator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        if not bool(batch["same_identity"].all()):
            raise InputError("fomm learns from two frames of one person, and a pair shows two; use same_identity: 1")
        c = self.config
        source = self._checked("source", batch["source"]).float()
        driving = self._checked("driving", batch["driving"]).float()
        images = [source, driving]
        transform = None
        if c.lambda_equivariance_value > 0 or c.lambda_equivariance_jacobian > 0:
            transform = random_transform(len(driving), c, driving)
            images.append(transform.images(driving, self.convention))
        keypoints = self.keypoint_detector(torch.cat(images))[0].chunks(len(images))
        made, _ = self.generator(self.generator.encode(source), keypoints[0], keypoints[1])
        found = self.reconstruction.parts(made, driving)
        if c.lambda_equivariance_value > 0 and transform is not None:
            value = losses.equivariance_of_values(keypoints[1], keypoints[2], transform)
            found["equivariance_value"] = c.lambda_equivariance_value * value
        if c.lambda_equivariance_jacobian > 0 and transform is not None:
            value = losses.equivariance_of_jacobians(keypoints[1], keypoints[2], transform)
            found["equivariance_jacobian"] = c.lambda_equivariance_jacobian * value
        points = keypoints[1].values.detach()
        shared |= {"made": made.detach(), "points": points}
        return found | self._adversarial(made, driving, points)

    def _adversarial(self, made: Tensor, driving: Tensor, points: Tensor) -> dict[str, Tensor]:
        if self.discriminator is None:
            return {}
        c = self.config
        scores, maps = self.discriminator(made, points)
        found = {"adversarial": c.lambda_adversarial * losses.fooling(scores)}
        if c.lambda_feature_matching > 0:
            with torch.no_grad():
                _, real = self.discriminator(driving, points)
            found["feature_matching"] = c.lambda_feature_matching * losses.feature_matching(maps, real)
        return found

    def _discriminator_losses(self, batch: PairBatch, shared: dict[str, Any]) -> dict[str, Tensor]:
        assert self.discriminator is not None
        real, _ = self.discriminator(batch["driving"].float(), shared["points"])
        made, _ = self.discriminator(shared["made"], shared["points"])
        return {"least_squares": losses.telling_apart(real, made)}


def _adam(rate: float) -> Any:
    return functools.partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.999))


def _steps(progress: float) -> float:
    """The released schedule: epochs 60 and 90 of 100."""
    return 1.0 if progress < 0.6 else 0.1 if progress < 0.9 else 0.01
