"""Who is shown: face embeddings whose cosine says how alike two faces are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.align import ARCFACE_SIZE, arcface_matrix, warp_crop
from reenact_zoo.faces.landmarks import IMAGENET_MEAN, IMAGENET_STD
from reenact_zoo.faces.networks.mobilefacenet import MobileFaceNet
from reenact_zoo.faces.networks.synthetic_embedding import (
    DIMENSIONS,
    SyntheticIdentityJudge,
    SyntheticIdentityTrain,
)
from reenact_zoo.faces.synthetic_crop import identity_crop
from reenact_zoo.weights.store import WeightStore

Role = Literal["train", "judge"]
"""What an instrument that exists twice is for: losses and conditioning, or metrics."""

_SYNTHETIC = {"train": SyntheticIdentityTrain, "judge": SyntheticIdentityJudge}


class MobileFaceNetIdentity:
    """MobileFaceNet embedding of the five-point aligned face; differentiable in the images.

    Alignment: five points of the 68 landmarks, similarity to the ArcFace template, 112x112, RGB, ImageNet mean and std.
    Real faces: the same clip about 0.8, different people about 0.0 and below 0.3.

    Raises:
        WeightsMissing: mobilefacenet is not at hand.
    """

    name = "identity_mobilefacenet"
    weights: tuple[str, ...] = ("mobilefacenet",)
    size = 128

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self._network = MobileFaceNet()
        (store or WeightStore()).load_into(self._network, self.weights[0])
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 128) of unit length."""
        images = images.to(self._device)
        matrices = torch.stack([torch.from_numpy(arcface_matrix(p)) for p in landmarks_px.detach().cpu().numpy()])
        faces = warp_crop(images, matrices, ARCFACE_SIZE)
        mean, std = (torch.from_numpy(v).to(images).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        return F.normalize(self._network((faces - mean) / std))


class SyntheticIdentity:
    """Embedding trained on renders of synthetic people with CosFace's loss; it knows no real face.

    Its cosines are not those of a CosFace or ArcFace network.

    Args:
        role: "judge" (metrics) or "train" (losses, conditioning): another network, trained on other people.
        store: where the weights lie.
        device: where the network runs.

    Raises:
        WeightsMissing: the file is not at hand.
    """

    size = DIMENSIONS

    def __init__(
        self, role: Role = "judge", store: WeightStore | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.name = f"identity_synthetic_{role}"
        self.weights = (f"synthetic_identity_{role}",)
        self._network = _SYNTHETIC[role]()
        (store or WeightStore()).load_into(self._network, self.weights[0])
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 128) of unit length; differentiable in the images."""
        result: Tensor = self._network(identity_crop(images.to(self._device), landmarks_px.to(self._device)))
        return result
