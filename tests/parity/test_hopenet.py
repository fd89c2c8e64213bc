"""Hopenet against outputs of the authors' network (golden/spec_hopenet.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from golden_network import IMAGENET_MEAN, IMAGENET_STD, Golden, GoldenStore, landmarks

from reenact_zoo.faces.hopenet import HopenetPose
from reenact_zoo.faces.networks.hopenet import Hopenet, degrees


def test_pseudo_random_weights_give_the_authors_bins_and_angles(golden: Path) -> None:
    stored = Golden(golden, "hopenet")
    network = stored.loaded(Hopenet())
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == stored.keys()
    images = stored.images(103, 104, size=(224, 224))
    bins = network((images - IMAGENET_MEAN) / IMAGENET_STD)
    for name, logits in zip(("yaw", "pitch", "roll"), bins):
        stored.compare(f"{name}_bins", logits, 3e-6)  # golden/README.md: noise 9e-7 at a standard deviation of 1.0
        stored.compare(f"{name}_deg", degrees(logits), 1e-4)  # 66 bins up to 99 degrees


def test_the_instrument_feeds_the_network_as_the_authors_do(golden: Path) -> None:
    stored = Golden(golden, "hopenet")
    tool = HopenetPose(GoldenStore(stored.weights()))
    # dlib's box has side 112 and lies 0.12 of it above the landmarks'; the square reaches 1/2 further up than down
    x, y = 111.5, 111.5 + 0.25 * 112 + 0.12 * 112
    angles = tool(stored.images(103, size=(224, 224)), landmarks((x - 56, y - 56), (x + 56, y + 56)))[0].numpy()
    expected = [-stored.data["yaw_deg"][0], stored.data["pitch_deg"][0], -stored.data["roll_deg"][0]]
    np.testing.assert_allclose(angles, expected, atol=2e-3)  # float32 landmarks move the crop by up to 1e-5 px
