"""The eyeball: white with vessels, an iris of two colours with fibres and a dark ring, the pupil."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.faces.morphable._palette import FIXED, IRIS, ramp, rise

IRIS_DEG = 22.0  # half the iris' diameter as an angle at the eyeball's centre


def paint_eyes(image: Tensor, masks: dict[str, Tensor], t: dict[str, Tensor]) -> Tensor:
    """Image (B, 3, T, T) with its eyeballs painted."""
    angle, rays = masks["eye_angle"], masks["iris_rays"]
    white = _over(image, masks["sclera"], _sclera(t))
    eye = _over(white, masks["veins"], image.new_tensor([FIXED["veins"]]), 0.10 + 0.30 * t["sclera_tint"])
    shade = 1 - 0.30 * rise(angle, 24.0, 55.0)  # the lids' corners are dark
    eye = eye + masks["sclera"] * (eye * shade - eye)
    iris, inner = _iris(t)
    blend = rise(-angle, -15.0, -9.0) * (0.35 + 0.5 * rays)  # another colour around the pupil
    fibres = (0.72 + 0.55 * rays) * (1.18 - 0.018 * angle)
    coloured = (iris[..., None, None] + blend * (inner - iris)[..., None, None]) * fibres
    ring = 1 - (0.45 + 0.4 * t["limbal_ring"])[..., None, None] * rise(angle, 0.80 * IRIS_DEG, IRIS_DEG)
    eye = eye + rise(-angle, -IRIS_DEG - 1.6, -IRIS_DEG + 0.6) * (coloured * ring - eye)
    pupil = (6.8 + 3.4 * t["pupil_size"])[..., None, None]
    inside = ((pupil + 0.9 - angle) / 1.8).clamp(0, 1)
    return eye + inside * (image.new_tensor(FIXED["pupil"])[:, None, None] - eye)


def _sclera(t: dict[str, Tensor]) -> Tensor:
    """(B, 3): bluish in the young, yellowish in the old and the dark-skinned."""
    white = t["age"].new_tensor([FIXED["sclera"]])
    yellow = 0.4 * t["sclera_tint"] + 0.3 * t["age"] + 0.4 * t["skin_melanin"] - 0.4
    return white * (1 + yellow * white.new_tensor([-0.03, -0.06, -0.16]))


def _iris(t: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Colours (B, 3) of the iris and of its inner ring. Light eyes are found with light skin."""
    darkness = 1 - (1 - t["iris_darkness"]) * (1 - t["skin_melanin"]) ** 0.6
    green = t["iris_greenness"] * (1 - darkness)
    iris = ramp(IRIS, darkness)
    iris = iris * (1 + green * iris.new_tensor([-0.12, 0.06, -0.25]))
    return iris, ramp(IRIS, (0.5 * darkness + 0.38).clamp(max=1))


def _over(image: Tensor, mask: Tensor, colour: Tensor, amount: Tensor | float = 1.0) -> Tensor:
    alpha = mask * (amount[..., None, None] if isinstance(amount, Tensor) else amount)
    return image + alpha * (colour[..., None, None] - image)
