"""Dense correspondence by the cosines of features (CoCosNet; Zhang et al., CVPR 2020, arXiv:2004.05571).

q_i: feature of output position i, k_j: of input position j, both of unit length; T: temperature; s_ij = q_i . k_j / T.
F = softmax of s over j warps: F v. W = softmax of s transposed over i leads back: W v. They are two attentions: W is
not the transpose of F. Scores and softmax are float32 also under autocast: T = 0.01 makes rounding a hundredfold.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from reenact_zoo.types import InputError

Path = Literal["auto", "plain", "chunked", "scaled_dot_product"]
PATHS: tuple[Path, ...] = ("auto", "plain", "chunked", "scaled_dot_product")

BUDGET_BYTES = 1 << 30  # for matrices of all positions by all positions on a CPU
COPIES = 2  # such matrices alive at once: the scores and their softmax
COPIES_TRAINING = 6  # scores, F, W, and the gradient of each
LEAST_ROWS = 16  # of one chunk


def unit_features(maps: Tensor, centre: Literal["channels", "positions"] = "channels", kernel: int = 1) -> Tensor:
    """Maps (B, C, h, w) → features (B, h w, C kernel²), float32, each of mean 0 and length 1.

    Args:
        maps: at least two channels (of one, centring over channels leaves nothing).
        centre: subtract every position's mean over channels, or every channel's mean over positions.
        kernel: odd; a position's feature is the maps in a window of so many pixels around it, zero outside.
    """
    with torch.autocast(maps.device.type, enabled=False):
        maps = maps.float()
        columns = maps.flatten(2) if kernel == 1 else F.unfold(maps, kernel, padding=kernel // 2)
        columns = columns - columns.mean(1 if centre == "channels" else 2, keepdim=True)
        return F.normalize(columns, dim=1, eps=1e-6).mT


def choose_path(batch: int, rows: int, columns: int, device: torch.device, training: bool = False) -> Path:
    """The plain path where its matrices fit into the budget: 1 GiB, or a quarter of a GPU's memory; else one that
    never holds a whole matrix.

    Args:
        batch: samples.
        rows: output positions.
        columns: input positions.
        device: where it will run.
        training: whether gradients are kept.
    """
    cuda = device.type == "cuda"
    budget = torch.cuda.get_device_properties(device).total_memory // 4 if cuda else BUDGET_BYTES
    if 4 * batch * rows * columns * (COPIES_TRAINING if training else COPIES) <= budget:
        return "plain"
    # PyTorch's CPU kernel takes features and values of equal width only; padding costs it more than chunks do.
    return "scaled_dot_product" if cuda else "chunked"


def attend(query: Tensor, key: Tensor, values: Tensor, temperature: float, path: Path = "auto") -> Tensor:
    """Σ_j softmax_j(q_i . k_j / T) v_j, float32; all paths agree within 1e-4 of the values' range.

    Args:
        query: (B, N, C) of unit length.
        key: (B, M, C) of unit length.
        values: (B, M, V).
        temperature: T > 0.
        path: "plain" holds the scores and their softmax; "chunked" a few rows of them at a time, which are computed
            again for the gradient; "scaled_dot_product" leaves it to PyTorch's fused kernels; "auto": ``choose_path``.

    Returns:
        (B, N, V).

    Raises:
        InputError: unknown path, or a temperature that is not positive.
    """
    if path not in PATHS:
        raise InputError(f"correspondence: path must be one of {', '.join(PATHS)}, not '{path}'")
    if not temperature > 0:
        raise InputError(f"correspondence: the temperature must be above 0, not {temperature}")
    batch, rows, columns = len(query), query.shape[1], key.shape[1]
    if path == "auto":
        path = choose_path(batch, rows, columns, query.device, torch.is_grad_enabled())
    with torch.autocast(query.device.type, enabled=False):
        query, key, values = query.float(), key.float(), values.float()
        if path == "plain":
            return _plain(query, key, values, temperature)
        if path == "chunked":
            at_once = max(LEAST_ROWS, BUDGET_BYTES // (4 * COPIES * 4 * batch * columns))
            return _chunked(query, key, values, temperature, min(at_once, -(-rows // 4)))
        return _scaled_dot_product(query, key, values, temperature)


def _scores(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    return (query / temperature) @ key.mT


def _plain(query: Tensor, key: Tensor, values: Tensor, temperature: float) -> Tensor:
    return _scores(query, key, temperature).softmax(-1) @ values


def _chunked(query: Tensor, key: Tensor, values: Tensor, temperature: float, rows: int) -> Tensor:
    def part(some: Tensor, key: Tensor, values: Tensor) -> Tensor:
        with torch.autocast(some.device.type, enabled=False):  # it runs again outside of ``attend``
            return _plain(some, key, values, temperature)

    if not torch.is_grad_enabled():
        return torch.cat([part(some, key, values) for some in query.split(rows, 1)], 1)
    parts = [
        checkpoint(part, some, key, values, use_reentrant=False, preserve_rng_state=False)
        for some in query.split(rows, 1)
    ]
    return torch.cat(parts, 1)


def _scaled_dot_product(query: Tensor, key: Tensor, values: Tensor, temperature: float) -> Tensor:
    # Fused kernels want features and values of one width, on GPUs a multiple of 8; zeros change no score.
    width = -(-max(query.shape[-1], values.shape[-1]) // 8) * 8
    q, k, v = (F.pad(x, (0, width - x.shape[-1])).unsqueeze(1) for x in (query, key, values))
    return F.scaled_dot_product_attention(q, k, v, scale=1 / temperature)[:, 0, :, : values.shape[-1]]


class Correspondence:
    """Where every position of one picture finds its colours in another.

    Args:
        query: (B, h w, C) features of the picture that is made, see ``unit_features``.
        key: (B, h w, C) features of the picture whose colours are taken.
        size: (h, w).
        temperature: T.
        path: as in ``attend``.

    Attributes:
        features: the two given ones.
        path: the one in use, never "auto".
    """

    def __init__(
        self, query: Tensor, key: Tensor, size: tuple[int, int], temperature: float = 0.01, path: Path = "auto"
    ) -> None:
        if query.shape != key.shape or query.shape[1] != size[0] * size[1]:
            raise ValueError(f"features {tuple(query.shape)} and {tuple(key.shape)} are not of {size} positions")
        self.features = query, key
        self.size, self.temperature = size, temperature
        self.path: Path = path
        if path == "auto":
            self.path = choose_path(len(query), query.shape[1], key.shape[1], query.device, torch.is_grad_enabled())
        self._scores: Tensor | None = None

    def warp(self, pictures: Tensor) -> Tensor:
        """F x: pictures (B, C, H, W), averaged down to (h, w) first → (B, C, h, w), float32."""
        return self._moved(pictures, back=False)

    def unwarp(self, pictures: Tensor) -> Tensor:
        """W x, the way back: pictures (B, C, H, W) of the made one's positions → (B, C, h, w) of the other's."""
        return self._moved(pictures, back=True)

    def weights(self, back: bool = False) -> Tensor:
        """F, or W for the way ``back``: (B, h w, h w), rows non-negative with sum 1."""
        query, key = self.features[::-1] if back else self.features
        with torch.autocast(query.device.type, enabled=False):
            return _scores(query.float(), key.float(), self.temperature).softmax(-1)

    def _moved(self, pictures: Tensor, back: bool) -> Tensor:
        values = self._columns(pictures)
        if self.path == "plain" and torch.is_grad_enabled():
            moved = self._plain_once(values, back)
        else:
            query, key = self.features[::-1] if back else self.features
            moved = attend(query, key, values, self.temperature, self.path)
        maps: Tensor = moved.mT.unflatten(2, self.size)
        return maps

    def _columns(self, pictures: Tensor) -> Tensor:
        pictures = pictures.float()
        if pictures.shape[-2:] != self.size:
            pictures = F.adaptive_avg_pool2d(pictures, self.size)
        return pictures.flatten(2).mT

    def _plain_once(self, values: Tensor, back: bool) -> Tensor:
        """Training goes there and back: one product serves both, at the price of keeping it."""
        with torch.autocast(values.device.type, enabled=False):
            if self._scores is None:
                query, key = self.features
                self._scores = _scores(query.float(), key.float(), self.temperature)
            scores = self._scores.mT if back else self._scores
            return scores.softmax(-1) @ values
