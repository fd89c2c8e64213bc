"""HRNet-W18 against outputs of the authors' network (golden/spec_hrnet_w18.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from golden_network import IMAGENET_MEAN, IMAGENET_STD, Golden, taps

from reenact_zoo.faces.networks.hrnet import HRNet

NOISE = 4e-3  # golden/README.md: float32 noise 1.1e-3 at a standard deviation of 443
SEED = 102  # not in the spec; the one between BiSeNet's 101 and Hopenet's 103 reproduces the stored output


def test_pseudo_random_weights_give_the_authors_heat_maps(golden: Path) -> None:
    stored = Golden(golden, "hrnet_w18")
    network = stored.loaded(HRNet(68))
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == stored.keys()
    assert sum(parameter.numel() for parameter in network.parameters()) == 9_654_398
    seen = taps(network, layer1="layer1", stage2="stage2", stage3="stage3", stage4="stage4")
    heat = network((stored.images(SEED, size=(256, 256)) - IMAGENET_MEAN) / IMAGENET_STD)
    stored.compare("layer1", seen["layer1"], NOISE)
    for stage in (2, 3, 4):
        for branch, value in enumerate(seen[f"stage{stage}"]):
            stored.compare(f"stage{stage}_{branch}", value, NOISE)
    stored.compare("heatmaps", heat, NOISE)
    assert np.array_equal(heat.flatten(2).argmax(-1).numpy(), stored.data["argmax_flat"])


def test_the_wider_layout_differs_in_its_last_layer_only() -> None:
    narrow, wide = HRNet(68).state_dict(), HRNet(98).state_dict()
    assert narrow.keys() == wide.keys()
    assert {k for k in narrow if narrow[k].shape != wide[k].shape} == {"head.3.weight", "head.3.bias"}
