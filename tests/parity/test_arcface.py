"""ArcFace's IResNet against outputs of the authors' networks (golden/spec_arcface_iresnet.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from golden_network import Golden, GoldenStore, landmarks, taps
from torch.nn import functional as F

from reenact_zoo.faces.align import ARCFACE_TEMPLATE
from reenact_zoo.faces.arcface import ArcFaceIdentity
from reenact_zoo.faces.networks.arcface import IResNet


# golden/README.md: float32 noise 2.3e-3 at a standard deviation of 514 (r50), 2e-5 at 5.2 (r18)
@pytest.mark.parametrize(("depth", "noise"), [("r50", 7e-3), ("r18", 6e-5)])
def test_pseudo_random_weights_give_the_authors_embedding(
    golden: Path, depth: Literal["r50", "r18"], noise: float
) -> None:
    stored = Golden(golden, "arcface_iresnet")
    network = stored.loaded(IResNet(depth), f"{depth}_")
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == stored.keys(f"{depth}_")
    seen = taps(network, layer1="layer1")
    stored.compare(f"{depth}_emb", network(stored.images(105, 106, size=(112, 112), low=-1, high=1)), noise)
    stored.compare(f"{depth}_layer1", seen["layer1"], noise)


def test_the_instrument_feeds_the_network_as_the_authors_do(golden: Path) -> None:
    stored = Golden(golden, "arcface_iresnet")
    tool = ArcFaceIdentity(GoldenStore(stored.weights("r18_")), depth="r18")
    image = (stored.images(105, size=(112, 112), low=-1, high=1) + 1) / 2
    embedding = tool(image, landmarks(*map(tuple, ARCFACE_TEMPLATE.tolist())))
    expected = torch.from_numpy(stored.data["r18_emb"][:1])
    # float32 landmarks: the crop is sampled up to 1e-5 px beside the pixel centres
    assert torch.allclose(embedding, F.normalize(expected), atol=2e-5)
