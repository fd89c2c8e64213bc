"""The networks of one_shot against outputs of the authors' (golden/spec_osfr.md).

With both of the stored images, the statistics over whole tensors are compared, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_network import Golden
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.methods.one_shot.discriminators import MultiScalePatch
from reenact_zoo.methods.one_shot.networks import AppearanceDecoder, AppearanceEncoder, SpadeDecoder, widths
from reenact_zoo.methods.one_shot.official import DISCRIMINATOR_PARTS, load_official
from reenact_zoo.nn.discriminators import PatchDiscriminator


def _check(stored: Golden, name: str, full: Tensor, noise: float) -> None:
    if len(full) == stored.data.get(f"{name}__shape", full.shape)[0]:
        stored.compare(name, full, noise)
        return
    part = stored.rule.sliced(full.numpy(), str(stored.data.get(f"{name}__slice", ":")))
    np.testing.assert_allclose(part, stored.data[name][: len(part)], rtol=1e-4, atol=noise, err_msg=name)


def _images(stored: Golden, count: int) -> Tensor:
    return stored.images(*(11, 12)[:count], size=(256, 256), low=-1.0)


# 150 million weights by the rule take 6 of the 9 CPU seconds; the second image adds the whole-tensor statistics
@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
@torch.no_grad()
def test_pseudo_random_weights_give_the_authors_images(golden: Path, count: int) -> None:
    stored = Golden(golden, "osfr_nets")
    with torch.device("meta"):  # no time for fresh weights of 150 million numbers
        networks = AppearanceEncoder(widths()), AppearanceDecoder(widths()), SpadeDecoder(widths())
    encoder, decoder, generator = (network.to_empty(device="cpu") for network in networks)
    states = {part: stored.weights(prefix) for part, prefix in (("appEnc", "enc_"), ("appDnc", "dec_"))}
    states["netG"] = {f"module.{key}": value for key, value in stored.weights("gen_").items()}
    load_official(states, encoder=encoder, decoder=decoder, generator=generator)
    # golden/README.md: noise of 32 bits 2.4e-6 (code), 1e-5 (features), 1.7e-5 (image): both sides may have it
    bottom = encoder.layers(_images(stored, count))
    code = encoder.mean(bottom)
    _check(stored, "enc_feat", bottom, 1e-5)
    _check(stored, "enc_mu", code, 5e-6)
    if count == 2:
        assert float(encoder.divergence(code)) == pytest.approx(float(stored.data["enc_kl"][0]), rel=1e-6)
    features, image = decoder(code)
    for name, feature in zip(("dec_f16", "dec_f32", "dec_f64", "dec_f128"), features):
        _check(stored, name, feature, 3e-5)
    _check(stored, "dec_rec256", image, 5e-5)
    maps = torch.from_numpy(np.stack([stored.rule.image(seed, 9, 256, 256, 0, 1) for seed in (21, 22)[:count]]))
    reenacted = generator(maps, code, features)
    _check(stored, "gen_out", reenacted, 2e-5)
    crop = reenacted[..., 96:160, 96:160].numpy()
    np.testing.assert_allclose(crop, stored.data["gen_out_crop"][:count], rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_pseudo_random_weights_give_the_authors_scores_at_every_scale(golden: Path) -> None:
    stored = Golden(golden, "osfr_nets")
    discriminators = MultiScalePatch()
    weights = {f"{part}.{key}": v for part in DISCRIMINATOR_PARTS for key, v in stored.weights("dis_").items()}
    for part, network in zip(DISCRIMINATOR_PARTS, discriminators.scales):
        own = {key.replace("layers.", "model."): key for key in network.state_dict()}
        assert {k: tuple(network.state_dict()[own[k]].shape) for k in own} == stored.keys("dis_"), part
        network.load_state_dict({own[key]: weights[f"{part}.{key}"] for key in own})
    images = _images(stored, 2)
    scores = discriminators(images)
    stored.compare("dis_out", scores[0], 5e-6)  # golden/README.md: noise 2.3e-6 at a standard deviation of 0.60
    stored.compare("dis_out_on_127", scores[1], 5e-6)
    stored.compare("maxpool_3_2", F.max_pool2d(images, 3, 2), 0.0)
    assert [score.shape[-1] for score in scores] == [30, 13, 5]
    smaller = PatchDiscriminator(64, layers=2)
    smaller.load_state_dict(
        {key.replace("model.", "layers."): value for key, value in stored.weights("dis_nlayers2_").items()}
    )
    stored.compare("dis_nlayers2_out", smaller(images), 5e-6)
