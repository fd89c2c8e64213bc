"""Mapping of motion descriptors to codes (as PIRenderer, Ren et al., ICCV 2021) and the 3-D flow network.

The flow is the rigid grid plus a residual that the network bounds. Its last convolution starts at zero: a fresh network
moves the head rigidly and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.flow_renderer.appearance import VolumeSizes
from reenact_zoo.methods.flow_renderer.blocks import SLOPE, AdaptiveNorm, group_norm, positive
from reenact_zoo.methods.flow_renderer.rigid import identity_volume_grid
from reenact_zoo.methods.flow_renderer.warp3d import warp_volume
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.types import InputError

VISIBLE = 2.0
"""Occlusion starts near sigmoid(2) = .88: a fresh network hides little."""

GAIN = 0.05
"""Of the last convolutions, on residual flow and occlusion. One step of Adam moves all of a convolution's weights by
the rate; thousands of them together would move a flow by pixels, and the occlusion from one end to the other."""


@dataclass
class MappingSizes:
    """Size of the codes; the defaults are for 64 pixels.

    Attributes:
        code: length of a code.
        hidden: channels of the convolutions over the window.
        window: frames T of a window; 1 reads single frames, PIRenderer has 27.
    """

    code: int = 128
    hidden: int = 128
    window: int = 1

    @classmethod
    def tiny(cls) -> MappingSizes:
        """Small and quick enough for tests."""
        return cls(code=16, hidden=16)

    @classmethod
    def paper(cls) -> MappingSizes:
        """PIRenderer's."""
        return cls(code=256, hidden=256, window=27)

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        positive("mapping", code=self.code, hidden=self.hidden, window=self.window)
        if self.window != 1 and (self.window < 7 or self.window % 2 == 0):
            raise InputError(f"flow_renderer: mapping.window must be 1, or odd and at least 7, not {self.window}")


class Mapping(nn.Module):
    """Motion descriptors → codes, and two codes → the code of the motion from one to the other.

    Args:
        inputs: numbers N of a descriptor, each of about unit size.
        sizes: lengths.
    """

    def __init__(self, inputs: int, sizes: MappingSizes) -> None:
        super().__init__()
        self.window = sizes.window
        wide = sizes.window > 1
        self.first = nn.Conv1d(inputs, sizes.hidden, 7 if wide else 1)
        # Every block with dilation 3 takes six frames off the window; PIRenderer's 27 leave 21, 15, 9 and 3
        count = min(3, (sizes.window - 7) // 6) if wide else 2
        kernel, dilation = (3, 3) if wide else (1, 1)
        self.crop = dilation * (kernel - 1) // 2
        self.blocks = nn.ModuleList(
            nn.Conv1d(sizes.hidden, sizes.hidden, kernel, dilation=dilation) for _ in range(count)
        )
        self.last = nn.Linear(sizes.hidden, sizes.code)
        self.pair = nn.Sequential(
            nn.Linear(2 * sizes.code, sizes.code), nn.LeakyReLU(SLOPE), nn.Linear(sizes.code, sizes.code)
        )

    def describe(self, descriptor: Tensor) -> Tensor:
        """Descriptor (B, N), or a window of it (B, N, T) with the frame in its middle, → code (B, code).

        One frame is repeated where a window is read; of a longer window the middle is read.
        """
        if descriptor.ndim == 2:
            descriptor = descriptor[..., None]
        frames = descriptor.shape[-1]
        if frames == 1:
            descriptor = descriptor.expand(-1, -1, self.window)
        elif frames < self.window or (frames - self.window) % 2:
            raise InputError(
                f"flow_renderer: a window of {frames} frames has no {self.window} around its middle; give an odd "
                "number of frames, as many as mapping.window or more"
            )
        else:
            around = (frames - self.window) // 2
            descriptor = descriptor[..., around : frames - around]
        x = self.first(descriptor)
        for block in self.blocks:
            inner = block(F.leaky_relu(x, SLOPE))
            x = inner + x[..., self.crop : x.shape[-1] - self.crop]
        result: Tensor = self.last(F.leaky_relu(x.mean(-1), SLOPE))
        return result

    def between(self, code_from: Tensor, code_to: Tensor) -> Tensor:
        """Codes (B, code) of the motion that is there and of the one wanted → code of the change, (B, code)."""
        change: Tensor = self.pair(torch.cat((code_from, code_to), dim=1))
        return change


@dataclass
class FlowSizes:
    """How wide the 3-D hourglass is; the defaults are for 64 pixels, where 3-D convolutions take most of the time.

    Attributes:
        stride: voxels along height and width per position of the flow, which is interpolated between them.
        compressed: channels that the volume is reduced to; with three coordinates 16, which processors like.
        widths: channels of every smaller level; the first halves height and width, the others depth as well.
        full: channels at the flow's own size, before the last convolution.
        limit: largest residual flow, in half frames (normalised units).
        kernel: of the occlusion's convolution.
        norm_group: channels normalised together; 1 is AdaIN's instance norm.
    """

    stride: int = 2
    compressed: int = 13
    widths: list[int] = field(default_factory=lambda: [32, 48])
    full: int = 16
    limit: float = 0.5
    kernel: int = 7
    norm_group: int = 16

    @classmethod
    def tiny(cls) -> FlowSizes:
        """Small and quick enough for tests."""
        return cls(compressed=4, widths=[8, 8], full=4, kernel=3, norm_group=4)

    @classmethod
    def paper(cls) -> FlowSizes:
        """At 32x16x64x64."""
        return cls(stride=1, compressed=8, widths=[64, 128, 256, 256], full=32, norm_group=1)

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        positive("flow", stride=self.stride, compressed=self.compressed, full=self.full, norm_group=self.norm_group)
        if not self.widths or min(self.widths) < 1:
            raise InputError(f"flow_renderer: flow.widths must be one or more numbers of channels, not {self.widths}")
        if not 0 < self.limit <= 2 or self.kernel % 2 == 0:
            raise InputError("flow_renderer: flow.limit must lie in (0, 2] and flow.kernel be odd")

    def depths(self, shape: tuple[int, int, int]) -> list[int]:
        """Number of slices at the flow's own size and at every smaller level of a volume (D, h, w)."""
        depth, height, width = shape
        halvings = len(self.widths)
        result = [depth] + [max(1, depth >> level) for level in range(halvings)]
        odd = any(above % 2 and above > 1 for above in result[1:-1])
        if odd or height % (self.stride << halvings) or width % (self.stride << halvings):
            raise InputError(
                f"flow_renderer: a volume of {shape} with flow.stride {self.stride} cannot be halved {halvings} times; "
                "use fewer flow.widths"
            )
        return result


@dataclass(frozen=True)
class FlowField:
    """A dense 3-D flow.

    Attributes:
        residual: (B, 3, D, h, w) what was added to the rigid grid, x before y before z, within ± limit.
        flow: (B, D, h, w, 3) backward sampling grid, normalised.
        occlusion: (B, 1, h, w) in [0, 1], 1 visible.
        depth_weights: (B, D, h, w) share of every slice in what a pixel shows; sums to 1 over D.
    """

    residual: Tensor
    flow: Tensor
    occlusion: Tensor
    depth_weights: Tensor

    def flow_2d(self) -> Tensor:
        """The flow projected to the picture, (B, h, w, 2): x and y averaged over depth by ``depth_weights``."""
        return (self.flow[..., :2] * self.depth_weights[..., None]).sum(1)


def flow_at(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow (B, h, w, 2) at another size, (B, height, width, 2).

    What is interpolated is the difference to standing still: pixels outside of the outermost centres repeat it, and
    would repeat a place otherwise.
    """
    still = identity_grid(flow.shape[1], flow.shape[2], flow.device, flow.dtype)
    moved = (flow - still).permute(0, 3, 1, 2)
    finer = F.interpolate(moved, (height, width), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    return finer + identity_grid(height, width, flow.device, flow.dtype)


class FlowNetwork(nn.Module):
    """The 3-D hourglass Φ. It sees the volume as the rigid grid moves it, so that residuals are local.

    Args:
        volume: what is warped.
        shape: (D, h, w) of it.
        code: length of the code that modulates every level.
        sizes: widths.
    """

    grid: Tensor

    def __init__(self, volume: VolumeSizes, shape: tuple[int, int, int], code: int, sizes: FlowSizes) -> None:
        super().__init__()
        depths, group, self.limit, self.stride = sizes.depths(shape), sizes.norm_group, sizes.limit, sizes.stride
        depth, height, width = shape
        grid = identity_volume_grid((depth, height // self.stride, width // self.stride))
        self.register_buffer("grid", grid.permute(3, 0, 1, 2)[None], persistent=False)
        self.compress = nn.Conv3d(volume.channels, sizes.compressed, 1)
        self.compressed_norm = group_norm(sizes.compressed, group)
        inputs, widths = sizes.compressed + 3, [sizes.full, *sizes.widths]
        self.pools = [((2 if above > below else 1), 2, 2) for above, below in pairwise(depths)]
        downs = zip([inputs, *sizes.widths], sizes.widths, depths[1:])
        self.downs = nn.ModuleList(_Level(i, o, d, code, group) for i, o, d in downs)
        ups = zip(widths[1:], widths, depths[1:])
        self.ups = nn.ModuleList(_Level(i, o, d, code, group) for i, o, d in ups)
        self.last = _Level(sizes.full + inputs, sizes.full, depth, code, group)
        self.to_flow = _conv3d(sizes.full, 4, depth)
        flat = (sizes.full + sizes.compressed) * depth
        self.to_occlusion = nn.Conv2d(flat, 1, sizes.kernel, padding=sizes.kernel // 2)
        assert self.to_flow.bias is not None
        assert self.to_occlusion.bias is not None
        nn.init.zeros_(self.to_flow.weight)
        nn.init.zeros_(self.to_flow.bias)
        nn.init.zeros_(self.to_occlusion.bias)

    def forward(self, volume: Tensor, code: Tensor, base: Tensor) -> FlowField:
        """Volume (B, C, D, h, w), code of the change (B, code), rigid grid (B, D, h, w, 3) → the whole flow."""
        small = F.relu(self.compressed_norm(self.compress(F.avg_pool3d(volume, (1, self.stride, self.stride)))))
        moved = warp_volume(small, _averaged(base, self.stride))
        x = self._hourglass(torch.cat((moved, self.grid.expand(len(moved), -1, -1, -1, -1)), dim=1), code)
        found = _enlarged(self.to_flow(x).float(), (1, self.stride, self.stride))
        hidden = self.to_occlusion(torch.cat((x, moved), dim=1).flatten(1, 2)).float()
        hidden = _enlarged(hidden[:, None], (1, self.stride, self.stride))[:, 0]
        occlusion = torch.sigmoid(VISIBLE + GAIN * hidden)
        residual = self.limit * torch.tanh(GAIN * found[:, :3])
        flow = base + residual.permute(0, 2, 3, 4, 1)
        return FlowField(residual, flow, occlusion, torch.softmax(found[:, 3], dim=1))

    def _hourglass(self, inputs: Tensor, code: Tensor) -> Tensor:
        x, skips = inputs, [None]
        for pool, down in zip(self.pools, self.downs):
            x = down(F.avg_pool3d(x, pool), code)
            skips.append(x)
        skips.pop()
        for pool, up in zip(reversed(self.pools), reversed(self.ups)):
            x = F.interpolate(up(x, code), scale_factor=_floats(pool), mode="nearest")
            skip = skips.pop()
            x = x if skip is None else x + skip
        result: Tensor = self.last(torch.cat((x, inputs), dim=1), code)
        return result


class _Level(nn.Module):
    """3-D convolution, AdaIN, leaky ReLU; the size stays."""

    def __init__(self, inputs: int, outputs: int, depth: int, code: int, group: int) -> None:
        super().__init__()
        self.conv = _conv3d(inputs, outputs, depth)
        self.norm = AdaptiveNorm(outputs, code, group)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x), code)
        return result


def _conv3d(inputs: int, outputs: int, depth: int) -> nn.Conv3d:
    """3x3x3, or 1x3x3 where there is one slice only."""
    deep = 3 if depth > 1 else 1
    return nn.Conv3d(inputs, outputs, (deep, 3, 3), padding=(deep // 2, 1, 1))


def _averaged(grid: Tensor, stride: int) -> Tensor:
    """Grid (B, D, h, w, 3) → (B, D, h / stride, w / stride, 3)."""
    if stride == 1:
        return grid
    return grid.unflatten(3, (-1, stride)).unflatten(2, (-1, stride)).mean((3, 5))


def _enlarged(x: Tensor, factors: tuple[int, int, int]) -> Tensor:
    """(B, C, D, h, w) → each of the last three sides times its factor."""
    if factors == (1, 1, 1):
        return x
    return F.interpolate(x, scale_factor=_floats(factors), mode="trilinear", align_corners=False)


def _floats(factors: tuple[int, int, int]) -> tuple[float, float, float]:
    return float(factors[0]), float(factors[1]), float(factors[2])
