from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reenact_zoo.ops import correspondence
from reenact_zoo.ops.correspondence import Correspondence, attend, choose_path, unit_features
from reenact_zoo.types import InputError

PATHS = ("plain", "chunked", "scaled_dot_product")
SAVING = PATHS[1:]
SIZE = (8, 6)
POSITIONS = 48


def features(channels: int = 16, batch: int = 2, seed: int = 0) -> Tensor:
    """(B, 48, C) random directions, no two alike."""
    noise = torch.randn(batch, channels, *SIZE, generator=torch.Generator().manual_seed(seed))
    return unit_features(noise)


def pictures(channels: int = 3, batch: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(batch, channels, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_features_have_mean_zero_and_length_one() -> None:
    maps = 5 + 3 * torch.randn(2, 7, *SIZE)
    found = unit_features(maps)
    assert found.shape == (2, POSITIONS, 7)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(2, POSITIONS))
    torch.testing.assert_close(found.mean(2), torch.zeros(2, POSITIONS), rtol=0, atol=1e-6)
    row = maps[1, :, 2, 3] - maps[1, :, 2, 3].mean()
    torch.testing.assert_close(found[1, 2 * SIZE[1] + 3], row / row.norm())
    by_position = unit_features(maps, "positions")[1, 2 * SIZE[1] + 3]
    row = maps[1, :, 2, 3] - maps[1].mean((1, 2))
    torch.testing.assert_close(by_position, row / row.norm())


def test_a_window_takes_in_the_neighbours_and_zeros_outside() -> None:
    maps = torch.randn(1, 2, *SIZE)
    wide = torch.nn.functional.pad(maps, (1, 1, 1, 1))
    for y, x in ((0, 0), (3, 5), (4, 2)):
        window = wide[0, :, y : y + 3, x : x + 3].flatten()
        window = window - window.mean()
        torch.testing.assert_close(unit_features(maps, kernel=3)[0, y * SIZE[1] + x], window / window.norm())


@pytest.mark.parametrize("path", SAVING)
@pytest.mark.parametrize("channels", [3, 25])  # fewer and more than the features have
def test_every_path_agrees_with_the_plain_one_there_and_back_and_in_gradients(path: str, channels: int) -> None:
    results = []
    for chosen in ("plain", path):
        query, key = features().requires_grad_(), features(seed=3).requires_grad_()
        values = pictures(channels).requires_grad_()
        found = Correspondence(query, key, SIZE, 0.05, chosen)  # type: ignore[arg-type]
        moved = found.warp(values)
        back = found.unwarp(moved)
        weights = torch.randn(moved.shape, generator=torch.Generator().manual_seed(5))
        ((moved + 2 * back.square()) * weights).sum().backward()
        results.append((moved.detach(), back.detach(), query.grad, key.grad, values.grad))
    for mine, plain in zip(results[1], results[0]):
        torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
def test_at_the_temperature_in_use_paths_agree_without_gradients(path: str) -> None:
    query, key, values = features(), features(seed=3), pictures(25).flatten(2).mT
    with torch.no_grad():
        weights = ((query.double() @ key.double().mT) / 0.01).softmax(-1)
        wanted = (weights @ values.double()).float()
        torch.testing.assert_close(attend(query, key, values, 0.01, path), wanted, rtol=0, atol=1e-4)  # type: ignore[arg-type]


def test_rows_are_convex_weights_both_ways() -> None:
    found = Correspondence(features(), features(seed=3), SIZE, 0.1)
    for back in (False, True):
        weights = found.weights(back)
        assert float(weights.min()) >= 0
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, POSITIONS))
    values = pictures()
    moved, low, high = found.warp(values), values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    assert bool(((moved >= low - 1e-6) & (moved <= high + 1e-6)).all())
    torch.testing.assert_close(moved.flatten(2).mT, found.weights() @ values.flatten(2).mT)


def test_the_way_back_is_a_softmax_of_its_own_not_the_transpose() -> None:
    query, key = features(), features(seed=3)
    query = query[:, :1].expand(-1, POSITIONS, -1)  # every output position looks like the first
    found = Correspondence(query, key, SIZE, 0.01)
    torch.testing.assert_close(found.weights(back=True), torch.full((2, POSITIONS, POSITIONS), 1 / POSITIONS))
    values = pictures()
    mean = values.mean((2, 3), keepdim=True).expand_as(values)
    torch.testing.assert_close(found.unwarp(values), mean)
    assert not torch.allclose(found.warp(values), mean, atol=1e-2)


@pytest.mark.parametrize("path", PATHS)
def test_equal_features_that_differ_by_position_warp_a_picture_onto_itself(path: str) -> None:
    same = features(64)
    found = Correspondence(same, same, SIZE, 0.01, path)  # type: ignore[arg-type]
    torch.testing.assert_close(found.warp(pictures()), pictures(), rtol=0, atol=1e-3)


def test_where_features_are_equal_everywhere_the_warp_is_the_average() -> None:
    flat = torch.ones(2, POSITIONS, 4) / 2
    moved = Correspondence(flat, flat, SIZE, 0.01).warp(pictures())
    torch.testing.assert_close(moved, pictures().mean((2, 3), keepdim=True).expand(-1, -1, *SIZE))


@pytest.mark.parametrize("path", PATHS)
def test_a_permutation_is_followed_and_undone(path: str) -> None:
    order = torch.randperm(POSITIONS, generator=torch.Generator().manual_seed(2))
    places = torch.eye(POSITIONS).expand(2, -1, -1)  # one-hot scores
    found = Correspondence(places[:, order], places, SIZE, 0.01, path)  # type: ignore[arg-type]
    values = pictures()
    moved = found.warp(values)
    torch.testing.assert_close(moved.flatten(2), values.flatten(2)[..., order], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.unwarp(moved), values, rtol=0, atol=1e-4)


def test_larger_pictures_are_averaged_to_the_positions_first() -> None:
    found = Correspondence(features(), features(seed=3), SIZE, 0.1)
    large = torch.rand(2, 3, 4 * SIZE[0], 4 * SIZE[1])
    torch.testing.assert_close(found.warp(large), found.warp(F.avg_pool2d(large, 4)))


@pytest.mark.parametrize("path", PATHS)
def test_autocast_does_not_reach_the_scores(path: str) -> None:
    query, key, values = features().requires_grad_(), features(seed=3), pictures()
    found = Correspondence(query, key, SIZE, 0.01, path)  # type: ignore[arg-type]
    wanted = found.warp(values).detach()
    with torch.autocast("cpu", torch.bfloat16):
        inside = Correspondence(query, key, SIZE, 0.01, path)  # type: ignore[arg-type]
        got = inside.warp(values)
        got.sum().backward()
        assert inside.weights().dtype == unit_features(torch.randn(1, 4, 2, 2).bfloat16()).dtype == torch.float32
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


class _Alive(TorchDispatchMode):
    """Counts the tensors of so many numbers or more that are alive at the same time."""

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.numel, self.peak = numel, 0
        self._seen: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        new = [x for x in tree_leaves(result) if isinstance(x, Tensor) and x.numel() >= self.numel]
        self._seen = [x for x in self._seen if x() is not None] + [weakref.ref(x) for x in new]
        alive = [x() for x in self._seen]
        self.peak = max(self.peak, len({x.untyped_storage().data_ptr() for x in alive if x is not None}))
        return result


@pytest.mark.parametrize(("path", "matrices"), [("plain", 2), ("chunked", 0), ("scaled_dot_product", 0)])
def test_no_more_than_two_whole_matrices_are_alive_in_use(path: str, matrices: int) -> None:
    query, key, values = features(batch=1), features(batch=1, seed=3), pictures(25, batch=1)
    with torch.no_grad(), _Alive(POSITIONS**2) as alive:
        found = Correspondence(query, key, SIZE, 0.01, path)  # type: ignore[arg-type]
        found.unwarp(found.warp(values))
    assert alive.peak == matrices


@pytest.mark.parametrize("path", SAVING)
def test_saving_paths_hold_no_whole_matrix_in_training_either(path: str) -> None:
    query, key = features(batch=1).requires_grad_(), features(batch=1, seed=3).requires_grad_()
    values = pictures(25, batch=1)
    with _Alive(POSITIONS**2) as alive:
        found = Correspondence(query, key, SIZE, 0.01, path)  # type: ignore[arg-type]
        found.unwarp(found.warp(values)).sum().backward()
    assert alive.peak == 0


def test_memory_chooses_the_path() -> None:
    cpu = torch.device("cpu")
    assert choose_path(16, 1024, 1024, cpu, training=True) == "plain"  # the preset of 64 pixels
    assert choose_path(8, 4096, 4096, cpu) == "plain"
    assert choose_path(9, 4096, 4096, cpu) == "chunked"
    assert choose_path(8, 4096, 4096, cpu, training=True) == "chunked"
    assert Correspondence(features(), features(), SIZE).path == "plain"


def test_auto_keeps_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correspondence, "BUDGET_BYTES", 2 * 2 * POSITIONS**2 * 4 - 1)
    query, key, values = features(), features(seed=3), pictures()
    with torch.no_grad():
        found = Correspondence(query, key, SIZE)
        assert found.path == "chunked"
        wanted = Correspondence(query, key, SIZE, path="plain").warp(values)
        torch.testing.assert_close(found.warp(values), wanted, rtol=0, atol=1e-4)
        assert Correspondence(query[:1], key[:1], SIZE).path == "plain"


def test_what_makes_no_sense_is_refused() -> None:
    query, values = features(), pictures().flatten(2).mT
    with pytest.raises(InputError, match="path must be one of auto, plain"):
        attend(query, query, values, 0.01, "fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="temperature must be above 0, not 0"):
        attend(query, query, values, 0.0)
    with pytest.raises(ValueError, match="are not of"):
        Correspondence(query, query, (8, 8))
