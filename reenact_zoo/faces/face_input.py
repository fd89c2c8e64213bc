"""What a face network sees, stated once per network and shared by metrics and losses: region, size, colours, range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reenact_zoo.faces.align import ARCFACE_SIZE, arcface_matrix, five_points, similarity, warp_crop
from reenact_zoo.faces.landmarks import IMAGENET_MEAN, IMAGENET_STD, hog_like_box, landmark_box
from reenact_zoo.weights.store import WeightStore

Region = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Landmarks (68, 2) px → similarity (2, 3) from px of the image to px of the crop."""

HALF = (0.5, 0.5, 0.5)
IMAGENET = (tuple(IMAGENET_MEAN.tolist()), tuple(IMAGENET_STD.tolist()))


@dataclass(frozen=True)
class FaceInput:
    """How a face reaches a network; images are RGB in [0, 1].

    Attributes:
        region: which part of the image, from the landmarks.
        size: side of the square crop in px.
        mean, std: of each colour; the network reads (x - mean) / std.
        columns: first and last + 1 column that is kept, where the network wants a crop narrower than high.
    """

    region: Region
    size: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    columns: tuple[int, int] | None = None

    def matrices(self, landmarks_px: Tensor) -> Tensor:
        """(B, 68, 2) px → (B, 2, 3) float64, px of the image → px of the crop."""
        rows = landmarks_px.detach().cpu().float().numpy()
        return torch.from_numpy(np.stack([self.region(row) for row in rows]))

    def normalised(self, crops: Tensor) -> Tensor:
        """Crops in [0, 1] → what the network reads."""
        mean, std = (crops.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (crops - mean) / std

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → the network's input; differentiable in the images."""
        crops = warp_crop(images, self.matrices(landmarks_px), self.size)
        if self.columns is not None:
            crops = crops[..., slice(*self.columns)]
        return self.normalised(crops)


class FaceNetwork:
    """Base of the instruments that crop, normalise and run one frozen network.

    Attributes:
        name: of the stored row.
        weights: manifest entries; the first is the network's.
        size: numbers per face.
        face: what the network sees.
    """

    name: str
    weights: tuple[str, ...]
    size: int
    face: ClassVar[FaceInput]

    def __init__(self, network: nn.Module, store: WeightStore | None, device: str | torch.device) -> None:
        (store or WeightStore()).load_into(network, self.weights[0])
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def _input(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        return self.face(images.to(self._device), landmarks_px)


# --- regions --------------------------------------------------------------------------------------------------------


def upright_square(x: float, y: float, side: float, size: int) -> NDArray[np.float64]:
    """Square around (x, y) px → (2, 3); the square's edges are the crop's edges (pixel centres, as ``align``)."""
    scale = size / side
    return np.array([[scale, 0, (side / 2 - x) * scale - 0.5], [0, scale, (side / 2 - y) * scale - 0.5]])


def hopenet_region(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Loose square: dlib's box and half of it left and right, three quarters above, a quarter below; 224 px.

    The margins are those of the authors' video script; dlib's box is derived from the landmarks.
    """
    left, top, right, bottom = hog_like_box(landmark_box(landmarks))
    side = right - left
    return upright_square((left + right) / 2, (top + bottom) / 2 - side / 4, 2 * side, 224)


def deca_region(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Square of 1.1 x 1.25 times the mean of the box's width and height around the box's middle; 224 px.

    The authors map the square's corners to the centres of the corner pixels: 223 steps, not 224.
    """
    left, top, right, bottom = landmark_box(landmarks)
    side = 1.1 * 1.25 * (right - left + bottom - top) / 2
    scale = 223 / side
    x, y = (left + right) / 2 - side / 2, (top + bottom) / 2 - side / 2
    return np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])


# Eye centres, nose tip and mouth corners of Deep3DFaceRecon's mean face (facts of its file similarity_Lm3D_all.mat as
# the TensorFlow release prints them), y up. Unverified here.
DEEP3D_FACE = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.0032535, -0.04617932, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ]
)
DEEP3D_SCALE = 102.0  # crop px per unit of that face


def deep3d_region(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Affine fit of five points of a mean face; its origin comes to the middle of 224 px, 102 px per unit.

    The authors round crop and scale to whole pixels, which is left out here.
    """
    model = np.concatenate([DEEP3D_FACE, np.ones((5, 1))], 1)  # y up: neither scale nor origin of the fit depends on it
    fitted = np.linalg.lstsq(model, five_points(landmarks).astype(np.float64), rcond=None)[0]  # (4, 2)
    scale = DEEP3D_SCALE / max(float(np.linalg.norm(fitted[:3], axis=0).mean()), 1e-9)
    x, y = fitted[3]
    return np.array([[scale, 0, 112 - x * scale], [0, scale, 112 - y * scale]])


def celeba_hq_region(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """The square that CelebA-HQ was cut with (Karras et al., ICLR 2018, appendix C), turned with the face; 512 px.

    Its side is the larger of 4 eye distances and 3.6 distances from eyes to mouth; the centre lies a tenth of the
    latter below the middle of the eyes.
    """
    eyes = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)]).astype(np.float64)
    mouth = landmarks[[48, 54]].astype(np.float64).mean(0)
    across, middle = eyes[1] - eyes[0], eyes.mean(0)
    up = middle - mouth
    centre = middle - 0.1 * up
    side = max(4.0 * float(np.linalg.norm(across)), 3.6 * float(np.linalg.norm(up)))
    right = across + np.array([-up[1], up[0]])  # the eyes' direction and the mouth's, turned by a quarter
    right *= side / 2 / max(float(np.linalg.norm(right)), 1e-9)
    down = np.array([-right[1], right[0]])
    corners = np.stack([centre - right - down, centre + right - down, centre - right + down])
    return similarity(corners, np.array([[-0.5, -0.5], [511.5, -0.5], [-0.5, 511.5]]))


ARCFACE_FACE = FaceInput(arcface_matrix, ARCFACE_SIZE, HALF, HALF)
COSFACE_FACE = FaceInput(arcface_matrix, ARCFACE_SIZE, HALF, HALF, columns=(8, 104))  # 112 x 96: the same template
HOPENET_FACE = FaceInput(hopenet_region, 224, *IMAGENET)
DECA_FACE = FaceInput(deca_region, 224)
DEEP3D_FACE_INPUT = FaceInput(deep3d_region, 224)
BISENET_FACE = FaceInput(celeba_hq_region, 512, *IMAGENET)
