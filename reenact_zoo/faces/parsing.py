"""The 19 parsing classes in BiSeNet's order, and which of them every region of a head model belongs to.

"Left" is the person's own left throughout, which is image right in a frontal view.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.morphable.base import Region
from reenact_zoo.faces.networks import synthetic_parsing
from reenact_zoo.faces.synthetic_crop import head_crop, maps_to_image
from reenact_zoo.weights.store import WeightStore

CLASSES: tuple[str, ...] = (
    "background",
    "skin",
    "brow_left",
    "brow_right",
    "eye_left",
    "eye_right",
    "glasses",
    "ear_left",
    "ear_right",
    "earring",
    "nose",
    "mouth",
    "lip_upper",
    "lip_lower",
    "neck",
    "necklace",
    "clothes",
    "hair",
    "hat",
)
"""Name of every class; its place is its number."""

CLASS_OF_REGION: dict[Region, str] = {
    Region.SKIN: "skin",
    Region.LIPS_UPPER: "lip_upper",
    Region.LIPS_LOWER: "lip_lower",
    Region.BROW_LEFT: "brow_left",
    Region.BROW_RIGHT: "brow_right",
    Region.EYE_LEFT: "eye_left",
    Region.EYE_RIGHT: "eye_right",
    Region.MOUTH_INTERIOR: "mouth",
    Region.TEETH: "mouth",
    Region.NOSE: "nose",
    Region.EAR_LEFT: "ear_left",
    Region.EAR_RIGHT: "ear_right",
    Region.HAIR: "hair",
    Region.NECK: "neck",
    Region.CLOTHES: "clothes",
    Region.GLASSES: "glasses",
}

COLOURS: tuple[tuple[int, int, int], ...] = (
    (24, 26, 32),
    (236, 188, 160),
    (122, 84, 60),
    (92, 62, 48),
    (70, 140, 220),
    (40, 98, 178),
    (240, 220, 80),
    (226, 148, 110),
    (200, 124, 92),
    (250, 240, 160),
    (248, 160, 130),
    (110, 22, 34),
    (214, 78, 92),
    (180, 50, 72),
    (206, 160, 134),
    (180, 200, 90),
    (88, 110, 130),
    (60, 42, 34),
    (140, 90, 170),
)
"""RGB of every class in pictures."""


def region_classes() -> Tensor:
    """(number of regions,) int64: parsing class of every ``Region`` value."""
    return torch.tensor([CLASSES.index(CLASS_OF_REGION[region]) for region in Region])


def parsing_picture(parsing: Tensor) -> Tensor:
    """Probabilities (B, 19, H, W) → (B, 3, H, W) RGB in [0, 1], classes mixed by their share."""
    if parsing.shape[1] != len(CLASSES):
        raise ValueError(f"parsing needs {len(CLASSES)} channels, got {parsing.shape[1]}")
    palette = torch.tensor(COLOURS, dtype=parsing.dtype, device=parsing.device) / 255
    return torch.einsum("bkhw,kc->bchw", parsing, palette)


class SyntheticParsing:
    """19 classes by the network that was trained on renders of synthetic people; it knows no real face.

    It reads a square around head and shoulders; what lies outside of it is given the class of the square's border.

    Raises:
        WeightsMissing: synthetic_parsing is not at hand.
    """

    name = "parsing_synthetic"
    weights: tuple[str, ...] = ("synthetic_parsing",)
    channels = len(CLASSES)

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self._network = synthetic_parsing.SyntheticParsing()
        (store or WeightStore()).load_into(self._network, self.weights[0])
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → probabilities (B, 19, H, W); differentiable in the images."""
        crops, matrices = head_crop(images.to(self._device), landmarks_px.to(self._device))
        return maps_to_image(self._network(crops).softmax(1), matrices, *images.shape[2:])
