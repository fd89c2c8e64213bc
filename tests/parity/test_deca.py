"""DECA's coarse encoder against outputs of the authors' network (golden/spec_deca_eflame.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from golden_network import Golden, GoldenStore, landmarks, taps

from reenact_zoo.faces.deca import DecaCoefficients
from reenact_zoo.faces.networks.deca import COEFFICIENTS, DecaEncoder


def test_pseudo_random_weights_give_the_authors_parameters(golden: Path) -> None:
    stored = Golden(golden, "deca_eflame")
    network = stored.loaded(DecaEncoder())
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == stored.keys()
    seen = taps(network, features="encoder")
    parameters = network(stored.images(107, 108, size=(224, 224)))
    stored.compare("params", parameters, 2e-6)  # golden/README.md: noise 4e-7 at a standard deviation of 0.41
    stored.compare("features", seen["features"], 2e-6)
    assert parameters.shape[1] == sum(COEFFICIENTS.values()) == 236


def test_the_instrument_feeds_the_network_as_the_authors_do(golden: Path) -> None:
    stored = Golden(golden, "deca_eflame")
    tool = DecaCoefficients(GoldenStore(stored.weights()))
    half = 223 / 1.1 / 1.25 / 2  # of the landmarks' box whose square goes from the first pixel's centre to the last's
    points = landmarks((111.5 - half, 111.5 - half), (111.5 + half, 111.5 + half))
    parameters = tool(stored.images(107, size=(224, 224)), points)[0].numpy()
    np.testing.assert_allclose(parameters, stored.data["params"][0], atol=2e-5)  # landmarks are float32
