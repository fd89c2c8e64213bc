"""The painted albedo: range, palette, what each coefficient changes and what it leaves alone, seams."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.morphable import Region
from reenact_zoo.faces.morphable._atlas import rasterise_uv, spots, value_noise
from reenact_zoo.faces.morphable._dense import DenseHead

SIZE = 128


def painted(head: DenseHead, **texture: float) -> Tensor:
    row = torch.zeros(1, head.layout.texture)
    for name, value in texture.items():
        row[0, head.texture_names.index(name)] = value
    return head.albedo(row, SIZE)


def at_vertices(head: DenseHead, atlas: Tensor) -> Tensor:
    """Colours (U, 3) at the uv points of the mesh."""
    grid = (2 * head.uv - 1)[None, None]
    return F.grid_sample(atlas, grid, mode="bilinear", align_corners=False)[0, :, 0].T


def region_colour(head: DenseHead, atlas: Tensor, *regions: Region) -> Tensor:
    wanted = torch.isin(head.regions, torch.tensor([int(r) for r in regions]))
    return at_vertices(head, atlas)[head.uv_triangles[wanted].unique()].mean(0)


def test_albedo_is_in_range_for_extreme_people(head: DenseHead) -> None:
    texture = 3 * torch.randn(6, head.layout.texture, generator=torch.Generator().manual_seed(0))
    atlas = head.albedo(texture, SIZE)
    assert atlas.shape == (6, 3, SIZE, SIZE)
    assert atlas.min() >= 0
    assert atlas.max() <= 1
    assert atlas.isfinite().all()


def test_melanin_runs_through_the_whole_human_range(head: DenseHead) -> None:
    tones = [region_colour(head, painted(head, skin_melanin=m), Region.NOSE).mean() for m in (-2.5, -1, 0, 1, 2.5)]
    assert all(a > b for a, b in itertools.pairwise(tones))
    assert tones[0] > 0.7
    assert tones[-1] < 0.3


@pytest.mark.parametrize(
    ("coefficient", "changed", "same"),
    [
        ("lip_darkness", Region.LIPS_LOWER, Region.NOSE),
        ("brow_density", Region.BROW_LEFT, Region.NOSE),
        ("iris_darkness", Region.EYE_LEFT, Region.NOSE),
        ("clothes_blue", Region.CLOTHES, Region.NOSE),
        ("scalp_density", Region.HAIR, Region.NOSE),
    ],
)
def test_a_coefficient_changes_its_feature_and_no_other(
    head: DenseHead, coefficient: str, changed: Region, same: Region
) -> None:
    low, high = painted(head, **{coefficient: -2.0}), painted(head, **{coefficient: 2.0})
    assert (region_colour(head, low, changed) - region_colour(head, high, changed)).abs().max() > 0.015
    assert (region_colour(head, low, same) - region_colour(head, high, same)).abs().max() < 0.004


def test_every_coefficient_changes_something(head: DenseHead) -> None:
    for name in head.texture_names:
        difference = (painted(head, **{name: 2.0}) - painted(head, **{name: -2.0})).abs()
        assert difference.max() > 0.01, name


def test_lips_are_redder_than_skin_brows_darker_and_teeth_lighter_than_gums(head: DenseHead) -> None:
    atlas = painted(head, skin_melanin=-1.0)
    skin, lips = region_colour(head, atlas, Region.NOSE), region_colour(head, atlas, Region.LIPS_LOWER)
    assert lips[0] / lips[1] > skin[0] / skin[1] + 0.1
    assert region_colour(head, atlas, Region.BROW_LEFT).mean() < 0.85 * skin.mean()
    assert region_colour(head, atlas, Region.TEETH).mean() > region_colour(head, atlas, Region.MOUTH_INTERIOR).mean()


def test_an_eye_has_a_dark_pupil_a_coloured_iris_and_a_light_white(head: DenseHead) -> None:
    atlas = head.albedo(torch.zeros(1, head.layout.texture), 256)
    wanted = head.regions == int(Region.EYE_LEFT)
    corners, uv = head.triangles[wanted].flatten(), head.uv_triangles[wanted].flatten()
    away = head.template[corners] - torch.from_numpy(head.arrays.eye_centres[0]).float()
    angle = torch.rad2deg(torch.acos(away[:, 2] / away.norm(dim=1)))
    colour = at_vertices(head, atlas)[uv].mean(1)
    pupil, iris, white = colour[angle < 4], colour[(angle > 10) & (angle < 19)], colour[(angle > 27) & (angle < 38)]
    assert pupil.mean() < 0.12
    assert pupil.mean() < iris.mean() < white.mean()
    assert white.mean() > 0.7


def test_charts_agree_along_their_seams(head: DenseHead) -> None:
    """A vertex with two places on the atlas has one colour: paint is a function of position.

    Left out is the lining of the eye sockets, which lies behind the lids and has few texels for the lashes' fine line.
    """
    atlas = head.albedo(torch.zeros(1, head.layout.texture), 256)
    colours = at_vertices(head, atlas)
    pairs = torch.stack([head.triangles.flatten(), head.uv_triangles.flatten()], 1).unique(dim=0)
    smooth = torch.tensor([int(r) for r in (Region.SKIN, Region.NOSE, Region.NECK, Region.HAIR, Region.CLOTHES)])
    skin = head.triangles[torch.isin(head.regions, smooth)].unique()
    pairs = pairs[torch.isin(pairs[:, 0], skin)]
    count = torch.bincount(pairs[:, 0], minlength=len(head.template))
    pairs = pairs[count[pairs[:, 0]] > 1]
    from_eyes = torch.cdist(head.template[pairs[:, 0]], torch.from_numpy(head.arrays.eye_centres).float()).amin(1)
    pairs = pairs[from_eyes > 2.2]
    total = torch.zeros(len(count), 3).index_add(0, pairs[:, 0], colours[pairs[:, 1]])
    gaps = (colours[pairs[:, 1]] - (total / count[:, None].clamp(min=1))[pairs[:, 0]]).abs().amax(1)
    if head.name == "ict":
        assert len(gaps) > 100
        assert gaps.median() < 0.02
        assert gaps.quantile(0.95) < 0.12
    else:
        assert len(gaps) == 0  # one vertex, one place on the atlas


def test_atlas_rasteriser_finds_the_triangle_under_a_texel() -> None:
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    face, weights = rasterise_uv(uv, np.array([[0, 1, 2], [0, 2, 3]]), 8)
    assert (face >= 0).all()
    assert face[0, 7] == 0
    assert face[7, 0] == 1
    place = (uv[np.array([[0, 1, 2], [0, 2, 3]])[face]] * weights[..., None]).sum(2)
    expected = (np.arange(8) + 0.5) / 8
    assert np.allclose(place[..., 0], expected[None], atol=1e-12)
    assert np.allclose(place[..., 1], expected[:, None], atol=1e-12)


def test_noise_is_bounded_smooth_and_reproducible() -> None:
    points = np.random.default_rng(0).uniform(-20, 20, (4000, 3))
    noise = value_noise(points, 1.5, 3)
    assert np.abs(noise).max() <= 1
    assert 0.2 < noise.std() < 0.6
    assert np.abs(value_noise(points + 1e-4, 1.5, 3) - noise).max() < 1e-3
    assert not np.allclose(value_noise(points, 1.5, 4), noise)
    # The first values are written down: they may not change with a library's version.
    assert value_noise(np.zeros((1, 3)), 1.0, 1)[0] == pytest.approx(NOISE_AT_ORIGIN, abs=1e-12)
    dots = spots(points, 1.0, 2)
    assert dots.min() >= 0
    assert dots.max() <= 1


NOISE_AT_ORIGIN = -0.4884738466339451
