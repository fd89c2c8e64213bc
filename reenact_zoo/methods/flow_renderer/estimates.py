"""What training sees of its frames: coefficients and mattes with the errors that instruments make in use.

E_3D of the synthetic people finds rotation and place well and expression as a faint shade of the truth; a parsing
network's matte is soft where the true one is sharp. A method that has learned from the truth takes both errors for
motion. So training frames are looked at through the very instruments of use, with landmarks as a detector finds them;
noise added to the truth would show neither bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.coefficients import SyntheticCoefficients
from reenact_zoo.faces.matting import matte_from_parsing
from reenact_zoo.faces.parsing import SyntheticParsing
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.weights.store import WeightStore

INSTRUMENTS = (*SyntheticCoefficients.weights, *SyntheticParsing.weights)


class Estimates:
    """The two instruments, in float32 inside autocast too.

    Args:
        device: where they run.
        store: where their weights lie.

    Raises:
        WeightsMissing: synthetic_coefficients or synthetic_parsing is not at hand.
    """

    def __init__(self, device: torch.device, store: WeightStore | None = None) -> None:
        self._coefficients = SyntheticCoefficients(store, device)
        self._parsing = SyntheticParsing(store, device)

    def coefficients(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """(B, 3, H, W), normalised (B, 68, 2) → (B, 120); NaN where landmarks are; differentiable in the images."""
        found = images.new_full((len(images), SyntheticCoefficients.size), torch.nan, dtype=torch.float32)
        rows = landmarks.isfinite().flatten(1).all(1).nonzero()[:, 0]
        if not len(rows):
            return found
        with torch.autocast(images.device.type, enabled=False):
            seen = self._coefficients(images[rows].float(), _px(landmarks[rows], images)).to(images.device)
        return found.index_copy(0, rows, seen)

    @torch.no_grad()
    def matte(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """(B, 3, H, W), normalised (B, 68, 2) → (B, 1, H, W); NaN where landmarks are."""
        found = images.new_full((len(images), 1, *images.shape[2:]), torch.nan, dtype=torch.float32)
        rows = landmarks.isfinite().flatten(1).all(1).nonzero()[:, 0]
        if not len(rows):
            return found
        with torch.autocast(images.device.type, enabled=False):
            parsing = self._parsing(images[rows].float(), _px(landmarks[rows], images)).to(images.device)
        return found.index_copy(0, rows, matte_from_parsing(parsing))


def _px(landmarks: Tensor, images: Tensor) -> Tensor:
    return normalised_to_pixel(landmarks.float(), *images.shape[-2:])
