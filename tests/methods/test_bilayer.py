"""bilayer: what its layers compute, what its losses may change, and which weights it asks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.methods.bilayer import losses
from reenact_zoo.methods.bilayer.adaptive import AdaptiveConv1x1, AdaptiveSpadeBatchNorm, Projection
from reenact_zoo.methods.bilayer.config import Config
from reenact_zoo.methods.bilayer.drawing import draw
from reenact_zoo.methods.bilayer.inference_generator import Layers
from reenact_zoo.methods.bilayer.module import BASE, Bilayer
from reenact_zoo.methods.bilayer.official import PARTS
from reenact_zoo.methods.bilayer.spectral import SpectralLinear
from reenact_zoo.methods.bilayer.texture_enhancer import squared_error_gradient
from reenact_zoo.ops.coordinates import identity_grid, pixel_to_normalised
from reenact_zoo.testing import synthetic_batch
from reenact_zoo.types import InputError, PairBatch

KEYS = Bilayer.requires | Bilayer.training_requires
SIZE = Config.tiny().image_size


def build(**changes: Any) -> Bilayer:
    torch.manual_seed(0)
    return Bilayer(dataclasses.replace(Config.tiny(), **changes))


@pytest.fixture(scope="module")
def batch() -> PairBatch:
    return synthetic_batch(SIZE, 2, KEYS)


@pytest.fixture(scope="module")
def plain() -> Bilayer:
    """Never trained: tests that use it change nothing in it."""
    return build(lambda_adversarial=0.0).eval()


def with_entries(batch: PairBatch, **entries: Tensor) -> PairBatch:
    return cast(PairBatch, {**batch, **entries})


def layers_of(size: int = 8, batch: int = 2) -> Layers:
    random = torch.Generator().manual_seed(1)
    offsets = 0.2 * torch.rand(batch, 2, size, size, generator=random) - 0.1
    flow = identity_grid(size, size)[None] + offsets.permute(0, 2, 3, 1)
    low = torch.rand(batch, 3, size, size, generator=random) - 0.5
    return Layers(offsets, flow, low, torch.randn(batch, 1, size, size, generator=random))


# --- layers -----------------------------------------------------------------------------------------------------------


def test_spectral_norm_finds_the_largest_singular_value_and_rests_in_use() -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(12, 8)
    for _ in range(50):
        layer.weight()
    assert torch.linalg.matrix_norm(layer.weight().detach(), 2).item() == pytest.approx(1, abs=1e-4)
    layer.eval()
    with torch.no_grad():
        layer.weight_orig.mul_(torch.linspace(0.5, 2, 12))
        before = layer.weight_u.clone()
        first, again = layer.weight(), layer.weight()
    assert torch.equal(first, again)
    assert torch.equal(layer.weight_u, before)
    divisor = layer.weight_u @ layer.weight_orig @ layer.weight_v
    assert torch.allclose(first * divisor, layer.weight_orig)


def test_adaptive_layers_use_every_samples_own_weights() -> None:
    torch.manual_seed(0)
    x, pairs = torch.randn(2, 3, 4, 4), [(torch.randn(2, 3, 3), torch.randn(2, 3)) for _ in range(2)]
    made = AdaptiveConv1x1()(x, iter(pairs))
    spade = AdaptiveSpadeBatchNorm(3, 4).eval()
    modulated = spade(x, iter(pairs))
    for i in range(2):
        (w, b), (w2, b2) = ((weight[i, ..., None, None], bias[i]) for weight, bias in pairs)
        assert torch.allclose(made[i], F.conv2d(x[i], w, b), atol=1e-5)
        scale, shift = F.conv2d(spade.pixel_feats[0], w, b), F.conv2d(spade.pixel_feats[0], w2, b2)
        assert torch.allclose(modulated[i], x[i] * (1 + scale) + shift, atol=1e-4)


def test_a_row_of_weights_is_read_off_its_own_channels() -> None:
    torch.manual_seed(0)
    projection = Projection([4, 3], [8], side=8, share=2, norms=1, convolutional=False).eval()
    embedding = torch.randn(1, 6, 8, 8)
    changed = embedding.clone()
    changed[:, 3] += 1  # of channels 2 and 3, which make row 1
    before, after = projection([embedding]), projection([changed])
    assert [tuple(weight.shape) for weight, _ in before] == [(1, 3, 1), (1, 3, 4), (1, 3, 1)]
    for (weight, bias), (weight2, bias2) in zip(before, after):
        differs = (weight != weight2).any(-1)[0] & (bias != bias2)[0]
        assert differs.tolist() == [False, True, False]


def test_where_nothing_is_offset_the_texture_stays() -> None:
    layers = layers_of()
    texture = torch.rand(2, 3, 8, 8)
    still = dataclasses.replace(layers, flow=identity_grid(8, 8).expand(2, -1, -1, -1))
    assert torch.allclose(still.high(texture), texture, atol=1e-6)
    right = dataclasses.replace(layers, flow=still.flow + torch.tensor([2 / 8, 0]))
    assert torch.allclose(right.high(texture)[..., :-1], texture[..., 1:], atol=1e-6)
    assert right.high(texture)[..., -1].abs().max() < 1e-6


def test_the_enhancer_sees_the_gradient_of_the_masked_squared_error() -> None:
    layers, source = layers_of(), torch.rand(2, 3, 8, 8) - 0.5
    texture = torch.rand(2, 3, 8, 8).requires_grad_()
    shown = (losses.cut_out(image, layers.mask) for image in (layers.low + layers.high(texture), source))
    error = 0.5 * (next(shown) - next(shown)).square().sum()
    [expected] = torch.autograd.grad(error, texture)
    with torch.inference_mode():
        found = squared_error_gradient(texture.detach().clone(), source, layers, layers.mask)
    assert torch.allclose(found, expected, atol=1e-6)


def test_drawn_landmarks_lie_where_the_points_are() -> None:
    points = torch.full((1, 68, 2), 30.0)
    points[:, :17, 1] = 5
    points[:, :17, 0] = torch.linspace(10, 50, 17)
    picture = draw(pixel_to_normalised(points, 64, 64), 64)
    assert torch.allclose(picture[0, :, 5, 10:51], torch.ones(3, 41), atol=1e-4)  # the contour is white
    assert (picture[0, :, 5, :9] == -1).all()
    assert (picture[0, :, 8:25] == -1).all()
    mouth = torch.tensor([1.0, 1.0, -1.0])  # is drawn last
    assert torch.allclose(picture[0, :, 30, 30], mouth, atol=1e-4)


# --- use --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_background_is_hidden_from_the_embedder_unless_the_whole_frame_is_wanted(batch: PairBatch) -> None:
    matte = torch.zeros(2, 1, SIZE, SIZE)
    matte[..., 4:12, 4:12] = 1
    known = with_entries(batch, source_matte=matte)
    repainted = with_entries(known, source=batch["source"] * matte + 0.7 * (1 - matte))
    for frame, same in (("foreground", True), ("whole", False)):
        method = build(frame=frame, lambda_adversarial=0.0).eval()
        one, two = method(known).reenacted, method(repainted).reenacted
        assert torch.allclose(one, two, atol=1e-6) == same, frame


@torch.no_grad()
def test_the_picture_is_the_sum_of_two_layers_and_may_be_masked(plain: Bilayer, batch: PairBatch) -> None:
    output = plain(batch)
    total = (output.aux["low"] + output.aux["high"] + 1) / 2
    assert torch.equal(output.reenacted, total.clamp(0, 1))
    assert float(output.aux["high"].std()) > 0.05
    masked = build(lambda_adversarial=0.0, mask_output=True).eval()(batch).reenacted
    assert torch.allclose(masked, (total * output.aux["mask"]).clamp(0, 1), atol=1e-5)


def test_the_enhancer_is_used_once_it_is_trained_or_loaded(batch: PairBatch) -> None:
    method = build(lambda_adversarial=0.0).eval()
    with torch.inference_mode():
        before = method(batch).aux["texture"]
        method.enhanced.fill_(True)
        after = method(batch).aux["texture"]
    moved = (after - before).abs().max()
    assert 1e-3 < float(moved) <= 2  # two steps of at most 1 each


@pytest.mark.parametrize("key", sorted(KEYS))
def test_what_is_missing_fails_alone_and_trains_nothing(key: str, plain: Bilayer, batch: PairBatch) -> None:
    bad = cast("dict[str, Tensor]", batch)[key].clone()
    bad[1, 0] = torch.nan
    spoilt = with_entries(batch, **{key: bad})
    with torch.no_grad():
        image = plain(spoilt).reenacted
    assert image[1].isnan().all() == (key in Bilayer.requires)
    assert image[0].isfinite().all()
    shared: dict[str, Any] = {}
    found = plain._generator_losses(spoilt, shared)
    assert found.keys() > {"pixel"}
    assert all(value.isfinite() for value in found.values())
    nobody = with_entries(batch, **{key: torch.full_like(bad, torch.nan)})
    for alone in (plain._generator_losses(nobody, shared), plain._enhancer_losses(nobody, shared)):
        assert list(alone) == ["nothing"]
        assert alone["nothing"] == 0


def test_what_does_not_fit_is_refused_in_one_line(plain: Bilayer, batch: PairBatch) -> None:
    with pytest.raises(InputError, match=r"16x16.*'source' is 64x64"):
        plain(synthetic_batch(64, 1, Bilayer.requires))
    with pytest.raises(InputError, match=r"'driving_landmarks' has shape \(2, 98, 2\)"):
        plain(with_entries(batch, driving_landmarks=torch.zeros(2, 98, 2)))
    with pytest.raises(InputError, match=r"'source_matte' has shape"):
        plain(with_entries(batch, source_matte=torch.zeros(2, SIZE, SIZE)))
    for changes in ({"frame": "foregroud"}, {"image_size": 96}, {"projection_side": 8}, {"enhancer_start": 2.0}):
        with pytest.raises(InputError, match=next(iter(changes))):
            dataclasses.replace(Config.tiny(), **cast(Any, changes))


# --- training ---------------------------------------------------------------------------------------------------------


def test_losses_have_their_closed_values() -> None:
    real, made = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), -0.25)
    assert losses.telling_apart(real, made) == pytest.approx(2 * 0.25)
    assert losses.fooling(real, made) == pytest.approx(2 * 1.75)
    assert losses.matching([real, made], [made, made]) == pytest.approx(0.375)
    assert losses.flow_weight(0, 50) == 1
    assert losses.flow_weight(100, 50) == pytest.approx(0.81)
    assert losses.cut_out(torch.tensor([0.5]), torch.tensor([0.25])) == pytest.approx(0.125 - 0.75)


def test_every_part_of_the_picture_learns_from_its_own_losses(batch: PairBatch) -> None:
    method = build(frame="foreground", lambda_adversarial=0.0)
    heads = method.inference_generator.gen_inf["heads"]
    weights = [cast(Any, head)[0].weight_orig for head in heads.children()]
    learns = {}
    for name, value in method._generator_losses(batch, {}).items():
        found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        learns[name] = [grad is not None and bool(grad.any()) for grad in found]
    assert learns == {
        # offsets, coarse picture, mask
        "pixel": [False, True, False],
        "segmentation": [False, False, True],
        "flow": [True, False, False],
        "colour": [True, False, False],
    }


def test_the_adversarial_terms_reach_both_layers_and_begin_with_the_discriminator(batch: PairBatch) -> None:
    method = build()
    method.max_updates = 20
    phases = {phase.name: phase for phase in method.phases()}
    assert (phases["generator"].stop, phases["enhancer"].start, phases["discriminator"].start) == (16, 16, 12)
    method.num_updates = 11
    shared: dict[str, Any] = {}
    assert not {"adversarial", "matching"} & method._generator_losses(batch, shared).keys()
    assert set(method._discriminator_losses(batch, shared)) == {"nothing"}
    method.num_updates = 12
    found = method._generator_losses(batch, shared)
    for name in ("adversarial", "matching"):
        heads = list(method.inference_generator.gen_inf["heads"].children())
        weights = [cast(Any, head)[0].weight_orig for head in heads[:2]]
        grads = torch.autograd.grad(found[name], weights, retain_graph=True)
        assert all(bool(grad.any()) for grad in grads), name
    assert set(method._discriminator_losses(batch, shared)) == {"hinge"}
    assert not shared["made"].requires_grad


def test_the_enhancer_is_trained_on_networks_that_rest(batch: PairBatch) -> None:
    method = build().train()
    method.num_updates = 10
    before = {name: value.clone() for name, value in method.state_dict().items() if name.split(".")[0] in BASE}
    assert not method.enhanced
    found = method._enhancer_losses(batch, {})
    torch.stack(list(found.values())).sum().backward()
    assert method.enhanced
    assert all(p.grad is not None and bool(p.grad.any()) for p in method.texture_enhancer.parameters())
    for name in BASE:
        assert all(p.grad is None for p in method.get_submodule(name).parameters()), name
        assert method.get_submodule(name).training, name
    after = method.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_method_without_enhancer_trains_to_the_end() -> None:
    method = build(enhancer_steps=0)
    method.max_updates = 10
    assert {phase.name: phase.stop for phase in method.phases()} == {"generator": None, "discriminator": None}


def test_the_face_network_is_asked_every_so_many_updates(batch: PairBatch) -> None:
    method = build(lambda_identity=1.0, identity_every=2, lambda_adversarial=0.0)
    assert "identity" in method._generator_losses(batch, {})
    assert method.instruments == ("synthetic_identity_train",)
    method.num_updates = 1
    assert "identity" not in method._generator_losses(batch, {})


# --- weights ----------------------------------------------------------------------------------------------------------


def test_released_parts_go_to_their_networks(plain: Bilayer, batch: PairBatch) -> None:
    other = build(lambda_adversarial=0.0).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    state = {part: {f"module.{k}": v for k, v in plain.get_submodule(part).state_dict().items()} for part in PARTS}
    flat = {f"{part}.{k}": v for part, tensors in state.items() for k, v in tensors.items() if part != PARTS[-1]}
    other.load_official(flat)
    assert not other.enhanced
    with torch.no_grad():
        assert torch.equal(other(batch).reenacted, plain(batch).reenacted)
    other.load_official(state)
    assert other.enhanced
    own = other.texture_enhancer.state_dict()
    assert all(torch.equal(own[k.removeprefix("module.")], v) for k, v in state[PARTS[-1]].items())


def test_released_parts_that_do_not_fit_change_nothing(plain: Bilayer) -> None:
    state = {part: dict(plain.get_submodule(part).state_dict()) for part in PARTS}
    lacking = {part: tensors for part, tensors in state.items() if part != "keypoints_embedder"}
    damaged = {**state, "inference_generator": dict(state["inference_generator"])}
    damaged["inference_generator"]["gen_inf.heads.0.0.bias"] = torch.zeros(3)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    shifted = {part: {k: v + 1 for k, v in tensors.items()} for part, tensors in damaged.items()}
    for wrong, message in (
        (lacking, "part 'keypoints_embedder' is missing"),
        (shifted, r"'inference_generator' do not fit.*gen_inf\.heads\.0\.0\.bias"),
        ({**state, "generator": {"bias": torch.zeros(1)}}, "'generator' belongs to none of"),
    ):
        with pytest.raises(InputError, match=message):
            plain.load_official(wrong)
    after = plain.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_without_weights_it_says_which_file_and_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REENACT_ZOO_WEIGHTS", str(tmp_path))
    for licence in ("permissive", "research"):
        monkeypatch.setenv("REENACT_ZOO_LICENCE", licence)
        for size in (256, None):
            with pytest.raises(InputError, match=r"2225_identity_embedder\.pth") as caught:
                Bilayer.ready(None, size)
            text = str(caught.value)
            assert "https://github.com/saic-violet/bilayer-model" in text
            assert "\n" not in text
    with pytest.raises(InputError, match=r"bilayer.*--checkpoint \(the released weights are for 256 px\)"):
        Bilayer.ready(None, 64)


def test_released_files_are_used_at_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Bilayer) -> None:
    monkeypatch.setenv("REENACT_ZOO_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("REENACT_ZOO_LICENCE", "research")
    monkeypatch.setattr(Config, "released", classmethod(lambda cls: plain.config))  # 100 million numbers take too long
    for part in PARTS:
        epoch = 1225 if part == "texture_enhancer" else 2225
        torch.save(plain.get_submodule(part).state_dict(), tmp_path / f"{epoch}_{part}.pth")
    method = Bilayer.ready(None, 256, {"mask_output": True})
    assert method.enhanced
    assert method.config.mask_output
    assert not method.training
    assert torch.equal(method.texture_generator.gen_tex_input, plain.texture_generator.gen_tex_input)


@pytest.mark.parametrize("name", sorted(name for name in packaged_names() if name.startswith("bilayer")))
def test_every_configuration_is_read(name: str) -> None:
    assert load_train_config(name).method == "bilayer"


def test_the_voxceleb_configuration_has_the_released_network() -> None:
    assert load_train_config("bilayer_voxceleb").method_config == Config.released()
