from __future__ import annotations

import pytest
import torch
from torch import nn

from reenact_zoo.nn.backbones import IMAGENET_MEAN, IMAGENET_STD, LPIPS_ALEX, LPIPS_VGG, FeaturePyramid, alex, vgg
from reenact_zoo.nn.fid import InceptionFid
from reenact_zoo.types import InputError


@pytest.mark.parametrize("depth", [16, 19])
def test_vgg_layers_are_the_ones_their_names_say(depth: int) -> None:
    network = vgg(depth, LPIPS_VGG)
    maps = network(torch.rand(1, 3, 32, 32))
    assert tuple(maps) == LPIPS_VGG
    assert [m.shape[1:] for m in maps.values()] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    # VGG-16 has 2 + 2 + 3 + 3 + 3 convolutions, VGG-19 has 2 + 2 + 4 + 4 + 4
    convolutions = [k for k, v in network.state_dict().items() if v.ndim == 4]
    assert len(convolutions) == depth - 3
    relu3_3 = 15  # conv-relu pairs of blocks 1 and 2 with their pools fill 0-9
    image = torch.rand(1, 3, 32, 32)
    normalised = (image - network.mean) / network.std
    assert torch.equal(network.features[: relu3_3 + 1](normalised), network(image)["relu3_3"])


def test_vgg_and_alex_have_the_keys_of_torchvisions_files() -> None:
    from torchvision.models import alexnet, vgg19

    with torch.device("meta"):
        pairs = [(vgg(19), vgg19(weights=None)), (alex(), alexnet(weights=None))]
    for mine, theirs in pairs:
        wanted = {k: tuple(v.shape) for k, v in theirs.state_dict().items() if k.startswith("features.")}
        assert {k: tuple(v.shape) for k, v in mine.state_dict().items()} == wanted


def test_alex_has_five_maps_of_the_published_widths() -> None:
    maps = alex()(torch.rand(1, 3, 64, 64))
    assert tuple(maps) == LPIPS_ALEX
    assert [m.shape[1:] for m in maps.values()] == [
        (64, 15, 15),
        (192, 7, 7),
        (384, 3, 3),
        (256, 3, 3),
        (256, 3, 3),
    ]


def test_a_layer_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match="vgg16 has no layer 'relu6_1'"):
        vgg(16, ("relu6_1",))


def test_images_are_normalised_inside() -> None:
    bare = FeaturePyramid("toy", nn.Sequential(nn.Identity()), {0: "in"}, ("in",))
    grey = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert torch.allclose(bare(grey)["in"], torch.zeros(1, 3, 4, 4), atol=1e-7)
    bright = grey + torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    assert torch.allclose(bare(bright)["in"], torch.ones(1, 3, 4, 4), atol=1e-5)


# --- FID ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inception() -> InceptionFid:
    torch.manual_seed(0)
    return InceptionFid()


def test_inception_has_torchvisions_keys_and_1008_classes(inception: InceptionFid) -> None:
    from torchvision.models import inception_v3

    with torch.device("meta"):
        theirs = inception_v3(weights=None, aux_logits=False, num_classes=1008, init_weights=False)
    wanted = {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    assert {k: tuple(v.shape) for k, v in inception.state_dict().items()} == wanted


def test_inception_gives_2048_features_and_rounds_to_8_bits(inception: InceptionFid) -> None:
    image = torch.rand(1, 3, 40, 40)
    stored = (image * 255).round() / 255  # what a PNG would hold
    features = inception(torch.cat([image, stored]))
    assert features.shape == (2, 2048)
    assert torch.allclose(features[0], features[1], atol=1e-5)
    assert not inception.train().training


def test_inceptions_blocks_differ_from_torchvisions_as_tensorflows_do(inception: InceptionFid) -> None:
    from torchvision.models.inception import InceptionA, InceptionE

    flat = torch.ones(1, 192, 8, 8)
    mine, theirs = inception.Mixed_5b, InceptionA(192, 32).eval()
    theirs.load_state_dict(mine.state_dict())
    with torch.no_grad():
        a, b = mine(flat), theirs(flat)
    # averages of true pixels keep a flat map flat up to the rim, averages over padding do not
    pooled = slice(-32, None)
    assert torch.allclose(a[:, pooled, 0, 0], a[:, pooled, 4, 4], atol=1e-6)
    assert not torch.allclose(b[:, pooled, 0, 0], b[:, pooled, 4, 4], atol=1e-4)
    assert torch.allclose(a[:, :-32], b[:, :-32], atol=1e-6)
    assert torch.allclose(a[:, pooled, 4, 4], b[:, pooled, 4, 4], atol=1e-6)
    last = InceptionE(2048).eval()
    last.load_state_dict(inception.Mixed_7c.state_dict())
    x = torch.rand(1, 2048, 5, 5)
    with torch.no_grad():
        block, reference = inception.Mixed_7c, last
        assert torch.allclose(block(x)[:, :-192], reference(x)[:, :-192], atol=1e-5)
        assert torch.allclose(block(x)[:, -192:], block.branch_pool(nn.MaxPool2d(3, 1, 1)(x)), atol=1e-6)
