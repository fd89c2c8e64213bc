"""Landmark embeddings L: one map per landmark, drawn from points or made by HRNet (arXiv:1904.04514)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.align import warp_crop
from reenact_zoo.faces.face_input import IMAGENET, FaceInput
from reenact_zoo.faces.hrnet import CELL_PX, HRNetLandmarks, hrnet_region
from reenact_zoo.faces.landmarks import landmark_box
from reenact_zoo.faces.networks.hrnet import HRNet
from reenact_zoo.faces.synthetic_crop import maps_to_image
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore

NUM_LANDMARKS = 68
KINDS = ("drawn", "hrnet", "auto")
HRNET_WEIGHTS = "hrnet_w18_300w"

LandmarkMaps = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""Pictures (B, 3, H, W) in [0, 1], landmarks (B, 68, 2), size (h, w) → maps (B, 68, h, w)."""

_log = logging.getLogger(__name__)


def drawn_heat_maps(landmarks: Tensor, size: tuple[int, int], sigma: float = 1.0) -> Tensor:
    """Landmarks (B, N, 2) → maps (B, N, h, w) in [0, 1]: a Gaussian of height 1 around every point.

    Args:
        landmarks: normalised; a sample with a NaN gives empty maps.
        size: (h, w).
        sigma: standard deviation in cells of the maps; HRNet's training targets have 1.
    """
    points = normalised_to_pixel(landmarks.float(), *size)
    x, y = (torch.arange(side, device=points.device, dtype=points.dtype) for side in (size[1], size[0]))
    across = torch.exp(-(points[..., :1] - x).square() / (2 * sigma**2))
    down = torch.exp(-(points[..., 1:] - y).square() / (2 * sigma**2))
    found = landmarks.isfinite().flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(found, down[..., :, None] * across[..., None, :], 0.0)  # a Gaussian is separable


class Drawn:
    """``drawn_heat_maps`` in the form of ``LandmarkMaps``; the pictures are not looked at."""

    def __init__(self, sigma: float = 1.0) -> None:
        self.sigma = sigma

    def __call__(self, pictures: Tensor, landmarks: Tensor, size: tuple[int, int]) -> Tensor:
        """See ``LandmarkMaps``."""
        return drawn_heat_maps(landmarks, size, self.sigma)


class HRNetMaps:
    """HRNet's own heat maps, brought from its face crop into the frame of the picture; no gradient.

    Args:
        store: where hrnet_w18_300w lies.

    Raises:
        WeightsMissing: it is not at hand.
    """

    def __init__(self, store: WeightStore | None = None) -> None:
        network = HRNet(NUM_LANDMARKS)
        (store or WeightStore()).load_into(network, HRNET_WEIGHTS)
        self._network = network.eval().requires_grad_(False)
        self._face = FaceInput(lambda row: hrnet_region(landmark_box(row)), HRNetLandmarks.SIZE, *IMAGENET)

    @torch.no_grad()
    def __call__(self, pictures: Tensor, landmarks: Tensor, size: tuple[int, int]) -> Tensor:
        """See ``LandmarkMaps``; the landmarks only say where the face is."""
        height, width = pictures.shape[-2:]
        found = landmarks.isfinite().flatten(1).all(1)
        maps = pictures.new_zeros(len(pictures), NUM_LANDMARKS, *size, dtype=torch.float32)
        if not bool(found.any()):
            return maps
        some = pictures[found].float()
        matrices = self._face.matrices(normalised_to_pixel(landmarks[found], height, width))
        crops = warp_crop(some, matrices, self._face.size)
        with torch.autocast(some.device.type, enabled=False):
            heat = self._network.to(some.device)(self._face.normalised(crops))
        in_cells = matrices / CELL_PX  # a cell's centre lies in the middle of its CELL_PX x CELL_PX crop pixels
        in_cells[:, :, 2] += 0.5 / CELL_PX - 0.5
        whole = maps_to_image(heat, in_cells, height, width)
        maps[found] = F.adaptive_max_pool2d(whole, size).clamp(0, 1)  # the largest: an average would lose thin peaks
        return maps


def landmark_maps(kind: str, sigma: float = 1.0, store: WeightStore | None = None) -> LandmarkMaps:
    """What makes the landmark embedding.

    Args:
        kind: "drawn"; "hrnet"; "auto" for HRNet where its weights are at hand, else drawn, which the log says.
        sigma: of drawn maps.
        store: where weights lie.

    Raises:
        InputError: unknown kind.
        WeightsMissing: HRNet is asked for and not at hand.
    """
    if kind not in KINDS:
        raise InputError(f"dcg_gan: landmark_maps is '{kind}'; {nearest(kind, KINDS)}")
    if kind == "auto":
        store = store or WeightStore()
        kind = "hrnet" if store.available(HRNET_WEIGHTS) else "drawn"
        if kind == "drawn":
            _log.warning("%s is not at hand: landmark maps are drawn from points", HRNET_WEIGHTS)
    return HRNetMaps(store) if kind == "hrnet" else Drawn(sigma)
