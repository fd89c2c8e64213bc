"""The albedo atlas, painted by code: where each pigment lies (from the head at rest) times which colour it has.

Masks are functions of the 3-D position under a texel, never of uv, so charts that meet agree along their seam. Colours
come from the texture coefficients, each about N(0, 1) over people; the normal distribution function turns a coefficient
into a quantile, so that the coefficients of a population spread evenly over the palettes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.morphable._atlas import TexelMap
from reenact_zoo.faces.morphable._masks import face_masks

TEXTURE_NAMES = (
    "skin_melanin",  # very light to very dark
    "skin_redness",
    "skin_yellowness",
    "skin_mottling",  # freckles and unevenness
    "cheek_blush",
    "eye_shadow",  # darker skin around the eyes
    "lip_redness",
    "lip_darkness",
    "hair_darkness",  # brows, scalp, beard shadow: blond to black
    "hair_redness",
    "hair_greyness",
    "brow_density",
    "scalp_density",  # shaven to short
    "beard_shadow",
    "lash_darkness",
    "iris_darkness",  # blue or grey over green and hazel to dark brown
    "iris_greenness",
    "clothes_red",
    "clothes_green",
    "clothes_blue",
)

# Display-referred RGB, chosen by eye to span the Monk scale of skin tones from its lightest to its darkest patch.
SKIN = (
    (0.93, 0.80, 0.73),
    (0.89, 0.72, 0.62),
    (0.81, 0.61, 0.49),
    (0.68, 0.48, 0.36),
    (0.50, 0.33, 0.24),
    (0.30, 0.20, 0.155),
)
LIPS = (
    (0.80, 0.52, 0.49),
    (0.74, 0.44, 0.42),
    (0.66, 0.38, 0.36),
    (0.55, 0.32, 0.30),
    (0.42, 0.25, 0.23),
    (0.27, 0.16, 0.15),
)
HAIR = (
    (0.62, 0.47, 0.29),
    (0.45, 0.32, 0.20),
    (0.30, 0.205, 0.14),
    (0.18, 0.125, 0.095),
    (0.10, 0.08, 0.07),
    (0.065, 0.055, 0.055),
)
IRIS = (
    (0.50, 0.62, 0.70),
    (0.42, 0.52, 0.55),
    (0.40, 0.40, 0.27),
    (0.38, 0.26, 0.14),
    (0.27, 0.165, 0.09),
    (0.17, 0.10, 0.065),
)
FIXED = {
    "sclera": (0.87, 0.845, 0.825),
    "veins": (0.80, 0.55, 0.50),
    "pupil": (0.02, 0.02, 0.025),
    "teeth": (0.86, 0.82, 0.74),
    "gums": (0.62, 0.32, 0.31),
    "tongue": (0.62, 0.33, 0.32),
    "cavity": (0.10, 0.035, 0.035),
    "lash": (0.07, 0.05, 0.045),
}


class Painter:
    """Albedo for one atlas size.

    Args:
        texels: the head at rest on the atlas.
        landmarks: (68, 3) cm of the head at rest.
        eye_centres: (2, 3) cm, left eye first; eye_radius: (2,) cm.
    """

    def __init__(
        self,
        texels: TexelMap,
        landmarks: NDArray[np.float64],
        eye_centres: NDArray[np.float64],
        eye_radius: NDArray[np.float64],
    ) -> None:
        masks = face_masks(texels, landmarks, eye_centres, eye_radius)
        self.masks = {name: torch.from_numpy(mask.astype(np.float32))[None, None] for name, mask in masks.items()}

    def to(self, device: torch.device | str) -> Painter:
        """A copy whose masks are on ``device``."""
        other = copy.copy(self)
        other.masks = {name: mask.to(device) for name, mask in self.masks.items()}
        return other

    def __call__(self, texture: Tensor) -> Tensor:
        """(B, T) → (B, 3, size, size) in [0, 1]; differentiable."""
        t = dict(zip(TEXTURE_NAMES, torch.special.ndtr(texture).split(1, dim=-1)))
        image = self._skin(t)
        image = self._hair(image, t)
        image = self._lips(image, t)
        image = self._mouth(image)
        image = self._eyes(image, t)
        return self._clothes(image, t).clamp(0, 1)

    def _over(self, image: Tensor, mask: str, colour: Tensor, amount: Tensor | float = 1.0) -> Tensor:
        """``colour`` (B, 3) laid over ``image`` where the mask says so; ``amount`` (B, 1) or a number in [0, 1]."""
        alpha = self.masks[mask] * (amount[..., None, None] if isinstance(amount, Tensor) else amount)
        return image + alpha * (colour[..., None, None] - image)

    def _fixed(self, image: Tensor, mask: str, name: str, amount: Tensor | float = 1.0) -> Tensor:
        return self._over(image, mask, image.new_tensor(FIXED[name])[None], amount)

    def _skin(self, t: dict[str, Tensor]) -> Tensor:
        colour = ramp(SKIN, t["skin_melanin"])
        tint = torch.cat([t["skin_redness"] - 0.5, 0 * t["skin_redness"], 0.5 - t["skin_yellowness"]], dim=-1)
        colour = colour * (1 + 0.10 * tint)
        image = colour[..., None, None].expand(-1, -1, *self.masks["fine"].shape[-2:])
        unevenness = 0.008 + 0.035 * t["skin_mottling"][..., None, None]
        image = image * (1 + unevenness * (self.masks["coarse"] + 0.6 * self.masks["fine"]))
        image = self._over(image, "freckles", colour * colour.new_tensor([0.72, 0.62, 0.55]), t["skin_mottling"] ** 3)
        image = self._over(image, "blush", colour * colour.new_tensor([1.0, 0.74, 0.72]), 0.25 + 0.6 * t["cheek_blush"])
        image = self._over(image, "around_eyes", 0.72 * colour, 0.2 + 0.6 * t["eye_shadow"])
        return self._over(image, "creases", 0.50 * colour, 0.7)

    def _hair(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        # Dark skin goes with dark hair: the lightest hair a skin can have rises with its lightness.
        darkness = 1 - (1 - t["hair_darkness"]) * (1 - t["skin_melanin"]).clamp(min=0) ** 0.7
        colour = ramp(HAIR, 0.2 + 0.8 * darkness)
        colour = colour * (1 + (t["hair_redness"] ** 4) * colour.new_tensor([0.55, 0.05, -0.25]))
        colour = torch.lerp(colour, colour.new_tensor([[0.56, 0.55, 0.54]]), 0.8 * t["hair_greyness"] ** 6)
        image = self._over(image, "scalp", colour, 0.55 + 0.40 * t["scalp_density"])
        image = self._over(image, "beard", colour, 0.32 * t["beard_shadow"] ** 2)
        return self._over(image, "brows", colour, 0.60 + 0.40 * t["brow_density"])

    def _lips(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        tone = (0.75 * t["skin_melanin"] + 0.25 * t["lip_darkness"]).clamp(0, 1)
        colour = ramp(LIPS, tone)
        red = (0.2 + 0.8 * t["lip_redness"]) * colour.new_tensor([0.08, -0.26, -0.20])
        colour = colour * (1 + red) * (1.08 - 0.2 * t["lip_darkness"])
        image = self._over(image, "lips", colour, 0.85)
        return self._over(image, "lip_line", 0.35 * colour)

    def _mouth(self, image: Tensor) -> Tensor:
        for mask in ("gums", "tongue", "teeth"):
            image = self._fixed(image, mask, mask)
        return self._fixed(image, "cavity", "cavity")

    def _eyes(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        # Light eyes are found with light skin; the ramp's light half is closed to the darkest skins.
        darkness = 1 - (1 - t["iris_darkness"]) * (1 - t["skin_melanin"] ** 2)
        iris = ramp(IRIS, darkness)
        green = t["iris_greenness"] * (1 - darkness)
        iris = iris * (1 + green * iris.new_tensor([-0.12, 0.06, -0.25]))
        image = self._fixed(image, "sclera", "sclera")
        image = self._fixed(image, "veins", "veins", 0.5)
        image = self._over(image, "limbus", 0.35 * iris)
        image = self._over(image, "iris", iris)
        image = self._over(image, "iris_rays", 1.35 * iris, 0.5)
        image = self._fixed(image, "pupil", "pupil")
        return self._fixed(image, "lashes", "lash", 0.55 + 0.45 * t["lash_darkness"])

    def _clothes(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        colour = torch.cat([t["clothes_red"], t["clothes_green"], t["clothes_blue"]], dim=-1)
        colour = 0.06 + 0.66 * (0.55 * colour + 0.45 * colour.mean(dim=-1, keepdim=True))
        image = self._over(image, "clothes", colour)
        return image * (1 - 0.12 * self.masks["weave"])


def ramp(colours: Sequence[Sequence[float]], position: Tensor) -> Tensor:
    """Piecewise linear interpolation of n colours at ``position`` (B, 1) in [0, 1] → (B, 3)."""
    table = position.new_tensor(colours)
    x = position.clamp(0, 1) * (len(table) - 1)
    knots = torch.arange(len(table), device=position.device, dtype=position.dtype)
    weights = (1 - (x - knots).abs()).clamp(min=0)  # (B, n) hat functions
    return weights @ table
