"""The MTCNN cascade: proposals over an image pyramid, refinement, output; weights by name from the store."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms

from reenact_zoo.faces.networks.mtcnn import OutputNet, ProposalNet, RefinementNet
from reenact_zoo.weights.store import WeightStore

PYRAMID_FACTOR = 0.709  # paper: area halves from level to level
THRESHOLDS = (0.6, 0.7, 0.7)  # face probability after each network; authors' release
CELL_PX, STRIDE = 12, 2  # receptive field and stride of the proposal network


class Cascade:
    """Three networks in turn; one image at a time."""

    def __init__(self, store: WeightStore, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._proposal = self._loaded(ProposalNet(), store, "mtcnn_pnet")
        self._refinement = self._loaded(RefinementNet(), store, "mtcnn_rnet")
        self._output = self._loaded(OutputNet(), store, "mtcnn_onet")

    def _loaded(self, network: nn.Module, store: WeightStore, name: str) -> nn.Module:
        network.load_state_dict(store.load_state_dict(name))
        return network.to(self._device).eval().requires_grad_(False)

    @torch.inference_mode()
    def run(
        self, image: NDArray[np.uint8], min_face_px: float
    ) -> list[tuple[NDArray[np.float32], float, NDArray[np.float32]]]:
        """(H, W, 3) RGB → (box (4,), probability, five points (5, 2)) of every face, pixels."""
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1)[None].float()
        x = (x - 127.5) / 128
        boxes = self._propose(x, min_face_px)
        boxes = self._refine(x, boxes)
        boxes, scores, points = self._finish(x, boxes)
        keep = _nms_by_smaller(boxes, scores, 0.7)
        rows = zip(boxes[keep].cpu().numpy(), scores[keep].tolist(), points[keep].cpu().numpy())
        return [(box, score, five) for box, score, five in rows]

    def _propose(self, x: Tensor, min_face_px: float) -> Tensor:
        levels = []
        scale = CELL_PX / min_face_px
        while min(x.shape[2:]) * scale >= CELL_PX:
            levels.append(self._propose_level(x, scale))
            scale *= PYRAMID_FACTOR
        if not levels:
            return x.new_zeros(0, 4)
        boxes, scores, offsets = (torch.cat(part) for part in zip(*levels))
        keep = nms(boxes, scores, 0.7)
        return _square(_shifted(boxes[keep], offsets[keep]))

    def _propose_level(self, x: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        size = [int(side * scale + 1) for side in x.shape[2:]]
        small = F.interpolate(x, size=size, mode="area")
        probability, offsets = self._proposal(small)
        rows, columns = (probability[0] > THRESHOLDS[0]).nonzero(as_tuple=True)
        corner = torch.stack([columns, rows], 1).float() * STRIDE
        boxes = torch.cat([corner + 1, corner + CELL_PX], 1) / scale
        scores = probability[0, rows, columns]
        keep = nms(boxes, scores, 0.5)
        return boxes[keep], scores[keep], offsets[0, :, rows, columns].T[keep]

    def _refine(self, x: Tensor, boxes: Tensor) -> Tensor:
        if len(boxes) == 0:
            return boxes
        probability, offsets = self._refinement(_cut(x, boxes, 24))
        sure = probability > THRESHOLDS[1]
        boxes, scores, offsets = boxes[sure], probability[sure], offsets[sure]
        keep = nms(boxes, scores, 0.7)
        return _square(_shifted(boxes[keep], offsets[keep]))

    def _finish(self, x: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if len(boxes) == 0:
            return boxes, boxes.new_zeros(0), boxes.new_zeros(0, 5, 2)
        probability, offsets, points = self._output(_cut(x, boxes, 48))
        sure = probability > THRESHOLDS[2]
        boxes = boxes[sure]
        # points are fractions of the box: five x, then five y
        fraction = torch.stack([points[sure, :5], points[sure, 5:]], 2)
        size = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        five = boxes[:, None, :2] + fraction * size - 1
        return _shifted(boxes, offsets[sure]), probability[sure], five


def _shifted(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes moved by the regression, whose unit is the box's own width and height."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + offsets * torch.cat([size, size], 1)


def _square(boxes: Tensor) -> Tensor:
    """Smallest centred squares around boxes."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], 1)


def _cut(x: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Patches (N, 3, size, size) of whole pixels, area-averaged; what lies outside the image is left out."""
    height, width = x.shape[2:]
    patches = []
    for left, top, right, bottom in boxes.trunc().int().tolist():
        top, left = min(max(top - 1, 0), height - 1), min(max(left - 1, 0), width - 1)
        patch = x[:, :, top : max(bottom, top + 1), left : max(right, left + 1)]
        patches.append(F.interpolate(patch, size=(size, size), mode="area"))
    return torch.cat(patches)


def _nms_by_smaller(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Non-maximum suppression where the overlap is measured against the smaller box, as the last stage wants it."""
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if all(_overlap_of_smaller(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


def _overlap_of_smaller(a: Tensor, b: Tensor) -> float:
    side = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    smaller = torch.minimum((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())
    return float(side.prod() / smaller.clamp(min=1e-9))
