"""BiSeNet against outputs of the authors' network (golden/spec_bisenet.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from golden_network import IMAGENET_MEAN, IMAGENET_STD, Golden, taps

from reenact_zoo.faces.networks.bisenet import BiSeNet

NOISE = 8e-6  # golden/README.md: float32 noise 2e-6 at a standard deviation of 0.87


def test_pseudo_random_weights_give_the_authors_logits(golden: Path) -> None:
    stored = Golden(golden, "bisenet")
    network = stored.loaded(BiSeNet())
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == stored.keys()
    assert sum(parameter.numel() for parameter in network.parameters()) == 13_300_416
    seen = taps(network, trunk="cp.resnet", context="cp")
    image = stored.images(101, size=(256, 256))
    logits = network((image - IMAGENET_MEAN) / IMAGENET_STD)
    for name, value in zip(("res8", "res16", "res32", "cp8", "cp8up", "cp16up"), (*seen["trunk"], *seen["context"])):
        stored.compare(name, value, NOISE)
    for name, value in zip(("out", "out16", "out32"), logits):
        stored.compare(name, value, NOISE)
    classes = logits[0].argmax(1)[:, ::2, ::2].numpy()
    assert np.mean(classes == stored.data["argmax"]) > 0.9999  # a tie within the noise may fall either way
