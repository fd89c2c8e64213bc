"""Dictionaries: what a picture looks like, stored by meaning instead of place, and read from wherever it is needed.

A writer has one learned key per slot; a slot's value is the mean of the picture's features over the places whose query
answers its key. A reader's places find slots by keys of its own. So the cost grows with places times slots.
Scores are cosines over a learned temperature that starts at 0.1: with plain products of small random keys every slot
attends everywhere alike, and hardly any gradient comes through.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.ops.coordinates import identity_grid

START_TEMPERATURE = 0.1
LOWEST, HIGHEST = 0.01, 1.0
OCTAVES = (1, 2, 4)
NUM_PLACES = 2 + 4 * len(OCTAVES)


def places(height: int, width: int, like: Tensor) -> Tensor:
    """(NUM_PLACES, H, W): x, y, and sine and cosine of both in three octaves; how a query knows where it stands."""
    grid = identity_grid(height, width, device=like.device).permute(2, 0, 1)
    waves = [wave(math.pi * octave * grid) for octave in OCTAVES for wave in (torch.sin, torch.cos)]
    return torch.cat([grid, *waves]).to(like.dtype)


class Address(nn.Module):
    """How well each slot and each place go together.

    Args:
        channels: of the features.
        slots: how many keys; they start orthogonal, or as near to it as their number allows.
        key_dim: length of keys and queries.

    Attributes:
        temperature: what cosines are divided by.
    """

    def __init__(self, channels: int, slots: int, key_dim: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels + NUM_PLACES, key_dim, 1)
        self.keys = nn.Parameter(nn.init.orthogonal_(torch.empty(slots, key_dim)))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(START_TEMPERATURE)))

    @property
    def temperature(self) -> Tensor:
        """Scalar in [0.01, 1]."""
        return self.log_temperature.clamp(math.log(LOWEST), math.log(HIGHEST)).exp()

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, H, W) → scores (B, slots, H * W), float32."""
        where = places(x.shape[-2], x.shape[-1], x).expand(len(x), -1, -1, -1)
        query = self.query(torch.cat([x, where], 1)).flatten(2).float()
        # What all places have in common would make every cosine alike.
        query = F.normalize(query - query.mean(2, keepdim=True), dim=1)
        with torch.autocast(x.device.type, enabled=False):
            return F.normalize(self.keys.float(), dim=1) @ query / self.temperature


class DictionaryWriter(nn.Module):
    """Features of a picture → one value per slot.

    Args:
        channels: of the features and of the values.
        slots: entries of the dictionary.
        key_dim: length of keys and queries.

    Attributes:
        entropy: of the slots' attention over places in the last training batch's first picture, as a share of the
            largest there can be: 1 says that the slots cannot be told apart.
    """

    def __init__(self, channels: int, slots: int, key_dim: int) -> None:
        super().__init__()
        self.address = Address(channels, slots, key_dim)
        self.value = nn.Conv2d(channels, channels, 1)
        self.entropy: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → values (B, slots, C); V_n = sum_p a_np v_p with a softmax over places p."""
        weights: Tensor = self.address(x).softmax(2)
        if self.training:
            self.entropy = entropy(weights[:1], 2)
        return weights @ self.value(x).flatten(2).mT.to(weights.dtype)


class DictionaryReader(nn.Module):
    """Features that ask, and a dictionary → what each place reads.

    Args:
        channels: of the features that ask.
        slots: entries of the dictionary.
        key_dim: length of keys and queries.

    Attributes:
        entropy: as the writer's, of the places' attention over slots.
        usage: of the mean attention over slots; near 0 says that all places read the same slot.
    """

    def __init__(self, channels: int, slots: int, key_dim: int) -> None:
        super().__init__()
        self.address = Address(channels, slots, key_dim)
        self.entropy: Tensor | None = None
        self.usage: Tensor | None = None

    def forward(self, x: Tensor, values: Tensor) -> Tensor:
        """(B, C, H, W) and values (B, slots, V) → (B, V, H, W); out_p = sum_n b_pn V_n with b softmax over slots n."""
        weights: Tensor = self.address(x).softmax(1)
        if self.training:
            self.entropy = entropy(weights[:1], 1)
            self.usage = entropy(weights[:1].mean(2), 1)
        return (values.to(weights.dtype).mT @ weights).unflatten(2, x.shape[-2:])


@torch.no_grad()
def entropy(weights: Tensor, dim: int) -> Tensor:
    """Mean entropy along an axis over which weights sum to 1, as a share of the largest: 0 one-hot, 1 uniform."""
    nats = -(weights * weights.clamp(min=1e-12).log()).sum(dim).mean()
    return nats / math.log(weights.shape[dim])
