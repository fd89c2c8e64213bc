"""Colours of people: what each texture coefficient stands for, and the palettes it runs through.

Coefficients are about N(0, 1) over people; the normal distribution function turns each into a quantile, so that a
population spreads evenly over the palettes. ``t`` below is the dictionary of quantiles, name → (B, 1) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TEXTURE_NAMES = (
    "skin_melanin",  # very light to very dark
    "skin_redness",
    "skin_yellowness",
    "skin_mottling",  # patches and unevenness
    "cheek_blush",
    "eye_shadow",  # darker skin around the eyes
    "lip_redness",
    "lip_darkness",
    "hair_darkness",  # brows, scalp, beard shadow: blond to black
    "hair_redness",
    "hair_greyness",
    "brow_density",
    "scalp_density",  # shaven to short
    "beard_shadow",  # shaven or none in the lower half
    "lash_darkness",
    "iris_darkness",  # blue or grey over green and hazel to dark brown
    "iris_greenness",
    "clothes_red",
    "clothes_green",
    "clothes_blue",
    "age",  # depth of all lines, greying, duller skin
    "lines_forehead",
    "lines_eyes",
    "lines_mouth",
    "freckles",
    "moles",  # how many
    "mole_place",
    "pores",
    "brow_thickness",
    "brow_arch",
    "brow_height",
    "brow_tilt",
    "brow_length",
    "make_up",  # how much; only where there is no stubble
    "make_up_hue",
    "lid_colour",
    "stubble_shape",  # full over goatee to moustache
    "pupil_size",
    "limbal_ring",
    "sclera_tint",
)

# Display-referred RGB, chosen by eye to span the Monk scale of skin tones from its lightest to its darkest patch.
SKIN = (
    (0.93, 0.78, 0.71),
    (0.88, 0.70, 0.60),
    (0.80, 0.60, 0.48),
    (0.68, 0.48, 0.36),
    (0.51, 0.345, 0.25),
    (0.345, 0.235, 0.18),
)
LIPS = (
    (0.80, 0.53, 0.50),
    (0.75, 0.46, 0.43),
    (0.67, 0.40, 0.37),
    (0.56, 0.335, 0.31),
    (0.43, 0.265, 0.245),
    (0.30, 0.185, 0.175),
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
    (0.47, 0.57, 0.66),
    (0.40, 0.48, 0.51),
    (0.38, 0.37, 0.26),
    (0.34, 0.23, 0.13),
    (0.24, 0.15, 0.085),
    (0.155, 0.095, 0.06),
)
LIPSTICK = (
    (0.72, 0.16, 0.20),
    (0.52, 0.10, 0.16),
    (0.80, 0.36, 0.42),
    (0.66, 0.36, 0.32),
    (0.42, 0.16, 0.24),
)
LID_COLOUR = (
    (0.30, 0.22, 0.20),
    (0.45, 0.30, 0.24),
    (0.42, 0.28, 0.38),
    (0.28, 0.34, 0.42),
    (0.60, 0.46, 0.36),
)
FIXED = {
    "sclera": (0.74, 0.715, 0.695),
    "veins": (0.72, 0.47, 0.42),
    "caruncle": (0.70, 0.42, 0.39),
    "pupil": (0.02, 0.02, 0.025),
    "teeth": (0.82, 0.78, 0.69),
    "gums": (0.58, 0.30, 0.29),
    "tongue": (0.62, 0.33, 0.32),
    "cavity": (0.09, 0.032, 0.032),
    "lash": (0.06, 0.045, 0.04),
    "liner": (0.05, 0.04, 0.045),
    "grey_hair": (0.56, 0.55, 0.54),
}


def quantiles(texture: Tensor) -> dict[str, Tensor]:
    """(B, T) coefficients → name: (B, 1) in [0, 1]."""
    return dict(zip(TEXTURE_NAMES, torch.special.ndtr(texture).split(1, dim=-1)))


def ramp(colours: Sequence[Sequence[float]], position: Tensor) -> Tensor:
    """Piecewise linear interpolation of n colours at ``position`` (B, 1) in [0, 1] → (B, 3)."""
    table = position.new_tensor(colours)
    x = position.clamp(0, 1) * (len(table) - 1)
    knots = torch.arange(len(table), device=position.device, dtype=position.dtype)
    weights = (1 - (x - knots).abs()).clamp(min=0)  # (B, n) hat functions
    return weights @ table


def rise(x: Tensor, low: float, high: float) -> Tensor:
    """Smooth step: 0 below ``low``, 1 above ``high``."""
    s = ((x - low) / (high - low)).clamp(0, 1)
    return s * s * (3 - 2 * s)


def skin_colour(t: dict[str, Tensor]) -> Tensor:
    """(B, 3): melanin sets the tone, blood and carotene tint it; old skin is duller."""
    colour = ramp(SKIN, t["skin_melanin"] ** 1.2)
    red, yellow = t["skin_redness"] - 0.5, t["skin_yellowness"] - 0.5
    tint = torch.cat([0.10 * red, -0.05 * red, -0.12 * yellow - 0.04 * red], dim=-1)
    dull = 0.12 * rise(t["age"], 0.6, 1.0)
    colour = colour * (1 + tint)
    return torch.lerp(colour, 0.96 * colour.mean(dim=-1, keepdim=True), dull)


def hair_colour(t: dict[str, Tensor]) -> Tensor:
    """(B, 3): dark skin goes with dark hair, as the lightest hair a skin can have rises with its lightness."""
    darkness = 1 - (1 - t["hair_darkness"]) * (1 - t["skin_melanin"] ** 1.5)
    colour = ramp(HAIR, 0.05 + 0.95 * darkness)
    red = t["hair_redness"] ** 4 * (1 - t["skin_melanin"])
    colour = colour * (1 + red * colour.new_tensor([0.55, 0.05, -0.25]))
    return torch.lerp(colour, colour.new_tensor([FIXED["grey_hair"]]), greyness(t))


def greyness(t: dict[str, Tensor]) -> Tensor:
    """(B, 1) share of grey hair; it comes with age."""
    return 0.85 * rise(0.55 * t["hair_greyness"] + 0.45 * t["age"], 0.68, 0.98)


def clothes_colour(t: dict[str, Tensor]) -> Tensor:
    """(B, 3)."""
    colour = torch.cat([t["clothes_red"], t["clothes_green"], t["clothes_blue"]], dim=-1)
    return 0.06 + 0.66 * (0.55 * colour + 0.45 * colour.mean(dim=-1, keepdim=True))


def stubble(t: dict[str, Tensor]) -> Tensor:
    """(B, 1) how dense the shaven beard is, 0 for half of the people."""
    return rise(t["beard_shadow"], 0.5, 1.0)


def make_up(t: dict[str, Tensor]) -> Tensor:
    """(B, 1): 0 for half of the people and for those with stubble."""
    return rise(t["make_up"], 0.45, 1.0) * (1 - rise(t["beard_shadow"], 0.45, 0.65))
