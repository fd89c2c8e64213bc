"""Identity embedders: CosFace over the people of a world (Wang et al., CVPR 2018), judged by verification."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.networks.synthetic_embedding import DIMENSIONS, SyntheticIdentityJudge, SyntheticIdentityTrain
from reenact_zoo.faces.synthetic_crop import identity_crop, identity_matrices
from reenact_zoo.train.instruments.appearance import Strength
from reenact_zoo.train.instruments.batches import Batcher, Cut
from reenact_zoo.train.instruments.held_out import SIZES, HeldOut
from reenact_zoo.train.instruments.task import Task, in_parts

SCALE, MARGIN = 32.0, 0.3
WARM_UP = 400  # updates over which the margin grows: at once it would push all people to one point


class CosFace(nn.Module):
    """Cross entropy over scaled cosines to one centre per person, the true one lowered by the margin; eq. (4)."""

    warmth: Tensor

    def __init__(self, people: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(people, DIMENSIONS) * 0.05)
        self.register_buffer("warmth", torch.zeros(()))

    def forward(self, embedding: Tensor, person: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 128) of unit length, (B,) → loss and the share of people that are recognised without margin."""
        self.warmth.add_(1 / WARM_UP).clamp_(max=1.0)
        margin = MARGIN * self.warmth
        cosines = embedding @ F.normalize(self.centres).T
        lowered = cosines - margin * F.one_hot(person, len(self.centres))
        right = (cosines.argmax(1) == person).float().mean()
        return F.cross_entropy(SCALE * lowered, person), right


class _Identity(Task):
    share = 1.35
    weight_decay = 2e-3
    preprocessing = "64x64 RGB in [0, 1], synthetic_crop.identity_crop (five-point similarity)"
    meaning = "128 numbers of unit length; cosines tell synthetic people apart"
    kind: ClassVar[type[nn.Module]]

    def __init__(self, records: dict[str, Tensor], scenes: Tensor, head: DenseHead, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = self.kind()
        self.extra = CosFace(int(records["person"].max()) + 1)
        self._person = records["person"]
        # colour is part of who somebody is, but light and camera colour it too
        cut = Cut(identity_matrices, noise=0.02, shift=0.03, scale=0.06, turn_deg=6)
        self.batches = Batcher(records, scenes, cut, Strength(colour=0.7, cover=0.6), seed)

    def losses(self) -> dict[str, Tensor]:
        """See the base class."""
        batch = self.batches.draw(self.batch_size)
        loss, right = self.extra(self.network(batch.crops), self._person[batch.rows])
        return {"cosface": loss, "_recognised": right}

    def held_out(self, data: HeldOut) -> dict[str, Any]:
        """Verification at 64 and 128 pixels, pairs within a clip left out."""
        return {f"frames_{size}_px": verification(self.embed(data, size), data) for size in SIZES}

    def embed(self, data: HeldOut, size: int) -> Tensor:
        """(N, 128) at the true landmarks."""
        return in_parts(self.network, identity_crop(data.picture(size), data.landmarks_px(size)))


def verification(embedding: Tensor, data: HeldOut) -> dict[str, float | int]:
    """Cosines of frames of other clips of a person (another light, another place) against those between people."""
    cosines = embedding @ embedding.T
    same = data.person[:, None] == data.person
    other_clip = data.clip[:, None] != data.clip
    above = torch.ones_like(same).triu(1)
    within, between = cosines[same & other_clip & above], cosines[~same & above]
    thresholds = torch.linspace(-1, 1, 2001)
    accepted = torch.searchsorted(within.sort().values, thresholds) / len(within)  # share below: rejected genuine
    passed = 1 - torch.searchsorted(between.sort().values, thresholds) / len(between)
    best = int((accepted + passed).argmin())
    equal = int((accepted - passed).abs().argmin())
    return {
        "pairs_within": len(within),
        "pairs_between": len(between),
        "cosine_within": _rounded(within.mean()),
        "cosine_between": _rounded(between.mean()),
        "verification_accuracy_balanced": _rounded(1 - (accepted + passed)[best] / 2),
        "best_threshold": _rounded(thresholds[best]),
        "equal_error_rate": _rounded((accepted + passed)[equal] / 2),
    }


def _rounded(value: Tensor) -> float:
    return round(float(value), 4)


class IdentityTrain(_Identity):
    """Entry "synthetic_identity_train"."""

    name, world, kind = "synthetic_identity_train", "train", SyntheticIdentityTrain
    architecture = "residual: 16, 40, 96 channels at 32, 16, 8 pixels -> 128"


class IdentityJudge(_Identity):
    """Entry "synthetic_identity_judge"."""

    name, world, kind = "synthetic_identity_judge", "judge", SyntheticIdentityJudge
    architecture = "plain with gated channels, PReLU, max pooling: 20, 48, 96 channels -> 128"
