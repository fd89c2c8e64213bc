"""The atlas, painted by code: where each pigment lies (from the head at rest) times which colour it has.

Masks are functions of the 3-D position under a texel, never of uv, so charts that meet agree along their seam. Colours
come from the texture coefficients; see ``_palette``.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.morphable._atlas import TexelMap
from reenact_zoo.faces.morphable._brows import brow_cover, brow_fields
from reenact_zoo.faces.morphable._eyes import paint_eyes
from reenact_zoo.faces.morphable._lines import FAMILIES, line_fields, line_strength
from reenact_zoo.faces.morphable._masks import face_masks, face_texels, only_where
from reenact_zoo.faces.morphable._palette import (
    FIXED,
    HAIR,
    LID_COLOUR,
    LIPS,
    LIPSTICK,
    TEXTURE_NAMES,
    clothes_colour,
    greyness,
    hair_colour,
    make_up,
    quantiles,
    ramp,
    rise,
    skin_colour,
    stubble,
)

__all__ = ["HAIR", "TEXTURE_NAMES", "Painter", "clothes_colour", "hair_colour", "quantiles", "ramp"]

_MOLES = 8  # places that ``_masks`` knows
_PORE_CM = 0.006  # depth of coarse pores


class Painter:
    """Albedo and relief for one atlas size.

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
        unit = float(np.linalg.norm(landmarks[45] - landmarks[36])) / 10
        masks = face_masks(texels, landmarks, eye_centres, eye_radius)
        face = face_texels(texels.position, landmarks, masks["skin"])
        for draw in (brow_fields, line_fields):
            masks |= only_where(face, draw, texels.position, landmarks, unit, skin=masks["skin"])
        self.unit = unit
        self.masks = {name: torch.from_numpy(mask.astype(np.float32))[None, None] for name, mask in masks.items()}

    def to(self, device: torch.device | str) -> Painter:
        """A copy whose masks are on ``device``."""
        other = copy.copy(self)
        other.masks = {name: mask.to(device) for name, mask in self.masks.items()}
        return other

    def __call__(self, texture: Tensor) -> Tensor:
        """(B, T) → (B, 3, size, size) in [0, 1]; differentiable."""
        t = quantiles(texture)
        image = self._skin(t)
        image = self._marks(image, t)
        image = self._lines(image, t)
        image = self._make_up(image, t)
        image = self._hair(image, t)
        image = self._lips(image, t)
        image = self._mouth(image)
        image = paint_eyes(image, self.masks, t)
        image = self._rims(image, t)
        return self._clothes(image, t).clamp(0, 1)

    def relief(self, texture: Tensor) -> Tensor:
        """(B, T) → (B, 1, size, size) height in cm: pores, lines, the furrows of the lips, hairs of the brows."""
        t = quantiles(texture)
        height = -_PORE_CM * (0.25 + t["pores"])[..., None, None] * self.masks["pores"]
        for family, (_, _, _, depth) in FAMILIES.items():
            strength = (depth * self.unit * line_strength(t, family))[..., None, None]
            height = height - strength * self.masks[f"line_{family}"]
        height = height + 0.012 * self.unit * self.masks["lips"] * self.masks["lip_furrows"]
        return height + 0.03 * self.unit * brow_cover(self.masks, t) * self.masks["brow_strokes"]

    def _over(self, image: Tensor, mask: str, colour: Tensor, amount: Tensor | float = 1.0) -> Tensor:
        """``colour`` (B, 3) laid over ``image`` where the mask says so; ``amount`` (B, 1) or a number in [0, 1]."""
        alpha = self.masks[mask] * (amount[..., None, None] if isinstance(amount, Tensor) else amount)
        return image + alpha * (colour[..., None, None] - image)

    def _fixed(self, image: Tensor, mask: str, name: str, amount: Tensor | float = 1.0) -> Tensor:
        return self._over(image, mask, image.new_tensor(FIXED[name])[None], amount)

    def _dim(self, image: Tensor, mask: Tensor, factor: tuple[float, float, float]) -> Tensor:
        """Image times ``factor`` where mask (B or 1, 1, T, T) is 1."""
        return image * (1 - mask * (1 - image.new_tensor(factor)[:, None, None]))

    def _skin(self, t: dict[str, Tensor]) -> Tensor:
        colour = skin_colour(t)
        mottling, coarse = t["skin_mottling"][..., None, None], self.masks["coarse"]
        melanin = (0.012 + 0.05 * mottling) * coarse + (0.010 + 0.02 * mottling) * self.masks["fine"]
        blood = (0.010 + 0.030 * mottling + 0.020 * t["skin_redness"][..., None, None]) * self.masks["blood"]
        pigment = colour.new_tensor([0.7, 1.0, 1.2])[:, None, None]
        vessels = colour.new_tensor([-0.25, 1.0, 0.9])[:, None, None]
        image = colour[..., None, None] * (1 + melanin * pigment) * (1 - blood * vessels)
        image = self._over(image, "forehead", colour * colour.new_tensor([1.03, 1.03, 0.97]), 0.6)
        flush = 0.20 + 0.5 * t["cheek_blush"]
        image = self._over(image, "blush", colour * colour.new_tensor([1.0, 0.74, 0.72]), flush)
        image = self._over(
            image, "around_eyes", colour * colour.new_tensor([0.74, 0.66, 0.68]), 0.1 + 0.75 * t["eye_shadow"]
        )
        return self._over(image, "creases", colour * colour.new_tensor([0.55, 0.42, 0.40]), 0.75)

    def _marks(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        """Freckles of light skin, moles."""
        freckled = rise(t["freckles"], 0.62, 1.0) * (1 - 0.8 * rise(t["skin_melanin"], 0.3, 0.7))
        image = self._dim(image, self.masks["freckles"] * freckled[..., None, None], (0.72, 0.58, 0.48))
        number = 3.5 * rise(t["moles"], 0.60, 1.05)
        for k in range(_MOLES):
            # the number of moles follows one after the other from the first one's place
            after = torch.remainder((k + 0.5) / _MOLES - t["mole_place"], 1.0) * _MOLES
            shown = ((number - after) * 2).clamp(0, 1)[..., None, None]
            image = self._dim(image, self.masks[f"mole_{k}"] * shown, (0.45, 0.36, 0.33))
        return image

    def _lines(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        for family, (_, _, darkness, _) in FAMILIES.items():
            strength = (darkness * line_strength(t, family))[..., None, None]
            image = self._dim(image, strength * self.masks[f"line_{family}"], (0.35, 0.10, 0.05))
        return image

    def _make_up(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        amount = make_up(t)
        image = self._over(
            image, "lids", ramp(LID_COLOUR, t["lid_colour"]) * (1.1 - 0.6 * t["skin_melanin"]), 0.65 * amount
        )
        rouge = skin_colour(t) * image.new_tensor([1.0, 0.66, 0.68])
        return self._over(image, "blush", rouge, 0.8 * amount)

    def _hair(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        colour = hair_colour(t)
        image = self._over(image, "scalp", colour, 0.55 + 0.40 * t["scalp_density"])
        # cut hairs under the skin look grey and cold
        shaven = torch.lerp(0.8 * colour, 0.6 * colour.mean(dim=-1, keepdim=True), 0.5)
        grown = self.masks["beard"] * self._stubble_shape(t) * (0.52 * stubble(t))[..., None, None]
        image = image + grown * (shaven[..., None, None] - image)
        # brows are darker than light hair and grey later
        brow = torch.lerp(colour, ramp(HAIR, 0.55 + 0.45 * t["hair_darkness"]), 0.45 * (1 - 0.6 * greyness(t)))
        return image + brow_cover(self.masks, t) * (0.85 * brow[..., None, None] - image)

    def _stubble_shape(self, t: dict[str, Tensor]) -> Tensor:
        """(B, 1, T, T): full beard below the quantile 0.7, goatee up to 0.88, moustache above."""
        shape = t["stubble_shape"][..., None, None]
        goatee, moustache = rise(shape, 0.68, 0.72), rise(shape, 0.86, 0.90)
        kept = 1 + goatee * (self.masks["beard_chin"] - 1)
        return kept + moustache * (self.masks["beard_lip"] - kept)

    def _lips(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        tone = (0.75 * t["skin_melanin"] + 0.25 * t["lip_darkness"]).clamp(0, 1)
        colour = ramp(LIPS, tone)
        red = (0.1 + 0.7 * t["lip_redness"]) * colour.new_tensor([0.06, -0.22, -0.16])
        colour = colour * (1 + red) * (1.08 - 0.2 * t["lip_darkness"])
        painted = make_up(t)
        shade = ramp(LIPSTICK, t["make_up_hue"]) * (1.05 - 0.35 * t["skin_melanin"])
        colour = torch.lerp(colour, shade, 0.85 * painted)
        image = self._over(image, "lips", colour, 0.62 + 0.33 * painted)
        image = self._dim(image, 0.16 * self.masks["lips"] * (0.5 - 0.5 * self.masks["lip_furrows"]), (0.7, 0.5, 0.5))
        return self._over(image, "lip_line", 0.35 * colour)

    def _mouth(self, image: Tensor) -> Tensor:
        for mask in ("gums", "tongue", "teeth"):
            image = self._fixed(image, mask, mask)
        return self._fixed(image, "cavity", "cavity")

    def _rims(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        """Inner corners, lashes and the liner along them."""
        image = self._fixed(image, "caruncle", "caruncle", 0.45)
        image = self._fixed(image, "lashes", "lash", 0.35 + 0.35 * t["lash_darkness"] + 0.3 * make_up(t))
        return self._fixed(image, "liner", "liner", 0.85 * rise(make_up(t), 0.2, 0.8))

    def _clothes(self, image: Tensor, t: dict[str, Tensor]) -> Tensor:
        image = self._over(image, "clothes", clothes_colour(t))
        return image * (1 - 0.12 * self.masks["weave"])
