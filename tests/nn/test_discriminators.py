from __future__ import annotations

import pytest
import torch
from torch import nn

from reenact_zoo.nn.discriminators import PatchDiscriminator, layers_for
from reenact_zoo.types import InputError


def test_at_the_papers_width_it_has_the_papers_size_and_patches() -> None:
    assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 2_764_737
    assert PatchDiscriminator(2)(torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_a_score_sees_a_patch_of_seventy_pixels() -> None:
    network = PatchDiscriminator(4, spectral=True)  # norms over the whole image would spread every pixel everywhere
    images = torch.randn(1, 3, 128, 128, requires_grad=True)
    network(images)[0, 0, 7, 7].backward()
    rows = images.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == 70


@pytest.mark.parametrize(("size", "layers"), [(256, 3), (127, 3), (64, 3), (63, 3), (31, 2), (15, 1)])
def test_every_size_gets_as_many_layers_as_leave_five_patches(size: int, layers: int) -> None:
    assert layers_for(size) == layers
    assert PatchDiscriminator(2, layers)(torch.rand(1, 3, size, size)).shape[-1] >= 5


def test_spectral_norm_bounds_every_convolution() -> None:
    network = PatchDiscriminator(4, 2, spectral=True)
    for layer in network.layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.parametrizations.weight.original, std=3.0)
    for _ in range(30):  # each training pass improves the estimate
        network(torch.randn(1, 3, 32, 32))
    norms = [
        torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        for layer in network.layers
        if isinstance(layer, nn.Conv2d)
    ]
    assert norms == pytest.approx([1.0] * len(norms), abs=0.05)


def test_images_that_are_too_small_are_named() -> None:
    with pytest.raises(InputError, match=r"3 layers needs images of 24 pixels or more, not 16; give it fewer layers"):
        PatchDiscriminator(4)(torch.rand(1, 3, 16, 16))
