"""3DDFA_V2's 62 parameters: the network behind ``head_pose`` and ``expression`` (Guo et al., ECCV 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reenact_zoo.faces.align import warp_crop
from reenact_zoo.faces.networks.mobilenet_v1 import MobileNetV1
from reenact_zoo.weights.store import WeightStore

SIZE = 120
POSE, SHAPE, EXPRESSION = slice(0, 12), slice(12, 52), slice(52, 62)


def regions(landmarks_px: Tensor) -> Tensor:
    """(B, 68, 2) px → (B, 3) centre x, y and side of the square the network reads: sqrt(2) times the longer box side.

    This is the authors' rule for tracked landmarks. Their other rule (detector box x 1.58, shifted by 0.14) depends on
    the detector, so it is not used here.
    """
    low, high = landmarks_px.amin(1), landmarks_px.amax(1)
    side = 2**0.5 * (high - low).amax(1, keepdim=True)
    return torch.cat([(low + high) / 2, side], 1)


def crops(images: Tensor, landmarks_px: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 3, 120, 120) BGR, (x - 127.5) / 128, x in [0, 255]."""
    x, y, side = regions(landmarks_px.to(images)).unbind(1)
    scale, zero = SIZE / side, torch.zeros_like(side)
    # crop pixel = (image pixel - left edge) * scale - 1/2
    rows = [scale, zero, SIZE / 2 - x * scale - 0.5, zero, scale, SIZE / 2 - y * scale - 0.5]
    faces = warp_crop(images, torch.stack(rows, 1).view(-1, 2, 3), SIZE)
    return (faces.flip(1) * 255 - 127.5) / 128  # flip: BGR


class Tddfa:
    """mb05 regressor with its whitening.

    Raises:
        WeightsMissing: 3ddfa_v2_mb05 or 3ddfa_v2_mean_std is not at hand.
    """

    weights = ("3ddfa_v2_mb05", "3ddfa_v2_mean_std")

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        store = store or WeightStore()
        self._network = MobileNetV1(width=0.5)
        self._network.load_state_dict(official_keys(store.load_state_dict(self.weights[0])))
        self._network.to(device).eval().requires_grad_(False)
        whitening = store.load_state_dict(self.weights[1])
        self._mean, self._std = (whitening[key].float().to(device) for key in ("mean", "std"))
        self._device = torch.device(device)

    def whitened(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 62) network output; differentiable in the images."""
        return self._network(crops(images.to(self._device), landmarks_px))

    def parameters(self, whitened: Tensor) -> Tensor:
        """(B, 62) network output → (B, 62) in the units of the face model."""
        return whitened * self._std + self._mean


class TddfaWhitened:
    """What a 3DDFA network of full width answers, in standard deviations of its own training set; differentiable.

    Args:
        store: where the weights lie.
        device: where the network runs.
        entry: "3ddfa_v1" or "3ddfa_v2_mb1". Each whitens by its own mean and std: their numbers are not comparable.

    Raises:
        WeightsMissing: the file is not at hand.
    """

    size = 62

    def __init__(
        self,
        store: WeightStore | None = None,
        device: str | torch.device = "cpu",
        entry: Literal["3ddfa_v1", "3ddfa_v2_mb1"] = "3ddfa_v2_mb1",
    ) -> None:
        self.name = {"3ddfa_v1": "tddfa_v1", "3ddfa_v2_mb1": "tddfa_v2_mb1"}[entry]
        self.weights: tuple[str, ...] = (entry,)
        self._network = MobileNetV1(width=1.0)
        (store or WeightStore()).load_into(self._network, entry)
        self._network.to(device).eval().requires_grad_(False)
        self._device = torch.device(device)

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 62): pose 12, shape 40, expression 10, whitened."""
        result: Tensor = self._network(crops(images.to(self._device), landmarks_px))
        return result


def official_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys of the released checkpoint → keys of ``MobileNetV1``: fc_param is the head, fc_lm is not used."""
    renamed = {key.replace("fc_param.", "fc."): value for key, value in state.items()}
    return {key: value for key, value in renamed.items() if not key.startswith("fc_lm.")}
