"""The discriminator: residual blocks to one score, by person where training identities are numbered.

The projection form (Miyato and Koyama, ICLR 2018, arXiv:1802.05637): the score is a linear one plus the inner product
of the pooled map with a learned vector of the person, which the identity embedding is drawn to.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from reenact_zoo.methods.latent_pose.generator import CONSTANT_SIDE, EPS
from reenact_zoo.types import InputError

VECTOR_RANGE = 0.1  # fresh vectors of persons are uniform in +- this, as in the released code


class ScoringBlock(nn.Module):
    """Residual block without normalisation: twice ReLU and a 3x3 convolution, then the mean of 2x2 pixels.

    Args:
        before: channels that come in.
        after: channels that go out.
        down: halve the side.
        first: its input is a picture, which is not passed through ReLU.
    """

    def __init__(self, before: int, after: int, down: bool = True, first: bool = False) -> None:
        super().__init__()
        self._down, self._first = down, first
        self.one = spectral_norm(nn.Conv2d(before, after, 3, padding=1), eps=EPS)
        self.two = spectral_norm(nn.Conv2d(after, after, 3, padding=1), eps=EPS)
        plain = before == after and not down
        self.around = nn.Identity() if plain else spectral_norm(nn.Conv2d(before, after, 1), eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H / 2, W / 2), or of the same size where it does not halve."""
        inner = self.two(F.relu(self.one(x if self._first else F.relu(x))))
        total: Tensor = inner + self.around(x)
        return F.avg_pool2d(total, 2) if self._down else total


class Discriminator(nn.Module):
    """Image (B, 3, H, W) → a score each, and the maps of all blocks.

    Args:
        image_size: side of the images, a power of two.
        base: channels of the first block; they double up to ``cap``.
        cap: channels at most.
        identity_size: channels of the last block and length of a person's vector.
        identities: persons; 0: none are told apart.
    """

    def __init__(self, image_size: int, base: int, cap: int, identity_size: int, identities: int = 0) -> None:
        super().__init__()
        halvings = (image_size // CONSTANT_SIDE).bit_length() - 1
        widths = [min(base * 2**i, cap) for i in range(halvings)]
        blocks = [ScoringBlock(3, widths[0], first=True)]
        blocks += [ScoringBlock(before, after) for before, after in itertools.pairwise(widths)]
        self.blocks = nn.ModuleList([*blocks, ScoringBlock(widths[-1], identity_size, down=False)])
        self.linear = spectral_norm(nn.Linear(identity_size, 1), eps=EPS)
        self.persons: nn.Module | None = None
        if identities:
            vectors = nn.Embedding(identities, identity_size)
            nn.init.uniform_(vectors.weight, -VECTOR_RANGE, VECTOR_RANGE)
            self.persons = spectral_norm(vectors, eps=EPS)
        self._identities = identities

    def vectors(self, labels: Tensor) -> Tensor | None:
        """Labels (B,) int64 → the persons' vectors (B, E); None where persons are not told apart.

        Raises:
            InputError: a label beyond the number of identities.
        """
        if self.persons is None:
            return None
        if int(labels.max()) >= self._identities:
            raise InputError(
                f"latent_pose: the training data has identity number {int(labels.max())}, but the discriminator "
                f"knows {self._identities}; set identities to the number of people, or to 0"
            )
        found: Tensor = self.persons(labels)
        return found

    def forward(self, images: Tensor, vectors: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Images (B, 3, H, W) in [0, 1], vectors (B, E) of the persons → scores (B,), maps (B, C, h, w)."""
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        pooled = F.relu(images).sum((2, 3))
        score: Tensor = self.linear(pooled)[:, 0]
        return (score if vectors is None else score + (pooled * vectors).sum(1)), maps
