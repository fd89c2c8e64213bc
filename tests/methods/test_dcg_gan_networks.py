from __future__ import annotations

import dataclasses
import logging
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.methods.dcg_gan import landmark_embedding, losses
from reenact_zoo.methods.dcg_gan.correspondence import (
    Corr,
    DenseCorrespondence,
    SharedEncoder,
    Side,
    annealed,
    coordinate_maps,
)
from reenact_zoo.methods.dcg_gan.generator import FusionModule, Gen, Generator, SpatialTransformer, Warped
from reenact_zoo.methods.dcg_gan.landmark_embedding import Drawn, HRNetMaps, drawn_heat_maps, landmark_maps
from reenact_zoo.ops.coordinates import pixel_to_normalised
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightsMissing, WeightStore

SIZE = 32  # pixels; 16 positions a side at stride 2
TINY = dataclasses.replace(Corr.tiny(), stride=2)


def size_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def side(seed: int = 0, batch: int = 2, size: int = SIZE) -> Side:
    """A proxy whose positions differ, points inside of it, and a parsing."""
    torch.manual_seed(seed)
    parsing = torch.randn(batch, 19, size, size).softmax(1)
    return Side(torch.rand(batch, 3, size, size), torch.rand(batch, 68, 2) * 1.4 - 0.7, parsing)


def warped(seed: int = 0, batch: int = 2, size: int = 16) -> Warped:
    torch.manual_seed(seed)
    return Warped.split(torch.rand(batch, 25, size, size))


# --- landmark embedding ---------------------------------------------------------------------------------------------


def test_a_drawn_map_is_a_gaussian_of_height_one_at_its_point() -> None:
    cells = torch.tensor([[[3.0, 5.0], [7.0, 0.0], [2.5, 4.0]]])
    maps = drawn_heat_maps(pixel_to_normalised(cells, 6, 8), (6, 8), sigma=1.5)
    assert maps.shape == (1, 3, 6, 8)
    assert float(maps[0, 0, 5, 3]) == pytest.approx(1, abs=1e-5)
    assert float(maps[0, 1, 0, 7]) == pytest.approx(1, abs=1e-5)
    assert float(maps[0, 0, 4, 2]) == pytest.approx(math.exp(-2 / (2 * 1.5**2)), abs=1e-5)
    assert float(maps[0, 2, 4, 2]) == pytest.approx(float(maps[0, 2, 4, 3]), abs=1e-5)
    assert float(maps.max()) <= 1 + 1e-6


def test_a_face_that_was_not_found_has_empty_maps() -> None:
    landmarks = torch.zeros(2, 68, 2)
    landmarks[0, 5, 1] = torch.nan
    maps = Drawn(2.0)(torch.rand(2, 3, 8, 8), landmarks, (4, 4))
    assert not maps[0].any()
    assert maps[1].isfinite().all()
    assert float(maps[1].max()) > 0.5


class _SeesRed(nn.Module):
    """In HRNet's place: how red every cell of the crop is, as the first of 68 maps."""

    def __init__(self, _points: int) -> None:
        super().__init__()

    def forward(self, crops: Tensor) -> Tensor:
        heat = F.avg_pool2d(crops[:, :1] * 0.229 + 0.485, 4)  # undo the normalisation
        return torch.cat([heat, torch.zeros(len(crops), 67, *heat.shape[2:])], 1)


class _EmptyStore(WeightStore):
    def load_into(self, module: nn.Module, name: str, part: str = "") -> None:
        assert name == "hrnet_w18_300w"


def test_hrnets_maps_lie_where_the_picture_shows_what_they_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmark_embedding, "HRNet", _SeesRed)
    maps = HRNetMaps(_EmptyStore())
    picture = torch.zeros(3, 3, 64, 64)
    picture[:, 0, 38:42, 20:24] = 1
    box = torch.tensor([[8.0, 12.0], [50.0, 52.0]]).repeat(34, 1)
    landmarks = pixel_to_normalised(box, 64, 64).repeat(3, 1, 1)
    landmarks[2, 0, 0] = torch.nan
    found = maps(picture, landmarks, (32, 32))
    assert found.shape == (3, 68, 32, 32)
    heat = found[0, 0]
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    centre = ((heat * x).sum() / heat.sum(), (heat * y).sum() / heat.sum())
    assert float(centre[0]) == pytest.approx(10.5, abs=0.3)  # pixels 20 to 23 are cells 10 and 11
    assert float(centre[1]) == pytest.approx(19.5, abs=0.3)
    assert float(heat.max()) > 0.9
    assert not found[:, 1:].any()
    assert not found[2].any()


def test_hrnet_is_taken_where_it_is_at_hand_and_drawing_says_so_otherwise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(landmark_embedding, "HRNet", _SeesRed)
    monkeypatch.setattr(WeightStore, "available", lambda _self, _name: True)
    assert isinstance(landmark_maps("auto", store=_EmptyStore()), HRNetMaps)
    monkeypatch.setattr(WeightStore, "available", lambda _self, _name: False)
    with caplog.at_level(logging.WARNING):
        drawn = landmark_maps("auto", 1.5)
    assert isinstance(drawn, Drawn)
    assert drawn.sigma == 1.5
    assert "hrnet_w18_300w is not at hand" in caplog.text

    def missing(*_arguments: object, **_named: object) -> None:
        raise WeightsMissing("no file")

    monkeypatch.setattr(WeightStore, "load_into", missing)
    with pytest.raises(WeightsMissing):
        landmark_maps("hrnet")
    with pytest.raises(InputError, match="landmark_maps is 'heat'"):
        landmark_maps("heat")


# --- correspondence estimator ---------------------------------------------------------------------------------------


def test_fresh_branches_find_a_picture_in_itself() -> None:
    torch.manual_seed(0)
    estimator = DenseCorrespondence(TINY, SIZE)
    own = side()
    found = estimator(own, dataclasses.replace(own, parsing=None))
    torch.testing.assert_close(found.features[0], found.features[1])
    assert found.features[0].shape == (2, 256, 8)
    assert found.size == (16, 16)
    error = (found.warp(own.proxy) - F.avg_pool2d(own.proxy, 2)).abs().mean()
    shuffled = (own.proxy.flip(3) - own.proxy).abs().mean()
    assert float(error.detach()) < 0.2 * float(shuffled)


def test_the_source_is_encoded_once_for_a_whole_clip() -> None:
    torch.manual_seed(0)
    estimator = DenseCorrespondence(TINY, SIZE)
    source, driven = side(0), side(1)
    at_once = estimator(source, driven, 0.05)
    later = estimator.from_features(estimator.encode_source(source), driven, 0.05)
    torch.testing.assert_close(at_once.warp(source.proxy), later.warp(source.proxy))
    assert at_once.temperature == 0.05
    assert estimator(source, driven).temperature == 0.01


@pytest.mark.parametrize(
    "inputs", [["proxy", "landmark", "parsing"], ["parsing"], ["proxy"], ["landmark"], ["proxy", "landmark"]]
)
@torch.no_grad()
def test_features_depend_on_the_named_inputs_alone(inputs: list[str]) -> None:
    torch.manual_seed(0)
    estimator = DenseCorrespondence(dataclasses.replace(TINY, inputs=inputs), 16)
    for parameter in estimator.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))  # fresh weights of the parsing are 0
    source, driven, other = (side(seed, batch=1, size=16) for seed in range(3))
    before = estimator(source, driven).features

    def changed(source: Side, driven: Side) -> tuple[bool, ...]:
        """Whether features of the reenacted side, and of the source, differ."""
        now = estimator(source, driven).features
        return tuple(not torch.allclose(a, b, atol=1e-5) for a, b in zip(before, now))

    only_parsing = inputs == ["parsing"]
    assert estimator.needs_reenacted_parsing == only_parsing
    for name, key in (("proxy", "proxy"), ("landmark", "landmarks"), ("parsing", "parsing")):
        new = {key: getattr(other, key)}
        assert changed(dataclasses.replace(source, **new), driven) == (False, name in inputs)
        sees = name in inputs and (name != "parsing" or only_parsing)
        assert changed(source, dataclasses.replace(driven, **new)) == (sees, False)


@torch.no_grad()
def test_coordinates_tell_flat_background_apart() -> None:
    torch.manual_seed(0)
    maps = coordinate_maps(4, 8)
    assert maps.shape == (18, 4, 8)
    assert maps[0, 2].tolist() == pytest.approx([-0.875, -0.625, -0.375, -0.125, 0.125, 0.375, 0.625, 0.875])
    assert maps[1, :, 5].tolist() == pytest.approx([-0.75, -0.25, 0.25, 0.75])
    torch.testing.assert_close(maps[2], (math.pi * maps[0]).sin())
    torch.testing.assert_close(maps[17], (8 * math.pi * maps[1]).cos())
    flat = Side(torch.zeros(1, 3, SIZE, SIZE), torch.full((1, 68, 2), torch.nan))
    middle = 8 * 16 + 8
    for coords in (True, False):
        corr = dataclasses.replace(TINY, coords=coords, inputs=["proxy", "landmark"])
        features = DenseCorrespondence(corr, SIZE)(flat, flat).features[0][0]
        alike = float(features[middle] @ features[middle - 3])
        assert (alike > 0.999) == (not coords)


def test_the_papers_preset_has_cocosnets_widths() -> None:
    corr = dataclasses.replace(Corr.paper(), landmark_maps="drawn", spectral=False)
    with torch.device("meta"):
        estimator = DenseCorrespondence(corr, 256)
    convolutions = [m for m in estimator.shared if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 256, 512, 512, 256]
    assert [m.stride[0] for m in convolutions] == [1, 2, 1, 2, 1, 1]
    assert estimator.size == (64, 64)
    assert estimator.source_branch.gather.in_channels == 256 + 68 + 19
    assert estimator.reenacted_branch.gather.in_channels == 256 + 68
    assert len(estimator.source_branch.blocks) == 4
    spectral = SharedEncoder(3, Corr(stem=4, width=16, spectral=True))
    assert sum("original" in name for name in spectral.state_dict()) == 3


def test_at_64_pixels_networks_are_small_and_quick() -> None:
    work = [0]

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            work[0] += output[0].numel() * layer.weight[0].numel()

    estimator, generator = DenseCorrespondence(Corr(), 64), Generator(Gen(), 64)
    for network in (estimator, generator):
        for layer in network.modules():
            layer.register_forward_hook(count)
    with torch.no_grad():
        one = side(batch=1, size=64)
        found = estimator(one, one)
        generated = generator(Warped.split(found.warp(torch.cat([one.proxy, one.proxy, one.parsing], 1))))
    positions = found.features[0].shape[1]
    work[0] += positions**2 * (found.features[0].shape[2] + 25)
    assert positions == 1024
    assert [tuple(a.shape[-2:]) for a in generated.attention] == [(8, 8), (16, 16), (32, 32)]
    assert size_of(estimator) + size_of(generator) < 1.5e6  # with the discriminator below 3 million
    assert work[0] < 0.6e9


def test_the_temperature_falls_evenly_in_its_logarithm() -> None:
    corr = Corr()
    assert annealed(0, corr) == pytest.approx(0.05)
    assert annealed(0.5, corr) == pytest.approx(math.sqrt(0.05 * 0.01))
    assert annealed(1, corr) == annealed(2, corr) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ["proxies"]}, "inputs names 'proxies'; did you mean 'proxy'"),
        ({"inputs": []}, "at least one of proxy, landmark, parsing"),
        ({"inputs": ["proxy", "proxy"]}, "each at most once"),
        ({"path": "flash"}, "corr.path is 'flash'"),
        ({"stride": 3}, "stride must be 1, 2, 4 or 8, not 3"),
        ({"match_kernel": 2}, "match_kernel must be 1, 3 or 5"),
        ({"temperature": 0.0}, "must be above 0"),
        ({"width": 1}, "at least 2"),
    ],
)
def test_an_estimator_that_cannot_work_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Corr(**change)  # type: ignore[arg-type]


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="does not fit images of 33 pixels"):
        DenseCorrespondence(TINY, 33)
    estimator, good = DenseCorrespondence(TINY, SIZE), side()
    with pytest.raises(InputError, match="the source's proxy is 16x16; use image_size 32"):
        estimator(side(size=16), good)
    with pytest.raises(InputError, match=r"needs the source's parsing \(B, 19, 32, 32\), but there is none"):
        estimator(dataclasses.replace(good, parsing=None), good)
    variant = DenseCorrespondence(dataclasses.replace(TINY, inputs=["parsing"]), SIZE)
    with pytest.raises(InputError, match="needs the reenacted's parsing"):
        variant(good, dataclasses.replace(good, parsing=None))


def test_the_proxy_warp_teaches_the_estimator_where_things_went() -> None:
    torch.manual_seed(0)
    proxy = F.interpolate(torch.rand(1, 3, 6, 6), (16, 16), mode="bicubic", align_corners=False).clamp(0, 1)
    source = dataclasses.replace(side(3, batch=1, size=16), proxy=proxy)
    moved = Side(proxy.roll(2, 3), source.landmarks + torch.tensor([4 / 16, 0.0]))
    estimator = DenseCorrespondence(TINY, 16)
    optimiser = torch.optim.Adam(estimator.parameters(), 3e-3)
    seen = []
    for _ in range(15):
        loss = losses.proxy_warp(estimator(source, moved, 0.05).warp(proxy), moved.proxy)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.75 * seen[0]


# --- generator ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("afm", ["on", "bottom_only"])
def test_images_lie_between_0_and_1_and_every_parameter_takes_part(afm: str) -> None:
    torch.manual_seed(0)
    generator = Generator(dataclasses.replace(Gen.tiny(), afm=afm), SIZE)
    found = generator(warped())
    assert found.image.shape == (2, 3, SIZE, SIZE)
    assert 0 <= float(found.image.detach().min()) < float(found.image.detach().max()) <= 1
    assert [a.shape[-1] for a in found.attention] == ([4, 8, 16] if afm == "on" else [])
    assert all(0 <= float(a.detach().min()) <= float(a.detach().max()) <= 1 for a in found.attention)
    found.image.square().mean().backward()
    without = [name for name, p in generator.named_parameters() if p.grad is None]
    assert not without
    still = {name for name, p in generator.named_parameters() if not p.grad.any()}
    assert not [name for name in still if "localise" not in name]  # a fresh STN listens to its last layer only


@torch.no_grad()
def test_detail_that_the_bottom_cannot_see_reaches_the_image_through_afm_alone() -> None:
    torch.manual_seed(0)
    plain = torch.rand(1, 25, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    sign = torch.tensor([1.0, -1.0]).repeat(8)
    detailed = plain + 0.3 * sign[:, None] * sign  # averages out over 4x4
    changed = {}
    for afm in ("on", "bottom_only"):
        generator = Generator(dataclasses.replace(Gen.tiny(), afm=afm), SIZE)
        images = [generator(Warped.split(x)).image for x in (plain, detailed)]
        changed[afm] = float((images[0] - images[1]).abs().max())
    assert changed["bottom_only"] < 1e-5
    assert changed["on"] > 1e-3


def test_fine_levels_have_no_modulation() -> None:
    generator = Generator(Gen.tiny(), SIZE)
    assert [len(level.spades) for level in generator.levels] == [2, 2, 2, 0]
    assert len(generator.fusion) == 3
    bottom = Generator(dataclasses.replace(Gen.tiny(), afm="bottom_only"), SIZE)
    assert [len(level.spades) for level in bottom.levels] == [0, 0, 0, 0]
    assert Gen(afm="True").afm == "on"  # YAML reads a bare on as true


@torch.no_grad()
def test_attention_chooses_between_foreground_and_background() -> None:
    torch.manual_seed(0)
    fusion, maps = FusionModule(Gen.tiny()), warped(size=8)
    other_proxy = dataclasses.replace(maps, proxy=maps.proxy.flip(3))
    other_parsing = dataclasses.replace(maps, parsing=maps.parsing.flip(3))
    between, attention = fusion(maps)
    assert not torch.allclose(fusion(other_parsing)[1], attention)
    ends = {}
    for bias in (-60.0, 60.0):
        fusion.attention[-1].bias.fill_(bias)
        ends[bias] = fusion(maps)[0]
        changes = not torch.allclose(fusion(other_proxy)[0], ends[bias], atol=1e-5)
        assert changes == (bias > 0)  # the proxy is foreground only
    torch.testing.assert_close(between, attention * ends[60.0] + (1 - attention) * ends[-60.0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_fresh_transformer_moves_nothing_and_a_shift_moves_content() -> None:
    torch.manual_seed(0)
    transformer, x = SpatialTransformer(3), torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(transformer(x), x, rtol=0, atol=1e-5)
    transformer.read.bias[2] = 2 / 8  # reads one pixel further right
    torch.testing.assert_close(transformer(x)[..., :-1], x[..., 1:], rtol=0, atol=1e-5)


def test_warped_maps_are_split_joined_and_resized() -> None:
    joined = torch.rand(1, 25, 8, 8)
    maps = Warped.split(joined)
    assert [x.shape[1] for x in (maps.image, maps.proxy, maps.parsing)] == [3, 3, 19]
    assert torch.equal(maps.joined(), joined)
    torch.testing.assert_close(maps.at(4).proxy, F.avg_pool2d(joined[:, 3:6], 2))
    assert maps.at(16).parsing.shape == (1, 19, 16, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"afm": "off"}, "gen.afm is 'off'"),
        ({"widths": [8]}, "two or more numbers"),
        ({"fine_levels": 4}, "0 to 3, not 4"),
        ({"afm_channels": 0}, "afm_channels must be at least 1"),
    ],
)
def test_a_generator_that_cannot_work_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Gen(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [24, 20])
def test_levels_that_do_not_fit_the_size_are_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"4 levels of gen.widths do not fit images of {size} pixels"):
        Generator(Gen.tiny(), size)
