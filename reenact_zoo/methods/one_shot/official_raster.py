"""The released code's drawing, alignment, warp and fusion with all its quirks, for the ``official`` preset and parity.

Written from a description of what that code does (commit 880a80b, MIT), with the OpenCV calls it makes. Points are
(N, 2) px in the picture's frame, images (H, W, 3) uint8; the constants 254 and 255 of the 256 px frame follow its size.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.methods.one_shot.regions import OUTLINES, outline
from reenact_zoo.methods.one_shot.schemes import CURVES, PARTS, Scheme, scheme_named
from reenact_zoo.ops.coordinates import normalised_to_pixel, pixel_to_normalised
from reenact_zoo.types import InputError

Points = NDArray[np.float64]
Picture = NDArray[np.uint8]
Map = NDArray[np.float64]

BORDER = 155  # grey outside of the source
RATIO = 0.1  # share of the generated image inside the fusion masks


def gamma(image: Picture, exponent: float) -> Picture:
    """The look-up table applied to every image: exponent 0.5 before the networks, 2 after them."""
    table = np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[image]


def guide_points(points: Points, size: int) -> Points:
    """What drawing the maps does to the driving points in place: divided by 255, cut at 1, multiplied by 256."""
    return np.minimum(points / (size - 1), 1) * size if points.max() > 1 else points * size


def completed(points: Points, scheme: Scheme) -> Points:
    """The points with what the scheme has to make."""
    return scheme.complete(torch.from_numpy(points)[None])[0].numpy()


def curve(points: Points, scheme: Scheme, *names: str) -> Points:
    """Points of these curves, one after the other; shared ones repeat."""
    return points[[i for name in names for i in scheme.curves[name]]]


# --- maps -------------------------------------------------------------------------------------------------------------


def region(points: Points, scheme: Scheme, name: str, size: int, grow: bool = True) -> Map:
    """One filled region (size, size) in [0, 1]; the fusion's masks are not grown by a pixel, the network's maps are."""
    canvas: Any = np.zeros((size, size))
    cv2.fillPoly(canvas, [points[list(outline(scheme, name))].astype(np.int32)], 255)
    if grow:
        canvas = cv2.dilate(canvas, np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(canvas, (3, 3), 3) / 255


def lines(points: Points, scheme: Scheme, size: int) -> Map:
    """One map per curve, (17, size, size) in [0, 1]."""
    drawn = []
    for name in CURVES:
        canvas = np.zeros((size, size), np.uint8)
        places = curve(points, scheme, name).astype(np.int32)
        for start, stop in zip(places[:-1].tolist(), places[1:].tolist()):
            cv2.line(canvas, start, stop, 255, 3)
        drawn.append(cv2.GaussianBlur(canvas, (3, 3), 3) / 255)
    return np.stack(drawn)


def maps(points: Points, scheme: Scheme, size: int, grow: bool = True) -> Map:
    """Nine maps (9, size, size) in [0, 1] of completed points."""
    r = {name: region(points, scheme, name, size, grow) for name in OUTLINES}
    bridge = cv2.dilate(lines(points, scheme, size)[CURVES.index("bridge")], np.ones((4, 4), np.uint8))
    return np.stack(
        (
            r["face"],
            np.maximum(r["left_brow"], r["right_brow"]),
            np.maximum(r["left_eye"], r["right_eye"]),
            np.maximum(r["left_iris"] * r["left_eye"], r["right_iris"] * r["right_eye"]),
            r["nose"], r["upper_lip"], r["lower_lip"], r["teeth"],
            bridge,
        )
    )  # fmt: skip


# --- warps ------------------------------------------------------------------------------------------------------------


def solve_similarity(from_points: Points, to_points: Points) -> Points:
    """Least squares x' = a x + b y + tx, y' = -b x + a y + ty → (2, 3)."""
    x, y = from_points.T
    one, nil = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate((np.stack((x, y, one, nil), 1), np.stack((y, -x, nil, one), 1)))
    a, b, tx, ty = np.linalg.pinv(rows) @ np.concatenate((to_points[:, 0], to_points[:, 1]))
    return np.array([[a, b, tx], [-b, a, ty]])


def moved(points: Points, matrix: Points) -> Points:
    """Affine map (2, 3) of points (N, 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def triangle_warp(image: Picture, from_points: Points, to_points: Points) -> Picture:
    """Delaunay warp with whole-pixel control points, the corners up to the last but one pixel included."""
    from scipy.spatial import Delaunay

    size = image.shape[0]
    last = size - 2
    corners = np.array([[0, 0], [last, 0], [0, last], [last, last]])
    source, target = (np.minimum(np.concatenate((p, corners)).astype(np.int32), last) for p in (from_points, to_points))
    mesh = Delaunay(target)
    (left, top), (right, bottom) = target.min(0), target.max(0)
    x, y = np.meshgrid(np.arange(left, right + 1), np.arange(top, bottom + 1))
    places = np.stack((x.ravel(), y.ravel()), 1)
    faces = mesh.find_simplex(places)
    inside = faces >= 0
    places, faces = places[inside], faces[inside]
    homogeneous = np.concatenate((target[mesh.simplices], np.ones((len(mesh.simplices), 3, 1))), -1)
    affine = np.linalg.solve(homogeneous, source[mesh.simplices].astype(np.float64))  # (F, 3, 2)
    at = np.einsum("pi,pij->pj", np.concatenate((places, np.ones((len(places), 1))), 1), affine[faces])
    result = np.zeros_like(image)
    result[places[:, 1], places[:, 0]] = _bilinear(image, at).astype(np.uint8)
    return result


def _bilinear(image: Picture, at: Points) -> NDArray[Any]:
    corner = at.astype(np.int64)
    share = at - corner
    x, y = corner.T
    u, v = share[:, :1], share[:, 1:]
    upper = image[y, x] * (1 - u) + image[y, x + 1] * u
    lower = image[y + 1, x] * (1 - u) + image[y + 1, x + 1] * u
    return upper * (1 - v) + lower * v


def align(image: Picture, reference: Points, guide: Points, scheme: Scheme) -> tuple[Picture, Points]:
    """Alignment of an image by completed points; the guide's have been through ``guide_points``."""
    size = image.shape[0]
    inner = CURVES[1:]
    matrix = solve_similarity(curve(reference, scheme, *inner), curve(guide, scheme, *inner))
    aligned: Any = cv2.warpAffine(image, matrix, (size, size), borderValue=(BORDER,) * 3)
    points = moved(reference, matrix)
    target = points.copy()
    target[list(scheme.curves["contour"])] = guide[list(scheme.curves["contour"])]
    return triangle_warp(aligned, points, target), target


def align_batch(images: Tensor, source: Tensor, driving: Tensor, scheme: str) -> tuple[Tensor, Tensor]:
    """``align`` of square images (B, 3, H, H) in [0, 1] by normalised landmarks (B, N, 2), finite."""
    layout, size = scheme_named(scheme), images.shape[-1]
    if images.shape[-2] != size:
        raise InputError(f"official alignment needs square images, got {tuple(images.shape[-2:])}; crop them square")
    results = []
    for picture, own, aim in zip(pictures(images), px(source, layout, size), px(driving, layout, size), strict=True):
        results.append(align(picture, own, guide_points(aim, size), layout))
    aligned = torch.from_numpy(np.stack([image for image, _ in results])).movedim(-1, 1).to(images) / 255
    points = torch.from_numpy(np.stack([points[: layout.points] for _, points in results]))
    return aligned, pixel_to_normalised(points, size, size).to(source)


def pictures(images: Tensor) -> list[Picture]:
    """(B, 3, H, W) in [0, 1] → uint8 (H, W, 3) each."""
    return list(images.detach().mul(255).round().clamp(0, 255).byte().movedim(1, -1).cpu().numpy())


def px(landmarks: Tensor, scheme: Scheme, size: int) -> Points:
    """Normalised landmarks (B, N, 2) → completed ones (B, N', 2) px."""
    return normalised_to_pixel(scheme.complete(landmarks.detach().double().cpu()), size, size).numpy()


# Points 74, 77, 78, 79, 104 and 105 of the authors' layout lie on no curve; they become means of two that do.
MEANS = {74: (72, 73), 77: (75, 76), 78: (43, 55), 79: (43, 58), 104: (72, 73), 105: (75, 76)}


def parts_points(reference: Points, guide: Points, scheme: Scheme) -> Points:
    """Reference points with every part moved onto the guide's by its own similarity; irises stay."""
    result = reference.copy()
    result[list(scheme.curves["contour"])] = guide[list(scheme.curves["contour"])]
    for names in PARTS.values():
        index = [i for name in names for i in scheme.curves[name]]
        result[index] = moved(reference[index], solve_similarity(reference[index], guide[index]))
    if scheme.name == "osfr_146":
        for i, pair in MEANS.items():
            result[i] = result[list(pair)].mean(0)
    return result


# --- fusion -----------------------------------------------------------------------------------------------------------


def softened(mask: Map, side: int) -> Map:
    """Eroded by a square of that side, then blurred with variance ``side``."""
    blurred: Any = cv2.GaussianBlur(cv2.erode(mask, np.ones((side, side), np.uint8)), (side, side), side**0.5)
    result: Map = blurred
    return result


def skin(points: Points, scheme: Scheme, size: int) -> Map:
    """Face without eyes, nose and mouth (brows stay), softened (size, size)."""
    drawn = maps(points, scheme, size, grow=False)
    return softened(drawn[0] - drawn[2:8].max(0), 7)


def blend(generated: NDArray[Any], warped: NDArray[Any], mask: Map, ratio: float = RATIO) -> Map:
    """Almost all of ``warped`` inside the mask (H, W), ``generated`` outside; images (H, W, 3), 0 … 255."""
    m = mask[..., None]
    return generated * (1 - m) + m * (ratio * generated + (1 - ratio) * warped)


def eyes(image: Picture, reference: Points, guide: Points, scheme: Scheme) -> tuple[Map, Map]:
    """Irises of the reference at the guide's place (H, W, 3), and their softened mask (H, W)."""
    size = image.shape[0]
    picture, mask = np.zeros(image.shape), np.zeros((size, size))
    for side in ("left", "right"):
        iris = f"{side}_iris"
        own, aim = (
            region(points, scheme, iris, size, grow=False) * region(points, scheme, f"{side}_eye", size, grow=False)
            for points in (reference, guide)
        )
        matrix = solve_similarity(curve(reference, scheme, iris), curve(guide, scheme, iris))
        picture += cv2.warpAffine(
            image * own[..., None], matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=(BORDER,) * 3
        )
        mask += aim
    return picture, softened(mask, 5)


def fuse(
    generated: NDArray[Any], image: Picture, reference: Points, guide: Points, scheme: Scheme
) -> tuple[Map, Map, dict[str, Any]]:
    """The fixed blend of a generated image with the parts and the irises of the reference.

    Args:
        generated: (H, W, 3) after gamma 2, 0 … 255.
        image: (H, W, 3) the reference without gamma.
        reference: (N', 2) px, completed.
        guide: (N', 2) px, completed, already through ``guide_points``.
        scheme: of the points.

    Returns:
        Fused images (H, W, 3) in 0 … 255 without and with the irises, and the intermediate results by name.
    """
    size = image.shape[0]
    grown = size / (size - 1)  # points are divided by 255 and multiplied by 256 once more here
    reference, guide = reference * grown, guide * grown
    parts = parts_points(reference, guide, scheme)
    count = 106 if scheme.name == "osfr_146" else scheme.points
    warped = triangle_warp(image, reference[:count], parts[:count])
    masks = skin(parts * grown, scheme, size), skin(guide, scheme, size)
    skins = blend(generated, warped, masks[0] * masks[1])
    irises, iris_mask = eyes(image, reference, guide, scheme)
    fused = blend(skins, irises, iris_mask)
    steps = {"parts": parts / (size - 1), "warped": warped, "skin": masks, "irises": irises, "iris_mask": iris_mask}
    return skins, fused, steps


def fuse_batch(
    generated: Tensor, images: Tensor, source: Tensor, driving: Tensor, scheme: str
) -> tuple[Tensor, Tensor, Tensor]:
    """``fuse`` of square pictures, one sample after the other.

    Args:
        generated: G (B, 3, H, H) in [0, 1]; not rounded to 8 bits.
        images: sources (B, 3, H, H) in [0, 1].
        source: (B, N, 2) normalised, finite.
        driving: (B, N, 2) normalised, finite.
        scheme: key of ``schemes.SCHEMES``.

    Returns:
        Fused images with the irises (B, 3, H, H), R (B, 3, H, H), and the skin mask (B, 1, H, H). No gradient.
    """
    layout, size = scheme_named(scheme), images.shape[-1]
    made = generated.detach().double().mul(255).movedim(1, -1).cpu().numpy()
    rows: list[tuple[Map, Map, Map]] = []
    for g, picture, own, aim in zip(
        made, pictures(images), px(source, layout, size), px(driving, layout, size), strict=True
    ):
        _, blended, steps = fuse(g, picture, own, guide_points(aim, size), layout)
        own_skin, driving_skin = steps["skin"]
        rows.append((blended / 255, steps["warped"] / 255, (own_skin * driving_skin)[..., None]))
    fused, warped, mask = (
        torch.from_numpy(np.stack(values)).movedim(-1, 1).to(generated) for values in zip(*rows, strict=True)
    )
    return fused, warped, mask
