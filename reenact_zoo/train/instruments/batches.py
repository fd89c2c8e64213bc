"""Batches of crops from rendered heads: put before a background, cut as an instrument would cut them, then changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces import synthetic_crop
from reenact_zoo.faces.synthetic_crop import SIZE as CROP
from reenact_zoo.train.instruments.appearance import Strength, changed


def _mirrored_points() -> Tensor:
    """(68,) where each iBUG point goes in the mirror image."""
    order = torch.arange(68)
    chains = (range(17), range(17, 27), range(31, 36), range(48, 55), range(60, 65))
    for chain in chains:
        order[list(chain)] = torch.tensor(list(chain)[::-1])
    for left, right in ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46), (59, 55), (58, 56), (67, 65)):
        order[left], order[right] = right, left
    return order


def mirrored_actions(actions: Sequence[str]) -> Tensor:
    """(53,) where each facial action goes in the mirror image; names in the order of the head model."""
    sides = {"_L": "_R", "_R": "_L", "Left": "Right", "Right": "Left"}
    names = []
    for name in actions:
        end = next((old for old in sides if name.endswith(old)), "")
        names.append(name.removesuffix(end) + sides[end] if end else name)
    return torch.tensor([list(actions).index(name) for name in names])


MIRRORED_POINTS = _mirrored_points()
MIRRORED_CLASSES = torch.tensor([0, 1, 3, 2, 5, 4, 6, 8, 7, *range(9, 19)])  # brows, eyes, ears change sides
REUSE, POOL = 3, 4
"""Making a crop costs half as much as learning from it: each is seen ``REUSE`` times, mixed with ``POOL`` batches."""
Cutter = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Cut:
    """How crops are taken.

    Attributes:
        matrices: function of ``synthetic_crop`` from landmarks (B, 68, 2) px to matrices (B, 2, 3).
        noise: deviation of every landmark, in shares of their box: instruments get estimated points.
        shift, scale: largest displacement in crop sides, and largest log of the size.
        turn_deg: largest rotation in the plane.
        mirror: whether half of the crops are mirrored.
    """

    matrices: Cutter
    noise: float = 0.02
    shift: float = 0.05
    scale: float = 0.1
    turn_deg: float = 0.0
    mirror: bool = True


@dataclass
class Batch:
    """Crops with their truth in the crop's own frame."""

    rows: Tensor
    """(B,) which records."""
    crops: Tensor
    """(B, 3, 64, 64) RGB in [0, 1]."""
    plain: Tensor
    """(B, 3, 64, 64) the same before light, colour and camera were changed."""
    matrices: Tensor
    """(B, 2, 3) px of the record to px of the crop, before mirroring."""
    mirrored: Tensor
    """(B,) bool."""
    turned_deg: Tensor
    """(B,) counter-clockwise turn that was added."""
    points: Tensor
    """(B, 68, 2) in [-1, 1] of the crop."""
    labels: Tensor | None = None
    """(B, 64, 64) int64 parsing classes."""

    def chosen(self, rows: Tensor) -> Batch:
        """Some of the crops."""
        return Batch(*(None if value is None else value[rows] for value in self._values()))  # type: ignore[arg-type]

    def joined(self, other: Batch) -> Batch:
        """These crops, then the others."""
        pairs = zip(self._values(), other._values())
        return Batch(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))  # type: ignore[arg-type]

    def _values(self) -> list[Tensor | None]:
        return [getattr(self, f.name) for f in fields(self)]


@dataclass
class Batcher:
    """Draws batches from records.

    Args:
        records: fields of ``renders.record_type`` as tensors.
        scenes: (N, 3, S, S) uint8 backgrounds.
        cut, strength: geometry and appearance.
        seed: of everything random.
    """

    records: dict[str, Tensor]
    scenes: Tensor
    cut: Cut
    strength: Strength = field(default_factory=Strength)
    seed: int = 0

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self._pool: Batch | None = None
        self._draws = 0

    def __len__(self) -> int:
        return len(self.records["person"])

    def draw(self, count: int, labels: bool = False) -> Batch:
        """``count`` crops of random records, some of them seen in the draws before; always ask for the same number."""
        if self._pool is None or self._draws % REUSE == 0:
            fresh = self.take(torch.randint(len(self), (count,), generator=self.generator), labels)
            keep = torch.arange(0 if self._pool is None else min(len(self._pool.rows), (POOL - 1) * count))
            self._pool = fresh if self._pool is None else fresh.joined(self._pool.chosen(keep))
        self._draws += 1
        return self._pool.chosen(torch.randperm(len(self._pool.rows), generator=self.generator)[:count])

    def take(self, rows: Tensor, labels: bool = False) -> Batch:
        """Crops of these records."""
        size = self.records["matte"].shape[-1]
        points_px = ((self.records["landmarks"][rows] + 1) * size - 1) / 2
        matrices, turned = self._matrices(points_px)
        head = torch.cat([self.records["premultiplied"][rows], self.records["matte"][rows][..., None]], dim=-1)
        layers = _cut(head.permute(0, 3, 1, 2).float() / 255, matrices)
        crops = (layers[:, :3] + (1 - layers[:, 3:]) * self._backgrounds(len(rows))).clamp(0, 1)
        points = synthetic_crop.points_to_crop(points_px, matrices)
        classes = _labels(self.records["labels"][rows], matrices) if labels else None
        mirrored = torch.rand(len(rows), generator=self.generator) < (0.5 if self.cut.mirror else 0.0)
        crops = torch.where(mirrored[:, None, None, None], crops.flip(3), crops)
        flipped = points[:, MIRRORED_POINTS] * points.new_tensor([-1.0, 1.0])
        points = torch.where(mirrored[:, None, None], flipped, points)
        if classes is not None:
            classes = torch.where(mirrored[:, None, None], MIRRORED_CLASSES[classes].flip(2), classes)
        textures = self._backgrounds(16)
        seen = changed(crops, textures, self.strength, self.generator)
        return Batch(rows, seen, crops, matrices, mirrored, turned, points, classes)

    def empty(self, count: int) -> Tensor:
        """(count, 3, 64, 64) crops without a face."""
        textures = self._backgrounds(count)
        return changed(textures, textures, self.strength, self.generator)

    def _matrices(self, points_px: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices as from estimated points, then moved, scaled and turned about the crop's middle."""
        cut, count = self.cut, len(points_px)
        span = (points_px.amax(1) - points_px.amin(1)).amax(1)[:, None, None]
        noise = torch.randn(points_px.shape, generator=self.generator)
        # half of the noise moves all points alike: estimates are off together
        common = torch.randn(count, 1, 2, generator=self.generator)
        matrices = cut.matrices(points_px + cut.noise * span * (0.7 * noise + 0.7 * common))
        draw = 2 * torch.rand(4, count, generator=self.generator) - 1
        turned = cut.turn_deg * draw[0]
        angle, scale = torch.deg2rad(turned), (cut.scale * draw[1]).exp()
        c, s = scale * angle.cos(), scale * angle.sin()
        linear = torch.stack([c, s, -s, c], -1).unflatten(-1, (2, 2))  # y points down: counter-clockwise for the eye
        middle = (CROP - 1) / 2
        offset = linear @ (matrices[:, :, 2:] - middle) + middle + (cut.shift * CROP * draw[2:].T)[..., None]
        return torch.cat([linear @ matrices[:, :, :2], offset], -1), turned

    def _backgrounds(self, count: int) -> Tensor:
        """(count, 3, 64, 64): random windows of random scenes, one in five a plain colour."""
        chosen = torch.randint(len(self.scenes), (count,), generator=self.generator)
        side = self.scenes.shape[-1]
        span = side * (0.35 + 0.65 * torch.rand(count, generator=self.generator))
        low = torch.rand(count, 2, generator=self.generator) * (side - span)[:, None]
        matrices = synthetic_crop.square_matrices(low + span[:, None] / 2, span)
        images = _cut(self.scenes[chosen].float() / 255, matrices)
        colour = torch.rand(count, 3, 1, 1, generator=self.generator)
        plain = torch.rand(count, 1, 1, 1, generator=self.generator) < 0.2
        return torch.where(plain, colour.expand_as(images), images)


def _grid(matrices: Tensor, size: int) -> Tensor:
    centres = torch.arange(CROP).float()
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    points = torch.stack([x, y], -1).reshape(1, -1, 2) - matrices[:, None, :, 2]
    points = points @ torch.linalg.inv(matrices[:, :, :2]).mT
    return ((2 * points + 1) / size - 1).reshape(len(matrices), CROP, CROP, 2)


def _cut(images: Tensor, matrices: Tensor) -> Tensor:
    """As ``synthetic_crop.sample`` at one sample per pixel: the records are hardly larger than the crops."""
    grid = _grid(matrices, images.shape[-1])
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _labels(labels: Tensor, matrices: Tensor) -> Tensor:
    grid = _grid(matrices, labels.shape[-1])
    out = F.grid_sample(labels[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return out[:, 0].long()


def turned_rotation(rotation: Tensor, batch: Batch) -> Tensor:
    """True rotations (B, 3, 3) of the records → what the crops show."""
    angle = torch.deg2rad(batch.turned_deg)
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    shown = turn @ rotation
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    return torch.where(batch.mirrored[:, None, None], mirror[:, None] * shown * mirror, shown)


def mirrored_expression(actions: Tensor, batch: Batch, order: Tensor) -> Tensor:
    """Activations (B, 53) of the records → what the crops show; ``order`` by ``mirrored_actions``."""
    return torch.where(batch.mirrored[:, None], actions[:, order], actions)
