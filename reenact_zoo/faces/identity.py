"""Who is shown: face embeddings whose cosine says how alike two faces are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.align import ARCFACE_SIZE, arcface_matrix, warp_crop
from reenact_zoo.faces.landmarks import IMAGENET_MEAN, IMAGENET_STD
from reenact_zoo.faces.networks.mobilefacenet import MobileFaceNet
from reenact_zoo.weights.store import WeightStore


class MobileFaceNetIdentity:
    """MobileFaceNet embedding of the five-point aligned face; differentiable in the images.

    Alignment: five points of the 68 landmarks, similarity to the ArcFace template, 112x112, RGB, ImageNet mean and std.
    Real faces: the same clip about 0.8, different people about 0.0 and below 0.3.

    Raises:
        WeightsMissing: mobilefacenet is not at hand.
    """

    name = "mobilefacenet"

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        self._network = MobileFaceNet()
        self._network.load_state_dict((store or WeightStore()).load_state_dict(self.name))
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def embed(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 128) of unit length."""
        images = images.to(self._device)
        matrices = torch.stack([torch.from_numpy(arcface_matrix(p)) for p in landmarks_px.detach().cpu().numpy()])
        faces = warp_crop(images, matrices, ARCFACE_SIZE)
        mean, std = (torch.from_numpy(v).to(images).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        return F.normalize(self._network((faces - mean) / std))
