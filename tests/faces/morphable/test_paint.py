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
from reenact_zoo.faces.morphable._brows import brow_cover
from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.morphable._palette import make_up, quantiles, stubble

SIZE = 128


def texture_row(head: DenseHead, **texture: float) -> Tensor:
    row = torch.zeros(1, head.layout.texture)
    for name, value in texture.items():
        row[0, head.texture_names.index(name)] = value
    return row


def painted(head: DenseHead, **texture: float) -> Tensor:
    return head.albedo(texture_row(head, **texture), SIZE)


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


def test_paint_and_relief_are_the_same_every_time_and_depend_on_no_neighbour(head: DenseHead) -> None:
    texture = torch.randn(3, head.layout.texture, generator=torch.Generator().manual_seed(1))
    surface = head.surface(texture, SIZE)
    assert surface.shape == (3, 4, SIZE, SIZE)
    assert torch.equal(surface, head.surface(texture, SIZE))
    torch.testing.assert_close(surface[1:2], head.surface(texture[1:2], SIZE), atol=1e-6, rtol=0)
    assert (surface[0] - surface[1]).abs().mean() > 0.01


def test_painting_is_differentiable(head: DenseHead) -> None:
    texture = (0.5 * torch.randn(1, head.layout.texture, generator=torch.Generator().manual_seed(1))).requires_grad_()
    weights = torch.rand(4, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    (head.surface(texture, SIZE) * weights).sum().backward()
    assert texture.grad is not None
    assert texture.grad.isfinite().all()
    assert (texture.grad != 0).float().mean() > 0.8


def test_age_draws_lines_in_colour_and_in_relief_and_youth_has_none(head: DenseHead) -> None:
    masks = head._painter(SIZE).masks
    young, old = (
        head.surface(texture_row(head, age=age, lines_forehead=age, lines_mouth=age), SIZE) for age in (-2.5, 2.5)
    )
    for name in ("line_forehead", "line_nasolabial"):
        inside = masks[name][0, 0] > 0.6
        assert inside.sum() > 10, name
        assert (old[0, :3, inside].mean() - young[0, :3, inside].mean()) < -0.03, name
        assert (old[0, 3, inside].mean() - young[0, 3, inside].mean()) < -0.005, name  # cm
        assert young[0, 3, inside].abs().max() < 0.01, name  # pores alone


def test_relief_lies_on_skin_alone(head: DenseHead) -> None:
    texture = 2 * torch.randn(2, head.layout.texture, generator=torch.Generator().manual_seed(4))
    painter = head._painter(SIZE)  # what the head wears has a relief of its own
    relief, skin = painter.relief(texture), painter.masks["skin"]
    assert (relief * (skin == 0)).abs().max() == 0
    assert relief.abs().max() < 0.2  # cm


def test_masks_are_disjoint_where_pigments_must_not_mix(head: DenseHead) -> None:
    masks = head._painter(SIZE).masks
    apart = (("skin", "sclera"), ("lips", "scalp"), ("brow_near", "lips"), ("teeth", "skin"))
    for a, b in apart:
        assert (masks[a] * masks[b]).max() == 0, (a, b)
    assert (masks["skin"] + masks["clothes"]).max() <= 1 + 1e-6


def test_brows_grow_thicker_and_rise(head: DenseHead) -> None:
    painter = head._painter(SIZE)

    def cover(**texture: float) -> Tensor:
        return brow_cover(painter.masks, quantiles(texture_row(head, **texture)))

    assert cover(brow_thickness=2.0).sum() > 1.4 * cover(brow_thickness=-2.0).sum()
    across = painter.masks["brow_across"]
    high, low = (cover(brow_height=h) for h in (2.0, -2.0))
    assert (high * across).sum() / high.sum() > (low * across).sum() / low.sum() + 0.08


def test_stubble_and_make_up_exclude_each_other() -> None:
    values = torch.linspace(-2.5, 2.5, 21)
    for beard in values:
        t = {"beard_shadow": torch.special.ndtr(beard).view(1, 1), "make_up": torch.ones(1, 1)}
        assert min(float(stubble(t)), float(make_up(t))) < 0.2


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


MADE_UP, BEARDED = {"make_up": 2.0, "beard_shadow": -2.0}, {"beard_shadow": 2.0}
NEEDS = {"mole_place": {"moles": 2.0}, "make_up_hue": MADE_UP, "lid_colour": MADE_UP, "stubble_shape": BEARDED}
"""Others without which a coefficient has nothing to act on."""


def test_every_coefficient_changes_something(head: DenseHead) -> None:
    for name in head.texture_names:
        others = NEEDS.get(name, {})
        levels = (-2.0, 0.5) if name == "mole_place" else (-2.0, 2.0)  # places go round: the two ends meet
        low, high = head.surface(torch.cat([texture_row(head, **others, **{name: v}) for v in levels]), SIZE)
        difference = (high - low).abs()
        assert difference[:3].max() > 0.01 or difference[3].max() > 0.002, name


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
    assert white.mean() > 0.6  # sclera is no paper


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
