"""Landmarks of synthetic people without drawing a picture: a frame's own, and those of the true target of a pair.

A frame's 68 landmarks depend on the few hundred vertices that carry them, so the head is cut down to these; projected,
they are the landmarks of the rendered frame to the last bits of float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.datasets.base import Clip
from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig
from reenact_zoo.faces.morphable._dense import DenseHead, HeadArrays
from reenact_zoo.faces.renderer import Camera
from reenact_zoo.methods.ldnet_fdgan.ld_training import LandmarkTable


def landmark_arrays(arrays: HeadArrays) -> HeadArrays:
    """The vertices that landmarks depend on: their own, the contour's candidates, eyeballs; no triangles."""
    used = np.zeros(len(arrays.template), bool)
    used[arrays.landmark_vertices] = used[arrays.contour_vertices.ravel()] = True
    used |= arrays.eye_of_vertex > 0
    kept = np.flatnonzero(used)
    place = np.full(len(used), -1)
    place[kept] = np.arange(len(kept))
    per_vertex = ("template", "bone_weights", "eye_of_vertex", "lid_of_vertex", "lid_gap")
    return dataclasses.replace(
        arrays,
        **{name: getattr(arrays, name)[kept] for name in per_vertex},
        shape_directions=arrays.shape_directions[:, kept],
        expression_directions=arrays.expression_directions[:, kept],
        landmark_vertices=place[arrays.landmark_vertices],
        contour_vertices=place[arrays.contour_vertices],
        triangles=arrays.triangles[:0],
        uv_triangles=arrays.uv_triangles[:0],
        regions=arrays.regions[:0],
    )


class LandmarkHead(DenseHead):
    """A head that has nothing but its landmarks; ``head`` says how its lids close."""

    name = "landmarks"
    dressed = False

    def __init__(self, head: DenseHead) -> None:
        self.blink_closes = head.blink_closes
        super().__init__(landmark_arrays(head.arrays))


@dataclass(frozen=True)
class Pairs:
    """Source rows and driving rows of a table, and what the true targets' landmarks are.

    Attributes:
        source, driving: (P,) rows of the table.
        truth: (P, 68, 2) normalised.
    """

    source: Tensor
    driving: Tensor
    truth: Tensor


class LandmarkWorld:
    """People of one split with the coefficients and landmarks of some of their frames.

    Args:
        config: which people and clips; ``split`` must name one.
        step: every ``step``-th frame of a clip is taken.

    Attributes:
        table: landmarks of the frames taken; identities are numbered from 0 in the order of the clips.
        clip: (M,) number of the clip among its person's, of each row.
    """

    def __init__(self, config: SyntheticConfig, step: int = 1) -> None:
        self._dataset = Synthetic(config)
        head = self._dataset.head
        self._layout = head.layout
        self._points, self._camera = LandmarkHead(head), Camera(head, "perspective")
        clips = self._dataset.clips
        names = {name: number for number, name in enumerate(dict.fromkeys(clip.identity for clip in clips))}
        rows = [self._dataset.coefficients(clip.name)[::step] for clip in clips]
        self.coefficients = torch.cat(rows)
        self.clip = _repeated([int(clip.name.rsplit("_", 1)[1]) for clip in clips], rows)
        self.table = LandmarkTable(
            landmarks=torch.cat([self.project(part) for part in rows]),
            identity=_repeated([names[clip.identity] for clip in clips], rows),
            frame=torch.cat([step * torch.arange(len(part)) + _offset(clip) for part, clip in zip(rows, clips)]),
        )

    @torch.no_grad()
    def project(self, coefficients: Tensor) -> Tensor:
        """Coefficients (T, K) of the full head → landmarks (T, 68, 2), normalised."""
        parts = self._layout.split(coefficients)
        shape = parts["shape"][:, : self._points.layout.shape]  # what they wear hides no landmark
        vertices = self._points.vertices(shape, parts["expression"], parts["pose"])
        points = self._points.landmarks(vertices, parts["pose"])
        return self._camera.project(self._camera.centred(points), parts["camera"])[..., :2].contiguous()

    def cross_pairs(self, count: int, seed: int = 0) -> Pairs:
        """``count`` pairs of different persons, drawn without regard to pose or expression."""
        generator = torch.Generator().manual_seed(seed)
        identity = self.table.identity
        rows = torch.randint(len(identity), (2, 2 * count), generator=generator)
        rows = rows[:, identity[rows[0]] != identity[rows[1]]][:, :count]
        mixed = self._layout.mix(self.coefficients[rows[0]], self.coefficients[rows[1]])
        return Pairs(rows[0], rows[1], torch.cat([self.project(part) for part in mixed.split(64)]))

    def shape_distance(self, pairs: Pairs) -> Tensor:
        """(P,) how different the two persons' faces are: distance of their coefficients of shape, clothes left out."""
        shape = self._layout.split(self.coefficients)["shape"][:, : self._points.layout.shape]
        return (shape[pairs.source] - shape[pairs.driving]).norm(dim=1)

    def cross_clip(self, source: int, clip_row: int, frames: int) -> tuple[Tensor, Tensor]:
        """Consecutive rows (T,) of the clip from ``clip_row`` on, and the true targets (T, 68, 2) of one source row."""
        rows = torch.arange(clip_row, clip_row + frames)
        mixed = self._layout.mix(self.coefficients[source].expand(frames, -1), self.coefficients[rows])
        return rows, self.project(mixed)


def _repeated(values: Sequence[int], rows: Sequence[Tensor]) -> Tensor:
    return torch.tensor(values).repeat_interleave(torch.tensor([len(part) for part in rows]))


def _offset(clip: Clip) -> int:
    """Frames of a person's further clips are counted on from those of the first."""
    return clip.num_frames * int(clip.name.rsplit("_", 1)[1])
