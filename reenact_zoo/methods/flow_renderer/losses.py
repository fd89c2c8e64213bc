"""Losses of ``flow_renderer``; which distances between pictures are meant, ``nn.reconstruction`` says for all methods.

Legend: V_s volume of the source, V_w = o · V_s(φ) the warped one with flow φ and occlusion o, V_c = V_w(φ') the one
warped back, P the shared RGB head, x foregrounds, a the rendered matte, l its logit, B the blank area.

    phase 1   |P(V_w) - x_d| + |P(V_c) - x_s| + ½ |P(V_s) - x_s| + |V_c - V_s| + |φ(φ') - id| + |e(P(V_w)) - e(x_d)|
    phase 2   the same, |y_fg - x_d|, |a - α_d| + |σ(l) - α_d|, |y - I_d| with more weight in B

The cycle has two trivial optima, and both are closed. An occlusion of 0 makes a masked |V_c - V_s| vanish: no gradient
passes through the occlusion there, and its mask is a weighted mean, so that it does not matter how large it is. No
residual flow at all makes a perfect cycle: so at most a quarter of the pairs show two persons, where nothing else is
known, the coefficients e of the warped face must be the driving ones on every pair, and residual flows must undo each
other instead of being left out on the way back.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from reenact_zoo.methods.flow_renderer.rigid import identity_volume_grid
from reenact_zoo.methods.flow_renderer.warp3d import warp_volume
from reenact_zoo.types import InputError

FLOOR = 0.05  # of the weight of what the source hides in volume cycles: it is never free


@dataclass
class LossWeights:
    """Factors of the terms; a term of weight 0 is not computed.

    Attributes:
        colour, gradient, perceptual: of every distance between pictures, see ``nn.reconstruction``.
        everywhere: compare features in every distance, as PIRenderer does; false: on P(V_w) in phase 1 and on the whole
            picture in phase 2, which takes a third of the time.
        warped: of P(V_w), self pairs.
        cycled: of P(V_c).
        own: of P(V_s).
        volume: of V_c.
        flow_cycle: of the flow there and back, in half frames.
        coefficients: of expression and head angles read in P(V_w), in their units; needs the bundled E_3D's rows.
        occlusion: total variation of o.
        flow: squared differences of neighbouring residual flows, in voxels.
        foreground: of y_fg inside the driving matte, self pairs.
        matte: of a and σ(l), self pairs.
        image: of the whole picture, self pairs.
        blank: colours and gradients of the whole picture count that many times in B.
        identity: 1 - cosine of embeddings of the picture and the driving frame, self pairs.
        adversarial: hinge term of a patch discriminator; 0 builds none.
        adversarial_start: share of training.
    """

    colour: float = 10.0
    gradient: float = 10.0
    perceptual: float = 1.0
    everywhere: bool = False
    warped: float = 1.0
    cycled: float = 0.5
    own: float = 0.5
    volume: float = 0.2
    flow_cycle: float = 0.2
    coefficients: float = 0.3
    occlusion: float = 0.01
    flow: float = 0.05
    foreground: float = 1.0
    matte: float = 5.0
    image: float = 1.6
    blank: float = 6.0
    identity: float = 0.0
    adversarial: float = 0.0
    adversarial_start: float = 0.6

    @classmethod
    def tiny(cls) -> LossWeights:
        """No network is looked through."""
        return cls(perceptual=0.0, coefficients=0.0)

    @classmethod
    def paper(cls) -> LossWeights:
        """PIRenderer's 2.5 and 4, where the paper states nothing; features of VGG where its weights are at hand."""
        return cls(
            colour=1.0,
            gradient=0.0,
            perceptual=1.0,
            everywhere=True,
            warped=2.5,
            cycled=2.5,
            own=1.25,
            volume=1.0,
            coefficients=0.0,
            foreground=4.0,
            matte=1.0,
            image=4.0,
            adversarial=0.1,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for field in fields(self):
            if getattr(self, field.name) < 0:
                value = getattr(self, field.name)
                raise InputError(f"flow_renderer: losses.{field.name} must be at least 0, not {value}")
        if self.adversarial_start > 1:
            raise InputError(
                f"flow_renderer: losses.adversarial_start is a share, at most 1, not {self.adversarial_start}"
            )


# --- the cycle ------------------------------------------------------------------------------------------------------


def without_gradient_of_occlusion(unmasked: Tensor, occlusion: Tensor) -> Tensor:
    """V_w for the cycle: (B, C, D, h, w) times (B, 1, h, w), which the cycle may not make smaller."""
    return unmasked * occlusion.detach().unsqueeze(2)


def volume_cycle(cycled: Tensor, volume: Tensor, occlusion: Tensor) -> Tensor:
    """Mean |V_c - V_s| in units of mean |V_s|, weighted by where the way back sees the source.

    No gradient reaches V_s, the occlusion or the unit: neither empty volumes nor hidden ones are an answer.

    Args:
        cycled: (B, C, D, h, w) before the occlusion of the way back.
        volume: (B, C, D, h, w).
        occlusion: (B, 1, h, w) of the way back.
    """
    truth = volume.detach().float()
    unit = truth.abs().mean((1, 2, 3, 4)).clamp(min=1e-6)
    difference = (cycled.float() - truth).abs().mean((1, 2)) / unit[:, None, None]
    weight = occlusion.detach().float()[:, 0] + FLOOR
    return ((difference * weight).sum((1, 2)) / weight.sum((1, 2))).mean()


def flow_cycle(forth: Tensor, back: Tensor, occlusion: Tensor) -> Tensor:
    """Mean |φ(φ') - id| in half frames where φ' stays inside; rigid parts undo each other, so residual flows must.

    Args:
        forth: φ (B, D, h, w, 3), where in the source's volume each voxel of the driving's comes from.
        back: φ', where in the driving's volume each voxel of the source's comes from.
        occlusion: (B, 1, h, w) of the way back; a weight without a gradient.
    """
    forth, back = forth.float(), back.float()
    depth, height, width = forth.shape[1:4]
    still = identity_volume_grid((depth, height, width), forth.device)
    moved = warp_volume((forth - still).movedim(-1, 1), back).movedim(1, -1)
    axes = 3 if depth > 1 else 2  # one slice has no depth to move in
    distance = (back + moved - still)[..., :axes].abs().sum(-1)
    # Between the outermost voxel centres, so that no zero from outside is blended in.
    edge = 1 - 1 / back.new_tensor([width, height, max(depth, 1)])
    inside = (back.detach().abs() <= edge)[..., :axes].all(-1)
    weight = inside * (occlusion.detach().float() + FLOOR)
    return (distance * weight).sum() / weight.sum().clamp(min=1.0)


def read_again(made: Tensor, wanted: Tensor, columns: int) -> Tensor:
    """Mean difference of the first ``columns`` numbers of descriptors (B, N), rows without a reading left out."""
    rows = made.isfinite().all(1) & wanted.isfinite().all(1)
    if not bool(rows.any()):
        return made.new_zeros(())
    return (made[rows, :columns] - wanted[rows, :columns].detach()).abs().mean()


# --- smoothness -----------------------------------------------------------------------------------------------------


def total_variation(occlusion: Tensor) -> Tensor:
    """Mean |difference| of neighbours of (B, 1, h, w)."""
    occlusion = occlusion.float()
    return occlusion.diff(dim=2).abs().mean() + occlusion.diff(dim=3).abs().mean()


def flow_smoothness(residual: Tensor) -> Tensor:
    """Mean squared difference of neighbours of (B, 3, D, h, w), summed over axes; in voxels, all as wide as in x."""
    residual = residual.float() * residual.shape[-1] / 2
    found = [residual.diff(dim=axis).square().mean() for axis in (2, 3, 4) if residual.shape[axis] > 1]
    return torch.stack(found).sum()


# --- foreground and picture -----------------------------------------------------------------------------------------


def matte(alpha: Tensor, logit: Tensor, truth: Tensor) -> Tensor:
    """Mean |a - α_d| + |σ(l) - α_d|: the second has a gradient where the clamp in a has none, and goes past its ends.

    Args:
        alpha: a (B, 1, H, W), exactly 0 and 1 over wide areas.
        logit: l (B, 1, H, W).
        truth: α_d (B, 1, H, W).
    """
    truth = truth.detach()
    return (alpha - truth).abs().mean() + (logit.float().sigmoid() - truth).abs().mean()


def blank_weight(blank: Tensor, times: float) -> Tensor:
    """Weights (B, 1, H, W) of pixels: 1, and ``times`` in the blank area B; no gradient."""
    return 1 + (times - 1) * blank.detach()


# --- adversarial ----------------------------------------------------------------------------------------------------


def fooling(scores: Tensor) -> Tensor:
    """Hinge term of the generator."""
    return -scores.float().mean()


def telling_apart(real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the discriminator."""
    return (1 - real.float()).relu().mean() + (1 + made.float()).relu().mean()
