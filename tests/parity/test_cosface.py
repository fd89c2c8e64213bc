"""CosFace's embedders against outputs of the authors' networks (golden/spec_cosface.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_network import Golden, GoldenStore, landmarks, taps
from torch import nn
from torch.nn import functional as F

from reenact_zoo.faces.align import ARCFACE_TEMPLATE
from reenact_zoo.faces.cosface import CosFaceIdentity
from reenact_zoo.faces.networks.cosface import LResNet50IR, Sphere20

# golden/README.md: float32 noise 3e-5 at a standard deviation of 9.3, 2e-3 at 483; three times as much is allowed
CASES = [("sphere20_", Sphere20, 1e-4), ("lres50ir_", LResNet50IR, 6e-3)]


@pytest.mark.parametrize(("prefix", "build", "noise"), CASES)
def test_pseudo_random_weights_give_the_authors_embedding(
    golden: Path, prefix: str, build: type[nn.Module], noise: float
) -> None:
    stored = Golden(golden, "cosface")
    network = stored.loaded(build(), prefix)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == stored.keys(prefix)
    seen = taps(network, **{f"layer{i}": f"layer{i}" for i in range(1, 5)})
    images = stored.images(61, 62, 63, size=(112, 96), low=-1, high=1)
    embedding = network(images)
    stored.compare(f"{prefix}emb", embedding, noise)
    for name, value in seen.items():
        stored.compare(f"{prefix}{name}", value, noise)
    both = torch.cat([embedding[:1], network(images[:1].flip(3))], 1)
    stored.compare(f"{prefix}flipcat", both, noise)


def test_the_instrument_feeds_the_network_as_the_authors_do(golden: Path) -> None:
    stored = Golden(golden, "cosface")
    tool = CosFaceIdentity(GoldenStore(stored.weights("sphere20_")))
    aligned = (stored.images(61, size=(112, 96), low=-1, high=1) + 1) / 2
    image = F.pad(aligned, (8, 8, 0, 0), value=0.5)  # the columns of the template that CosFace does not see
    embedding = tool(image, landmarks(*map(tuple, ARCFACE_TEMPLATE.tolist())))
    expected = torch.from_numpy(stored.data["sphere20_flipcat"])
    # float32 landmarks: the crop is sampled up to 1e-5 px beside the pixel centres
    assert torch.allclose(embedding, F.normalize(expected), atol=2e-5)
