"""Maps, alignment, warps and fixed fusion against outputs of the authors' code (golden/spec_osfr.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from golden_network import Golden
from numpy.typing import NDArray

from reenact_zoo.methods.one_shot import official_raster as official
from reenact_zoo.methods.one_shot.config import Config
from reenact_zoo.methods.one_shot.geometry import align_source
from reenact_zoo.methods.one_shot.module import OneShot
from reenact_zoo.methods.one_shot.parts import warp_parts
from reenact_zoo.methods.one_shot.regions import WEIGHTS, official_region_maps, region_maps, weight_map
from reenact_zoo.methods.one_shot.schemes import CURVES, SCHEMES
from reenact_zoo.ops.coordinates import normalised_to_pixel, pixel_to_normalised

Array = NDArray[Any]
SCHEME = SCHEMES["osfr_146"]
EXACT = 1e-6
GREY = 2.0  # image resampling may differ by so many grey levels …
SHARE = 0.03  # … in more than one level only on this share of the values


class Case:
    """One pair of the golden file."""

    def __init__(self, stored: Golden, index: int) -> None:
        self.stored, self.prefix = stored, f"p{index}_"
        self.image = self.picture(41 + 2 * index, 384)[64:320, 64:320]
        self.generated = self.picture(51 + index, 256)
        self.source = self["lms_ref384"] - 64
        self.driving = self["lms_pose384"] - 64
        self.guide = official.guide_points(self.driving, 256)

    def __getitem__(self, name: str) -> Array:
        return self.stored.data[self.prefix + name]

    def picture(self, seed: int, size: int) -> Array:
        return np.round(np.moveaxis(self.stored.rule.image(seed, 3, size, size, 0, 255), 0, -1)).astype(np.uint8)

    def difference(self, name: str, values: Array) -> Array:
        """Absolute, on the stored slice."""
        key = f"{self.prefix}{name}__slice"
        part = self.stored.rule.sliced(values, str(self.stored.data[key])) if key in self.stored.data else values
        assert part.shape == self[name].shape
        return np.abs(part.astype(np.float64) - self[name])

    def assert_image(self, name: str, values: Array) -> None:
        difference = self.difference(name, values)
        assert difference.max() <= GREY
        assert (difference > 1).mean() <= SHARE

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image with gamma and both landmark sets as the package passes them."""
        image = torch.from_numpy(official.gamma(self.image, 0.5)).movedim(-1, 0)[None] / 255
        points = [torch.from_numpy(pixel_to_normalised(p, 256, 256))[None] for p in (self.source, self.driving)]
        return image, points[0], points[1]


@pytest.fixture(params=(0, 1))
def case(request: pytest.FixtureRequest, golden: Path) -> Case:
    return Case(Golden(golden, "osfr_raster"), request.param)


def test_gamma_tables(golden: Path) -> None:
    data = Golden(golden, "osfr_raster").data
    ramp = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(official.gamma(ramp, 0.5).reshape(1, -1), data["gamma05"])
    assert np.array_equal(official.gamma(ramp, 2.0).reshape(1, -1), data["gamma2"])


def test_guide_points_and_region_maps(case: Case) -> None:
    assert case.difference("pt_dst", case.guide).max() == 0
    maps = official_region_maps(case.tensors()[2], 256)
    assert case.difference("seg_dst", maps[0].numpy()).max() < EXACT
    assert case.difference("weighted_mask_dst", weight_map(maps)[0].numpy()).max() < 1e-5


def test_boundary_lines(case: Case) -> None:
    lines = official.lines(case.guide, SCHEME, 256)
    assert case.difference("boundary", lines.max(0)).max() < EXACT
    # the released code divides these by 255 a second time
    assert case.difference("boundary_chan_sums", lines.sum((1, 2)) / 255).max() < 2e-4  # summed in float32


def test_alignment(case: Case) -> None:
    inner = CURVES[1:]
    matrix = official.solve_similarity(
        official.curve(case.source, SCHEME, *inner), official.curve(case.guide, SCHEME, *inner)
    )
    assert case.difference("affine_mat", matrix).max() < 1e-9
    points = official.moved(case.source, matrix)
    assert case.difference("pt_aligned", points).max() < 1e-9
    image = official.gamma(case.image, 0.5)
    case.assert_image("img_aligned_u8", cv2.warpAffine(image, matrix, (256, 256), borderValue=(official.BORDER,) * 3))
    face = official.maps(official.guide_points(points, 256), SCHEME, 256)[:1]
    assert case.difference("face_mask_src", face).max() < EXACT


def test_alignment_of_a_batch(case: Case) -> None:
    image, source, driving = case.tensors()
    aligned, points = align_source(image, source, driving, "osfr_146", official=True)
    case.assert_image("img_warped_u8", aligned[0].movedim(0, -1).numpy() * 255)
    assert (case.difference("img_src", aligned[0].numpy() * 2 - 1) * 127.5).max() <= GREY
    aligned_px = normalised_to_pixel(points, 256, 256)[0].numpy()
    assert np.abs(aligned_px[33:] - case["pt_aligned"][33:]).max() < 1e-3
    assert np.abs(aligned_px[:33] - case["pt_dst"][:33]).max() < 1e-3


def test_parts_and_fixed_fusion(case: Case) -> None:
    skins, fused, steps = official.fuse(case.generated, case.image, case.source, case.guide, SCHEME)
    assert case.difference("parts_lms", steps["parts"]).max() < 1e-9
    case.assert_image("parts_img_u8", steps["warped"])
    own, aim = steps["skin"]
    assert case.difference("skin_mask", own * aim).max() < EXACT
    assert case.difference("eye_mask127", steps["iris_mask"] * 127).max() < 1e-4
    case.assert_image("eye_img", steps["irises"])
    case.assert_image("fuse_parts", skins)
    case.assert_image("fuse_eye", fused)


def test_masks_of_the_fusion_are_not_grown(case: Case) -> None:
    grown = 256 / 255
    for name, points in (("fuse_seg_ref", case["parts_lms"] * 256), ("fuse_seg_gen", case.guide * grown)):
        drawn = official.maps(points, SCHEME, 256, grow=False)[:8].sum(0) / 3 * 255
        assert case.difference(name, drawn).max() < 1e-4


@torch.no_grad()
def test_the_official_preset_is_the_released_chain_around_its_networks(case: Case) -> None:
    """What reaches the networks, and what becomes of a stored picture put in the place of theirs; one row fails."""
    method = OneShot(Config(256, 2, 4, preset="official", fusion="fixed", fusion_start=1, lambda_adversarial=0)).eval()
    seen: dict[str, torch.Tensor] = {}

    def instead(_network: Any, inputs: Any, _output: torch.Tensor) -> torch.Tensor:
        seen["maps"] = inputs[0]
        brightened = torch.from_numpy(case.generated).movedim(-1, 0).div(255).sqrt()
        return (2 * brightened - 1).expand(2, -1, -1, -1)

    method.encoder.register_forward_pre_hook(lambda _network, inputs: seen.update(image=inputs[0]))
    method.generator.register_forward_hook(instead)
    picture = torch.from_numpy(case.image[..., ::-1].copy()).movedim(-1, 0).expand(2, -1, -1, -1) / 255
    own, aim = (points.float().repeat(2, 1, 1) for points in case.tensors()[1:])
    aim[1] = torch.nan
    output = method(
        {
            "source": picture,
            "driving": torch.zeros_like(picture),
            "same_identity": torch.zeros(2, dtype=torch.bool),
            "source_landmarks": own,
            "driving_landmarks": aim,
        }
    )
    assert output.reenacted[1].isnan().all()
    assert case.difference("seg_dst", seen["maps"][0].numpy()).max() < EXACT
    assert (case.difference("img_src", seen["image"][0].numpy()) * 127.5).max() <= GREY
    reenacted, warped = (
        image[0].flip(0).movedim(0, -1).numpy() * 255 for image in (output.reenacted, output.aux["warped"])
    )
    case.assert_image("parts_img_u8", warped)
    face = case["seg_dst"][0, ::2, ::2, None]
    difference = np.abs(reenacted[::2, ::2] - (face * case["fuse_eye"] + (1 - face) * case.image[::2, ::2]))
    assert difference.max() <= GREY
    assert (difference > 1).mean() <= SHARE


def test_the_clean_maps_are_the_official_ones_but_for_their_edges(case: Case) -> None:
    driving = torch.from_numpy(pixel_to_normalised(case.driving, 256, 256))[None].float()
    clean = region_maps(driving, (256, 256), "osfr_146")[0].numpy()
    stored = case["seg_dst"]
    for channel in range(len(WEIGHTS)):
        outline = cv2.Canny((stored[channel] * 255).astype(np.uint8), 50, 100) > 0
        near = cv2.dilate(outline.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert np.abs(clean[channel] - stored[channel])[~near].max() < 0.05, channel


def test_the_clean_warps_are_the_official_ones_but_for_rounding(case: Case) -> None:
    image, source, driving = case.tensors()
    aligned, _ = align_source(image, source, driving, "osfr_146")
    stored = case["img_warped_u8"]
    # whole-pixel control points move the picture by up to a pixel; compared where the source covers the frame
    difference = np.abs(aligned[0, :, ::2, ::2].movedim(0, -1).numpy() * 255 - stored).mean(-1)[10:-10, 10:-10]
    assert np.median(difference) < 3
    raw = torch.from_numpy(case.image).movedim(-1, 0)[None] / 255
    warped, _ = warp_parts(raw, source, driving, "osfr_146")
    difference = np.abs(warped[0, :, ::2, ::2].movedim(0, -1).numpy() * 255 - case["parts_img_u8"])
    assert np.median(difference) < 3
    assert torch.isfinite(warped).all()
