"""The shape representation: nine region maps drawn from landmarks, and the weights of the pixel loss made from them.

Zhang et al., "One-shot Face Reenactment" (BMVC 2019); channels in the authors' order, ``CHANNELS``.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reenact_zoo.methods.one_shot.schemes import Scheme, scheme_named
from reenact_zoo.ops.coordinates import identity_grid

CHANNELS = ("face", "brows", "eyes", "gaze", "nose", "upper_lip", "lower_lip", "teeth", "nose_bridge")
WEIGHTS = (1.0, 2.0, 3.0, 4.0, 2.0, 3.0, 3.0, 2.0, 1.0)
"""What each channel adds to the weight of a pixel (the authors' code)."""

# outline of every region: curves in order, "-" runs one backwards
OUTLINES = {
    "face": ("contour", "-right_brow_top", "-left_brow_top"),
    "left_brow": ("left_brow_top", "-left_brow_bottom"),
    "right_brow": ("right_brow_top", "-right_brow_bottom"),
    "left_eye": ("left_eye_top", "left_eye_bottom"),
    "right_eye": ("right_eye_top", "right_eye_bottom"),
    "left_iris": ("left_iris",),
    "right_iris": ("right_iris",),
    "nose": ("bridge", "nose_tip"),  # of the bridge only the first point
    "upper_lip": ("outer_lip_top", "-inner_lip_top"),
    "lower_lip": ("inner_lip_bottom", "-outer_lip_bottom"),
    "teeth": ("inner_lip_top", "-inner_lip_bottom"),
}
SUBROWS = 4  # scan lines per row of pixels; along a row the covered area is exact
REFERENCE_PX = 256  # edge softness and line width are given at this image size
LINE_WIDTH_PX = 6.5  # of the nose bridge: drawn 3 px wide, dilated by 4 px
MIN_LINE_PX = 1.5  # thinner lines would flicker with their position


def region_maps(
    landmarks: Tensor, size: tuple[int, int], scheme: str = "68", line_width: float | None = None
) -> Tensor:
    """Draw the nine maps.

    A pixel's value is the share of it that lies in the region, averaged over a neighbourhood of 1/256 of the image's
    height to each side. Differentiable in the landmarks' x.

    Args:
        landmarks: (B, N, 2) normalised; points outside the image are allowed.
        size: (H, W).
        scheme: key of ``schemes.SCHEMES``.
        line_width: of the nose bridge, px; default: the authors' width, scaled with the image.

    Returns:
        (B, 9, H, W) in [0, 1], channels as ``CHANNELS``; NaN where a sample's landmarks are not finite.
    """
    layout = scheme_named(scheme)
    found = landmarks.isfinite().all(-1).all(-1)
    points = layout.complete(landmarks.float().masked_fill(~found[:, None, None], 0.0))
    outlines = [outline(layout, name) for name in OUTLINES]
    regions = dict(zip(OUTLINES, fill(points, outlines, size).unbind(1), strict=True))
    maps = torch.stack(
        (
            regions["face"],
            torch.maximum(regions["left_brow"], regions["right_brow"]),
            torch.maximum(regions["left_eye"], regions["right_eye"]),
            torch.maximum(
                regions["left_iris"] * regions["left_eye"],
                regions["right_iris"] * regions["right_eye"],
            ),
            *(regions[name] for name in ("nose", "upper_lip", "lower_lip", "teeth")),
        ),
        1,
    )
    maps = torch.cat((_softened(maps), _line(points[:, list(layout.curves["bridge"])], size, line_width)), 1)
    return maps.masked_fill(~found[:, None, None, None], float("nan"))


def official_region_maps(landmarks: Tensor, size: int, scheme: str = "osfr_146") -> Tensor:
    """The maps as the released code draws them: whole-pixel corners, grown by a pixel, blurred, cut off at the right.

    Args:
        landmarks: (B, N, 2) normalised, of a driving image of ``size``.
        size: height and width; the authors' is 256.
        scheme: key of ``schemes.SCHEMES``.

    Returns:
        (B, 9, size, size) in [0, 1]; NaN where a sample's landmarks are not finite.
    """
    from reenact_zoo.methods.one_shot import official_raster

    layout = scheme_named(scheme)
    found = landmarks.isfinite().all(-1).all(-1)
    points = official_raster.px(landmarks.masked_fill(~found[:, None, None], 0.0), layout, size)
    drawn = [official_raster.maps(official_raster.guide_points(p, size), layout, size) for p in points]
    maps = torch.from_numpy(np.stack(drawn)).to(landmarks)
    return maps.masked_fill(~found[:, None, None, None], float("nan"))


def weight_map(maps: Tensor) -> Tensor:
    """Maps (B, 9, H, W) → W (B, 1, H, W), at most 21: eyes, irises and lips count most; the pixel loss has 0.5 + W."""
    return torch.einsum("bchw,c->bhw", maps, maps.new_tensor(WEIGHTS)).unsqueeze(1)


def outline(scheme: Scheme, region: str) -> tuple[int, ...]:
    """Indices of a region's corners in completed landmarks, in order; shared end points appear once in a row."""
    corners: list[int] = []
    for name in OUTLINES[region]:
        curve = scheme.curves[name.removeprefix("-")]
        curve = curve[::-1] if name.startswith("-") else curve
        curve = curve[:1] if name == "bridge" else curve
        corners += curve[1:] if corners and corners[-1] == curve[0] else curve
    return tuple(corners)


def fill(points: Tensor, outlines: list[tuple[int, ...]], size: tuple[int, int]) -> Tensor:
    """Covered share (B, P, H, W) of every pixel by polygons given as point indices.

    Every edge adds, on each scan line it crosses, the signed area to its right; the sum along the line is the winding
    number times the covered area. So the cost grows with edges times rows, not with pixels.

    Args:
        points: (B, N, 2) normalised, finite.
        outlines: P polygons; which way round does not matter. A polygon that crosses itself is filled in both lobes.
        size: (H, W).
    """
    height, width = size
    batch, count = len(points), len(outlines)
    begin = [i for polygon in outlines for i in polygon]
    end = [i for polygon in outlines for i in (*polygon[1:], polygon[0])]
    owner = [k for k, polygon in enumerate(outlines) for _ in polygon]
    corners = (points + 1) / 2 * points.new_tensor([width, height])  # pixel i spans [i, i + 1]
    start, stop = corners[:, begin], corners[:, end]  # (B, E, 2)
    line = (torch.arange(height * SUBROWS, device=points.device, dtype=points.dtype) + 0.5) / SUBROWS
    low, high = torch.minimum(start, stop)[..., 1:], torch.maximum(start, stop)[..., 1:]
    sample, edge, row = ((line >= low) & (line < high)).nonzero(as_tuple=True)
    start, step = start[sample, edge], (stop - start)[sample, edge]
    x = (start[:, 0] + (line[row] - start[:, 1]) / step[:, 1] * step[:, 0]).clamp(0, width)
    sign = step[:, 1].sign() / SUBROWS
    column = x.detach().floor().long()
    covered = x - column  # of the pixel the edge passes through, the part to its left
    polygon = torch.tensor(owner, device=points.device)[edge]
    place = ((sample * count + polygon) * height + row.div(SUBROWS, rounding_mode="floor")) * (width + 2) + column
    area = points.new_zeros(batch * count * height * (width + 2))
    area.index_add_(0, place, sign * (1 - covered)).index_add_(0, place + 1, sign * covered)
    return area.view(batch, count, height, width + 2).cumsum(-1)[..., :width].abs().clamp(max=1)


def _softened(maps: Tensor) -> Tensor:
    """Mean over ±H/256 px in both directions, as the authors' 3 × 3 blur at 256 px."""
    reach = maps.shape[-2] / REFERENCE_PX
    if reach > 1:
        side = round(reach)
        return F.avg_pool2d(F.pad(maps, (side,) * 4, mode="replicate"), 2 * side + 1, stride=1)
    maps = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    maps = maps[..., 1:-1, :].add(maps[..., :-2, :], alpha=reach).add(maps[..., 2:, :], alpha=reach)
    maps = maps[..., 1:-1].add(maps[..., :-2], alpha=reach).add(maps[..., 2:], alpha=reach)
    return maps.div((1 + 2 * reach) ** 2).clamp(0, 1)


def _line(curve: Tensor, size: tuple[int, int], width_px: float | None) -> Tensor:
    """Coverage (B, 1, H, W) of a polyline (B, K, 2) of the given width, from the distance to its nearest segment."""
    height, width = size
    if width_px is None:
        width_px = max(MIN_LINE_PX, LINE_WIDTH_PX * height / REFERENCE_PX)
    x, y = identity_grid(height, width, device=curve.device, dtype=curve.dtype).unbind(-1)
    x, y = x.flatten() * (width / 2), y.flatten() * (height / 2)
    curve = curve * curve.new_tensor([width / 2, height / 2])
    squared = torch.full((len(curve), height * width), float("inf"), dtype=curve.dtype, device=curve.device)
    for start, stop in zip(curve.unbind(1)[:-1], curve.unbind(1)[1:], strict=True):
        step = stop - start
        along = step / step.square().sum(-1, keepdim=True).clamp(min=1e-6)
        right, down = x - start[:, :1], y - start[:, 1:]
        share = (right * along[:, :1] + down * along[:, 1:]).clamp(0, 1)
        to_segment = (right - share * step[:, :1]).square() + (down - share * step[:, 1:]).square()
        squared = torch.minimum(squared, to_segment)
    return (width_px / 2 + 0.5 - squared.clamp(min=1e-12).sqrt()).clamp(0, 1).view(-1, 1, height, width)
