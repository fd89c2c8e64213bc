"""Head rotation and expression in one reading: the synthetic motion networks."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.faces.identity import Role
from reenact_zoo.faces.networks.synthetic_motion import CODE, SyntheticMotionJudge, SyntheticMotionTrain
from reenact_zoo.faces.synthetic_crop import face_crop
from reenact_zoo.weights.store import WeightStore

ANGLES, EXPRESSION = slice(0, 3), slice(3, 3 + CODE)
_NETWORKS = {"train": SyntheticMotionTrain, "judge": SyntheticMotionJudge}


class SyntheticMotion:
    """Yaw, pitch, roll in degrees (``ops.rotation``), then the expression code, of a face.

    The code is scaled so that the distance of two codes is the root mean square displacement of the face's vertices
    between the two expressions, in % of face width. Trained on renders of synthetic people: it knows no real face, and
    its numbers are not those of Hopenet or 3DDFA.

    Args:
        role: "judge" (metrics) or "train" (losses, conditioning): another network, trained on other people.
        store: where the weights lie.
        device: where the network runs.

    Raises:
        WeightsMissing: the file is not at hand.
    """

    size = 3 + CODE

    def __init__(
        self, role: Role = "judge", store: WeightStore | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.name = f"motion_synthetic_{role}"
        self.weights = (f"synthetic_motion_{role}",)
        self._network = _NETWORKS[role]()
        (store or WeightStore()).load_into(self._network, self.weights[0])
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 23) float32; differentiable in the images."""
        crops, _ = face_crop(images.to(self._device), landmarks_px.to(self._device))
        result: Tensor = self._network(crops)
        return result
