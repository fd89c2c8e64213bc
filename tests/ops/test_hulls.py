from __future__ import annotations

import pytest
import torch

from reenact_zoo.ops.hulls import best_frame, hull_area, unlikeness
from reenact_zoo.types import InputError


def points(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 8, 2, generator=torch.Generator().manual_seed(seed))


def test_the_hull_of_a_square_ignores_what_lies_inside() -> None:
    square = torch.tensor([[[0.0, 0], [2, 0], [2, 2], [0, 2], [1, 1.5]]])
    assert hull_area(square).tolist() == pytest.approx([4.0])


def test_points_on_one_line_span_nothing() -> None:
    line = torch.linspace(-0.5, 0.5, 6)
    assert hull_area(torch.stack((line, line), -1)[None]).tolist() == pytest.approx([0], abs=1e-9)


def test_likeness_sets_place_and_size_aside_but_not_shape() -> None:
    source = points(1, 3)[0]
    distance = unlikeness(source, torch.stack((source, 0.4 * source + 0.3, source * torch.tensor([2.0, 1.0]))))
    assert distance[:2] == pytest.approx([0, 0], abs=1e-9)
    assert distance[2] > 0.1


def test_the_best_frame_has_the_shape_of_the_source_at_any_place_and_size() -> None:
    source, clip = points(1, 3)[0], points(4, 4)
    clip[0] = torch.nan
    clip[2] = 0.4 * source + 0.3
    assert best_frame(source, clip) == 2
    with pytest.raises(InputError, match="best driving frame"):
        best_frame(source, torch.full((3, 8, 2), torch.nan))
