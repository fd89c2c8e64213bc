"""Random people at rest, the same draw for every head model."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.morphable._hair_styles import LONG, STYLES
from reenact_zoo.faces.morphable._paint import TEXTURE_NAMES
from reenact_zoo.faces.morphable._wardrobe import STYLE_NAMES, Wardrobe
from reenact_zoo.faces.morphable.base import CoefficientLayout

_GREY_BANDS = (0.06, 0.12, 0.12, 0.12, 0.04, 0.04, 0.04, 0.04, 0.04)


def random_people(layout: CoefficientLayout, generator: torch.Generator, count: int) -> Tensor:
    """(count, K): shape and texture N(0, 1), cut at 2.5 deviations; light near the neutral one.

    The light varies by a grey part that all colours share (σ 0.12 on the three directional bands) and a small tint per
    colour. Expression, pose and camera are zero.
    """

    def normal(size: int, cut: float) -> Tensor:
        return torch.randn(count, size, generator=generator).clamp(-cut, cut)

    grey = normal(9, 2.0) * torch.tensor(_GREY_BANDS)
    tint = 0.03 * normal(27, 2.0).unflatten(1, (9, 3))
    return layout.join(
        shape=normal(layout.shape, 2.5),
        texture=normal(layout.texture, 2.5),
        expression=torch.zeros(count, layout.expression),
        pose=torch.zeros(count, layout.pose),
        camera=torch.zeros(count, layout.camera),
        light=(tint + grey[..., None]).flatten(1),
    )


def dress_people(people: Tensor, layout: CoefficientLayout, wardrobe: Wardrobe, generator: torch.Generator) -> Tensor:
    """Draw what people (count, K) wear: independent N(0, 1) but for three habits.

    Beards and stubble grow on people with short hair (nine in ten who would have had both lose them); under a beard the
    painted stubble is dense; under hair the scalp is, and curly hair is painted so.
    """
    count = len(people)
    styles = torch.randn(count, len(STYLE_NAMES), generator=generator).clamp(-2.5, 2.5)
    shaves = torch.rand(count, generator=generator) < 0.9
    chosen = wardrobe.choice(styles)
    long = torch.isin(chosen["hair"], torch.tensor(LONG))
    beard = STYLE_NAMES.index("beard_style")
    styles[:, beard] = torch.where(long & shaves, -styles[:, beard].abs(), styles[:, beard])
    chosen, result = wardrobe.choice(styles), people.clone()
    result[:, layout.shape - len(STYLE_NAMES) : layout.shape] = styles
    worn = {part.name: torch.tensor(list(part.worn))[chosen[part.name]] for part in wardrobe.parts}
    for name, part in (("scalp_density", "hair"), ("beard_shadow", "beard")):
        at = layout.shape + TEXTURE_NAMES.index(name)
        result[:, at] = torch.where(worn[part], 0.8 + 0.4 * result[:, at].abs(), result[:, at])
    shadow = result[:, layout.shape + TEXTURE_NAMES.index("beard_shadow")]
    shadow.copy_(torch.where(long & shaves, -shadow.abs(), shadow))
    curly = torch.tensor([style.curl >= 0.3 for style in STYLES])[chosen["hair"]]
    at = layout.shape + len(TEXTURE_NAMES)
    result[:, at] = torch.where(curly, 1.3 + 0.4 * result[:, at].abs(), result[:, at].clamp(max=0.7))
    return result
