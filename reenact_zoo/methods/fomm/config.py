"""Configuration of ``fomm``: sizes, the weights of the losses, and the released vox-256 configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

CHOICES: dict[str, Sequence[str]] = {
    "preset": ("clean", "official", "official_unaligned"),
    "perceptual": ("shared", "vgg19"),
    "schedule": ("linear", "steps"),
}


@dataclass
class Config:
    """What is built and how it is trained.

    Attributes:
        image_size: side of the images in pixels.
        preset: "clean": coordinates of this project, heat maps as large as the features, averages for smaller pictures.
            "official": as the released code was trained, grids from corner pixel to corner pixel and sampling with
            align_corners=True. "official_unaligned": the same under align_corners=False, which the released code falls
            into with PyTorch 1.3 and later.
        num_keypoints: K.
        shrink: keypoints and motion are found on pictures of 1 / shrink of the side.
        head_kernel: side of the convolutions that read heat maps, Jacobians, masks and occlusion off; odd.
        temperature: of the softmax over a heat map's pixels.
        keypoint_width, keypoint_cap, keypoint_depth: hourglass of the keypoint detector: channels at the largest size,
            channels at most, how often it halves.
        keypoint_variance: of the Gaussians that show keypoints to networks, in squared half image sides.
        motion_width, motion_cap, motion_depth: hourglass of the dense motion network.
        generator_width, generator_cap: channels at full size, and at most.
        generator_halvings: how often the generator halves before it warps.
        generator_blocks: residual blocks after the warp.
        adapt_scale: in relative motion, scale movements by the ratio of the keypoints' convex hulls. May be chosen
            after training.
        relative_jacobian: in relative motion, transfer the change of Jacobians, too. May be chosen after training.
        perceptual: "shared": the features that all methods here are trained with; "vgg19": VGG-19's, as in the paper
            (needs the weight entry vgg19_imagenet). Both at the sizes 1, 1/2, 1/4 and 1/8.
        lambda_colour, lambda_gradient, lambda_perceptual: see ``nn.reconstruction``; the paper has the last alone.
        lambda_equivariance_value, lambda_equivariance_jacobian: of the two equivariance terms.
        affine_sigma, spline_sigma, spline_points: random transforms of the equivariance terms: deviation of the affine
            map's six numbers and of the spline's coefficients, control points along a side.
        lambda_adversarial: of the generator's least-squares term; 0 builds no discriminator.
        lambda_feature_matching: of each of the discriminator's feature maps; counts where ``lambda_adversarial`` does.
        discriminator_width, discriminator_cap, discriminator_depth: as above.
        discriminator_spectral: spectral norm on its convolutions.
        discriminator_sees_keypoints: it is shown the driving keypoints beside the picture.
        learning_rate, discriminator_rate: of Adam (0.5, 0.999).
        clip_norm: largest norm of the generator phase's gradient; null for none, as released.
        schedule: "linear": constant, then straight down to 0 from ``decay_start`` on; "steps": a tenth after 0.6 and a
            hundredth after 0.9 of the updates.
        decay_start: share of the updates.
    """

    image_size: int = 64
    preset: str = "clean"
    num_keypoints: int = 10
    shrink: int = 2
    head_kernel: int = 3
    temperature: float = 0.1
    keypoint_width: int = 16
    keypoint_cap: int = 128
    keypoint_depth: int = 4
    keypoint_variance: float = 0.01
    motion_width: int = 24
    motion_cap: int = 96
    motion_depth: int = 4
    generator_width: int = 24
    generator_cap: int = 48
    generator_halvings: int = 1
    generator_blocks: int = 4
    adapt_scale: bool = True
    relative_jacobian: bool = True
    perceptual: str = "shared"
    lambda_colour: float = 0.0
    lambda_gradient: float = 0.0
    lambda_perceptual: float = 10.0
    lambda_equivariance_value: float = 10.0
    lambda_equivariance_jacobian: float = 10.0
    affine_sigma: float = 0.05
    spline_sigma: float = 0.005
    spline_points: int = 5
    lambda_adversarial: float = 0.0
    lambda_feature_matching: float = 10.0
    discriminator_width: int = 32
    discriminator_cap: int = 512
    discriminator_depth: int = 4
    discriminator_spectral: bool = True
    discriminator_sees_keypoints: bool = False
    learning_rate: float = 2e-4
    discriminator_rate: float = 2e-4
    clip_norm: float | None = None
    schedule: str = "linear"
    decay_start: float = 0.5

    @classmethod
    def tiny(cls) -> Config:
        """Small and quick enough for tests."""
        return cls(
            image_size=64,
            num_keypoints=4,
            shrink=4,
            keypoint_width=4,
            keypoint_cap=16,
            keypoint_depth=2,
            motion_width=8,
            motion_cap=16,
            motion_depth=2,
            generator_width=8,
            generator_cap=16,
            generator_blocks=1,
            spline_points=3,
            lambda_colour=10.0,
            lambda_perceptual=0.0,
            discriminator_width=4,
            discriminator_cap=8,
            learning_rate=4e-3,
            decay_start=1.0,
        )

    @classmethod
    def released(cls) -> Config:
        """The authors' vox-256; their vox-adv-256 checkpoint has the same generator and keypoint detector."""
        return cls(
            image_size=256,
            preset="official",
            shrink=4,
            head_kernel=7,
            keypoint_width=32,
            keypoint_cap=1024,
            keypoint_depth=5,
            motion_width=64,
            motion_cap=1024,
            motion_depth=5,
            generator_width=64,
            generator_cap=512,
            generator_halvings=2,
            generator_blocks=6,
            perceptual="vgg19",
            schedule="steps",
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        for field, known in CHOICES.items():
            value = getattr(self, field)
            if value not in known:
                raise InputError(f"fomm: {field} is '{value}'; {nearest(value, known)}")
        for field in ("num_keypoints", "shrink", "keypoint_depth", "motion_depth", "generator_halvings"):
            if getattr(self, field) < 1:
                raise InputError(f"fomm: {field} must be at least 1, not {getattr(self, field)}")
        if self.head_kernel % 2 == 0:
            raise InputError(f"fomm: head_kernel must be odd, not {self.head_kernel}")
        if not 0 <= self.decay_start <= 1:
            raise InputError(f"fomm: decay_start is a share and must lie in [0, 1], not {self.decay_start}")
        depth = max(self.keypoint_depth, self.motion_depth)
        needed = max(self.shrink * 2**depth, 2**self.generator_halvings)
        if self.image_size % needed:
            raise InputError(
                f"fomm: image_size {self.image_size} is no multiple of {needed}, which shrink {self.shrink} and "
                f"{depth} halvings ask for; use such a size or a smaller depth"
            )
        if self.preset != "clean" and self.image_size // self.shrink <= self.head_kernel:
            raise InputError(f"fomm: preset '{self.preset}' needs a head_kernel below {self.image_size // self.shrink}")
