"""BiSeNet's 19 classes in the place of the image they belong to."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.align import warp_crop
from reenact_zoo.faces.face_input import BISENET_FACE, FaceInput
from reenact_zoo.faces.networks.bisenet import CLASSES, BiSeNet
from reenact_zoo.weights.store import WeightStore


class BiSeNetParsing:
    """Class probabilities (``parsing.CLASSES``) of the whole image; differentiable in the images.

    The face is aligned as CelebA-HQ's were (the network's training set), 512 x 512, RGB, ImageNet mean and std. Outside
    that square the classes of its rim are repeated.

    Raises:
        WeightsMissing: bisenet_celebamask_hq is not at hand.
    """

    name = "parsing_bisenet"
    weights: tuple[str, ...] = ("bisenet_celebamask_hq",)
    channels = CLASSES
    face: ClassVar[FaceInput] = BISENET_FACE

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        network = BiSeNet()
        (store or WeightStore()).load_into(network, self.weights[0])
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 19, H, W), sums to 1 over the classes."""
        images = images.to(self._device)
        matrices = self.face.matrices(landmarks_px).to(images)
        crops = warp_crop(images, matrices, self.face.size)
        probabilities = self._network(self.face.normalised(crops))[0].softmax(1)
        return _into_image(probabilities, matrices, images.shape[2], images.shape[3])


def _into_image(maps: Tensor, matrices: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, S, S) of crops → (B, C, height, width); matrices take px of the image to px of the crop.

    Where the image is coarser than the crop, the map is averaged first, so that thin classes do not flicker.
    """
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(1, -1, 2).to(maps)
    places = pixels @ matrices[:, :, :2].mT + matrices[:, None, :, 2]
    grids = ((2 * places + 1) / maps.shape[-1] - 1).unflatten(1, (height, width))
    halvings = matrices[:, :, :2].det().abs().sqrt().clamp(min=1).log2().floor().clamp(max=3).long().tolist()
    rows = []
    for row, grid, n in zip(maps.split(1), grids.split(1), halvings):
        coarser = F.avg_pool2d(row, 2**n)
        rows.append(F.grid_sample(coarser, grid, mode="bilinear", padding_mode="border", align_corners=False))
    return torch.cat(rows)
