"""Trilinear warp of a feature volume: PyTorch's own, and the same from two-dimensional parts that every runtime has."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.ops.warp import warp_3d
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

How = Literal["auto", "native", "decomposed"]
HOWS = ("auto", "native", "decomposed")


def warp_volume(volume: Tensor, flow: Tensor, how: How = "auto") -> Tensor:
    """Sample a volume trilinearly; outside reads zero; float32, also inside autocast.

    Args:
        volume: (B, C, D, H, W). With D = 1 the warp is two-dimensional and the flow's z is not read: one slice has no
            depth, and a rigid motion would move it out of itself.
        flow: (B, D', H', W', 3) normalised, x before y before z.
        how: "native" is ``grid_sample`` in five dimensions; "decomposed" blends two-dimensional samples of the slices,
            equal to 1e-5, more work, and exportable where there is no operator for volumes; "auto" is the former except
            while a graph is exported and on devices without it.

    Returns:
        (B, C, D', H', W').
    """
    if how not in HOWS:
        raise InputError(f"flow_renderer: the warp's path is '{how}'; {nearest(how, HOWS)}")
    # Nothing below is narrowed by autocast, so that no context manager is needed, which exporters cannot write down
    volume, flow = volume.float(), flow.float()
    if volume.shape[2] == 1:
        return _by_rows(volume[:, :, 0], flow)
    if how == "native" or (how == "auto" and not _needs_parts(volume.device)):
        return warp_3d(volume, flow)
    return _decomposed(volume, flow)


def _needs_parts(device: torch.device) -> bool:
    exporting = torch.compiler.is_exporting() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()
    return exporting or device.type not in ("cpu", "cuda")


def _by_rows(image: Tensor, flow: Tensor) -> Tensor:
    """Sample images (B, C, H, W) at the x and y of (B, D', H', W', 3) → (B, C, D', H', W'), as one tall flow."""
    depth, height = flow.shape[1:3]
    sampled = F.grid_sample(image, flow[..., :2].flatten(1, 2), padding_mode="zeros", align_corners=False)
    return sampled.unflatten(2, (depth, height))


def _decomposed(volume: Tensor, flow: Tensor) -> Tensor:
    """Sum over slices k of max(0, 1 - |z - k|) bilinear(slice k).

    The weights of all slices but the two neighbours are zero; beyond the first and the last they fade out as padding
    with zeros does.
    """
    depth = volume.shape[2]
    place = ((flow[..., 2] + 1) * depth - 1) / 2  # in slices, their centres at 0 … D-1
    result = volume.new_zeros(())
    for k in range(depth):
        weight = (1 - (place - k).abs()).clamp(min=0)
        result = result + _by_rows(volume[:, :, k], flow) * weight[:, None]
    return result
