"""The synthetic parsing as an instrument: place and probabilities; what it learnt is in its model card."""

from __future__ import annotations

from pathlib import Path

import torch
from stand_ins import untrained_weights
from torch import Tensor, nn

from reenact_zoo.faces.matting import matte_from_parsing
from reenact_zoo.faces.parsing import SyntheticParsing


class BrightIsHair(nn.Module):
    """Class 17 where the crop is bright, else background."""

    def forward(self, crops: Tensor) -> Tensor:
        logits = torch.zeros(len(crops), 19, *crops.shape[2:])
        logits[:, 17] = 40 * (crops.mean(1) - 0.5)
        logits[:, 0] = -logits[:, 17]
        return logits


def points_around(x: float, y: float, side: float) -> Tensor:
    angle = torch.linspace(0, 6.2, 68)
    return torch.stack([x + side / 2 * angle.cos(), y + side / 2 * angle.sin()], -1)[None]


def test_classes_lie_where_they_are_seen(tmp_path: Path) -> None:
    tool = SyntheticParsing(untrained_weights(tmp_path / "w"))
    tool._network = BrightIsHair()  # type: ignore[assignment]
    image = torch.zeros(1, 3, 96, 128)
    image[:, :, 30:50, 40:70] = 1
    parsing = tool(image, points_around(60, 44, 30))
    assert parsing.shape == (1, 19, 96, 128)
    hair = parsing[0, 17] > 0.5
    expected = image[0, 0] > 0.5
    assert (hair != expected).float().mean() < 0.015  # the crop's pixels are 1.2 px wide: an edge of half a pixel
    torch.testing.assert_close(parsing.sum(1), torch.ones(1, 96, 128))
    assert (matte_from_parsing(parsing)[0, 0][expected] > 0.5).float().mean() > 0.9


def test_the_real_network_gives_probabilities_with_gradients(tmp_path: Path) -> None:
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    parsing = SyntheticParsing(untrained_weights(tmp_path / "w"))(image, points_around(32, 32, 24).expand(2, -1, -1))
    torch.testing.assert_close(parsing.sum(1), torch.ones(2, 64, 64))
    parsing[:, 1].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
