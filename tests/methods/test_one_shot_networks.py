from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reenact_zoo.methods.one_shot.discriminators import MultiScalePatch
from reenact_zoo.methods.one_shot.fusion_net import FusionNet
from reenact_zoo.methods.one_shot.networks import (
    LEVELS,
    AppearanceDecoder,
    AppearanceEncoder,
    SpadeDecoder,
    initialise,
    widths,
)
from reenact_zoo.methods.one_shot.official import (
    DISCRIMINATOR_PARTS,
    load_official,
    official_keys,
    split_parts,
)
from reenact_zoo.types import InputError

SMALL = widths(32, 4, 16)


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _networks(*arguments: int, **options: object) -> tuple[AppearanceEncoder, AppearanceDecoder, SpadeDecoder]:
    sizes = widths(*arguments)
    return AppearanceEncoder(sizes), AppearanceDecoder(sizes), SpadeDecoder(sizes, **options)


@pytest.fixture
def no_random_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is not written is not taken: large networks cost nothing."""
    for name in ("normal_", "uniform_", "kaiming_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_args, **_kwargs: tensor)


@pytest.mark.usefixtures("no_random_fill")
def test_at_256_pixels_they_have_as_many_parameters_as_the_released_ones() -> None:
    assert [_size(n) for n in _networks(256, 64, 1024)] == [34_585_216, 78_130_051, 35_852_163]
    assert [_size(d) for d in MultiScalePatch().scales] == [2_764_737] * 3


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_depth_follows_the_image_size(size: int) -> None:
    torch.manual_seed(0)
    encoder, decoder, generator = _networks(size, 2, 4)
    code = encoder(torch.rand(1, 3, size, size) * 2 - 1)
    features, image = decoder(code)
    assert code.shape == (1, 4, 1, 1)
    assert [f.shape[-1] for f in features] == [size // 16, size // 8, size // 4, size // 2]
    maps = torch.rand(1, 9, size, size)
    reenacted = generator(maps, code, features)
    for picture in (image, reenacted):
        assert picture.shape == (1, 3, size, size)
        assert 0 < float(picture.detach().abs().max()) <= 1
    assert FusionNet(2)(image, reenacted, maps).shape == (1, 1, size, size)
    assert len(MultiScalePatch(2, size, scales=3 if size > 32 else 2)(reenacted)) == (3 if size > 32 else 2)


def test_all_networks_at_64_pixels_stay_within_three_million_parameters() -> None:
    assert sum(map(_size, (*_networks(64, 24, 128), FusionNet(8)))) == 2_666_567


@pytest.mark.parametrize(("size", "base", "cap"), [(48, 8, 16), (16, 8, 16), (64, 32, 16)])
def test_impossible_sizes_are_refused(size: int, base: int, cap: int) -> None:
    with pytest.raises(InputError, match=r"image_size must be 32, 64|base_width 32 must be 2 or more and at most"):
        widths(size, base, cap)


@pytest.mark.parametrize("concat", ["all", "none", *LEVELS])
def test_only_concatenated_levels_reach_the_image(concat: str) -> None:
    torch.manual_seed(0)
    generator = SpadeDecoder(SMALL, concat=concat)
    features = [torch.randn(1, c, s, s, requires_grad=True) for c, s in zip(SMALL.features, (2, 4, 8, 16))]
    generator(torch.rand(1, 9, 32, 32), torch.randn(1, SMALL.latent, 1, 1), features).sum().backward()
    assert [f.grad is not None for f in features] == [concat in ("all", level) for level in LEVELS]
    with pytest.raises(InputError, match="concat must be all, none, 16, 32, 64, 128, not '8'"):
        SpadeDecoder(SMALL, concat="8")


def test_the_reenacted_image_depends_on_code_and_shape_at_every_pixel_block() -> None:
    torch.manual_seed(0)
    generator = SpadeDecoder(SMALL)
    features = [torch.randn(1, c, s, s) for c, s in zip(SMALL.features, (2, 4, 8, 16))]
    code = torch.randn(1, SMALL.latent, 1, 1, requires_grad=True)
    maps = torch.rand(1, 9, 32, 32, requires_grad=True)
    generator(maps, code, features).square().mean().backward()
    assert float(code.grad.abs().min()) > 0
    assert float(maps.grad[..., ::2, ::2].abs().amax(1).min()) > 0  # the largest shape picture has the even pixels
    assert not maps.grad[..., 1::2, 1::2].any()


def test_a_code_is_sampled_with_unit_variance() -> None:
    mean = torch.full((4, 5000, 1, 1), 3.0)
    draws = [AppearanceEncoder.sample(mean, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert float(draws[0].mean()) == pytest.approx(3.0, abs=0.05)
    assert float(draws[0].std()) == pytest.approx(1.0, abs=0.05)


def test_a_fresh_small_network_carries_a_signal_that_the_released_start_would_lose() -> None:
    torch.manual_seed(0)

    def spread() -> float:
        codes = encoder(torch.rand(4, 3, 64, 64) * 2 - 1)
        return float(generator(torch.rand(4, 9, 64, 64), codes, decoder(codes)[0]).detach().std())

    encoder, decoder, generator = _networks(64, 8, 32)
    fresh = spread()
    for network in (encoder, decoder, generator):
        initialise(network, deviation=0.02)
    assert not any(p.any() for name, p in generator.named_parameters() if name.endswith("bias"))
    assert fresh > 0.1 > 10 * spread()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_fusion_starts_undecided_and_can_learn_either_side(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = FusionNet(4).to(memory_format=memory_format)
    inputs = (torch.rand(2, c, 16, 16).to(memory_format=memory_format) for c in (3, 3, 9))
    generated, warped, maps = inputs
    mask = network(generated, warped, maps)
    assert float((mask - 0.5).abs().detach().max()) < 0.02
    assert float(mask.detach().std()) > 0
    wanted = (torch.arange(16) < 8).float().expand(2, 1, 16, 16)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        fused = network(generated, warped, maps)
        loss = (fused - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1  # from 0.25
    assert fused[..., :6].mean().item() > 0.7 > 0.3 > fused[..., 10:].mean().item()


def test_everything_is_finite_and_in_single_precision_under_autocast() -> None:
    torch.manual_seed(0)
    encoder, decoder, generator = (n.to(memory_format=torch.channels_last) for n in _networks(32, 4, 16))
    images, maps = torch.rand(2, 3, 32, 32), torch.rand(2, 9, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        code = encoder(images)
        features, image = decoder(code)
        reenacted = generator(maps, code, features)
        mask = FusionNet(4)(reenacted, images, maps)
    (image.mean() + reenacted.mean() + mask.mean()).backward()
    assert image.dtype == reenacted.dtype == mask.dtype == torch.float32
    for network in (encoder, decoder, generator):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_thirty_updates_fit_one_pair() -> None:
    torch.manual_seed(0)
    encoder, decoder, generator = networks = _networks(32, 8, 32)
    source, target, maps = (torch.rand(1, c, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3) for c in (3, 3, 9))
    optimiser = torch.optim.Adam([p for n in networks for p in n.parameters()], 2e-3, (0.5, 0.999))
    losses = []
    for _ in range(30):
        code = encoder(2 * source - 1)
        features, rebuilt = decoder(code)
        reenacted = generator(maps, code, features)
        loss = (rebuilt - 2 * source + 1).abs().mean() + (reenacted - 2 * target + 1).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_discriminators_see_pooled_pictures_of_the_image() -> None:
    network = MultiScalePatch(2, 64)
    assert [d.num_halvings for d in network.scales] == [3, 2, 1]
    images = torch.randn(1, 3, 64, 64)
    scores = network(images)
    assert [score.shape[-1] for score in scores] == [6, 5, 5]
    pooled = nn.functional.max_pool2d(nn.functional.max_pool2d(images, 3, 2), 3, 2)
    assert torch.equal(scores[2], network.scales[2](pooled))
    with pytest.raises(InputError, match="3 scales need 3 numbers of layers, not 2"):
        MultiScalePatch(2, 64, layers=(2, 1))


# --- released weights -----------------------------------------------------------------------------------------------


class Released:
    """Networks of the released depth, a sixteenth of its width, and a state dict for them in released naming."""

    def __init__(self) -> None:
        sizes = widths(256, 4, 64)
        self.targets = {
            "encoder": AppearanceEncoder(sizes),
            "decoder": AppearanceDecoder(sizes),
            "generator": SpadeDecoder(sizes),
            "discriminators": MultiScalePatch(4),
        }
        named = zip(("appEnc", "appDnc", "netG"), list(self.targets.values()), strict=False)
        self.parts = dict(named) | dict(zip(DISCRIMINATOR_PARTS, self.targets["discriminators"].scales))
        self.states = {part: self._state(part, network) for part, network in self.parts.items()}

    @staticmethod
    def _state(part: str, network: nn.Module) -> dict[str, Tensor]:
        state = {}
        for key, value in network.state_dict().items():
            names = official_keys(part, key)
            state |= dict(zip(names, torch.randn(value.shape).chunk(len(names)), strict=True))
        return state

    def load(self, states: dict[str, object]) -> None:
        load_official(states, **self.targets)


@pytest.fixture(scope="module")
def released() -> Released:
    return Released()


def test_released_names_are_the_authors() -> None:
    assert official_keys("appEnc", "mean.weight") == ("mean.0.weight",)
    assert official_keys("appDnc", "levels.2.0.bias") == ("decoder128.0.bias",)
    assert official_keys("netG", "levels.0.narrow.bias") == ("conv5.bias",)
    assert official_keys("netG", "coarse.1.block.spade_around.read.0.weight") == (
        "spade_blc4.spade_res.conv_weight.weight",
        "spade_blc4.spade_res.conv_bias.weight",
    )


@pytest.mark.parametrize("merged", [False, True])
def test_separate_and_merged_state_dicts_load_alike(released: Released, merged: bool) -> None:
    states = released.states
    flat = {f"{part}.module.{key}": value for part, state in states.items() for key, value in state.items()}
    released.load(flat if merged else {part: {f"module.{k}": v for k, v in s.items()} for part, s in states.items()})
    spade = released.targets["generator"].levels[3].block.spade2.read[0].weight
    assert torch.equal(spade[: len(spade) // 2], states["netG"]["spade_blc8.spade2.conv_weight.weight"])
    assert torch.equal(spade[len(spade) // 2 :], states["netG"]["spade_blc8.spade2.conv_bias.weight"])
    assert torch.equal(released.parts["netD64"].layers[0].weight, states["netD64"]["model.0.weight"])


def test_the_three_networks_of_the_generator_need_no_prefix(released: Released) -> None:
    together = {key: v for part in ("appEnc", "appDnc", "netG") for key, v in released.states[part].items()}
    parts = split_parts(together)
    assert {part: set(state) for part, state in parts.items()} == {
        part: set(released.states[part]) for part in ("appEnc", "appDnc", "netG")
    }


def test_what_does_not_fit_is_named_and_nothing_is_changed(released: Released) -> None:
    before = released.targets["encoder"].state_dict()["mean.bias"].clone()
    states = {part: dict(state) for part, state in released.states.items()}
    states["appEnc"]["mean.0.bias"] = states["appEnc"]["mean.0.bias"] + 1
    del states["netG"]["up7.bias"]
    with pytest.raises(InputError, match=r"'netG' do not fit .*: 'up7.bias' \(4,\) is missing"):
        released.load(states)
    assert torch.equal(released.targets["encoder"].state_dict()["mean.bias"], before)
    states["netG"] = {**released.states["netG"], "up9.bias": torch.zeros(2)}
    with pytest.raises(InputError, match=r"the file has 'up9\.bias'"):
        released.load(states)
    with pytest.raises(InputError, match="part 'netD256' is missing"):
        released.load({part: state for part, state in released.states.items() if part != "netD256"})
    with pytest.raises(InputError, match=r"'model\.0\.weight' belongs to none of appEnc, appDnc"):
        released.load({**released.states["appEnc"], "model.0.weight": torch.zeros(1)})


def test_networks_of_another_size_are_refused(released: Released) -> None:
    encoder, decoder, generator = _networks(64, 4, 64)
    with pytest.raises(InputError, match=r"'appEnc' do not fit .*for image_size 256"):
        load_official(released.states, encoder=encoder, decoder=decoder, generator=generator)
