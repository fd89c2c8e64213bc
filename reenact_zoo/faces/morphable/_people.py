"""Random people at rest, the same draw for every head model."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.morphable.base import CoefficientLayout

_GREY_BANDS = (0.06, 0.12, 0.12, 0.12, 0.04, 0.04, 0.04, 0.04, 0.04)


def random_people(layout: CoefficientLayout, generator: torch.Generator, count: int) -> Tensor:
    """(count, K): shape N(0, 0.8²) and texture N(0, 1), both cut at 2.5 deviations; light near the neutral one.

    The light varies by a grey part that all colours share (σ 0.12 on the three directional bands) and a small tint per
    colour. Expression, pose and camera are zero.
    """

    def normal(size: int, cut: float) -> Tensor:
        return torch.randn(count, size, generator=generator).clamp(-cut, cut)

    grey = normal(9, 2.0) * torch.tensor(_GREY_BANDS)
    tint = 0.03 * normal(27, 2.0).unflatten(1, (9, 3))
    return layout.join(
        shape=0.8 * normal(layout.shape, 2.5),
        texture=normal(layout.texture, 2.5),
        expression=torch.zeros(count, layout.expression),
        pose=torch.zeros(count, layout.pose),
        camera=torch.zeros(count, layout.camera),
        light=(tint + grey[..., None]).flatten(1),
    )
