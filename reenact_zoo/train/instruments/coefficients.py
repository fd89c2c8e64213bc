"""E_3D: coefficients of the reduced head, weighted by what each does to the picture rather than by its own size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable._dense import DenseHead
from reenact_zoo.faces.morphable.reduced import ReducedHead
from reenact_zoo.faces.networks.synthetic_coefficients import SyntheticCoefficients
from reenact_zoo.faces.renderer import Camera, Renderer
from reenact_zoo.faces.synthetic_crop import camera_to_crop, camera_to_frame, face_crop, face_matrices
from reenact_zoo.train.instruments.appearance import Strength
from reenact_zoo.train.instruments.batches import Batcher, Cut
from reenact_zoo.train.instruments.expression_code import (
    displacement_gram,
    face_vertices,
    face_width_cm,
    leading_root,
)
from reenact_zoo.train.instruments.held_out import SIZES, HeldOut
from reenact_zoo.train.instruments.landmarks import landmark_errors
from reenact_zoo.train.instruments.task import Task, in_parts

LIGHT_BANDS = (1.0, 0.6, 0.6, 0.6, 0.25, 0.25, 0.25, 0.25, 0.25)  # how much a band changes a diffuse surface
WEIGHTS = {"shape": 1.0, "expression": 2.0, "texture": 0.2, "light": 2.0, "pose": 0.1, "camera": 0.1}
WEIGHTS |= {"points": 0.3, "landmarks": 20.0}  # vertices in % of the frame, heat maps in half crop sides
PICTURES = 24  # rendered again from what was found
_POINTS = 160  # vertices of the face besides the landmarks


class Geometry:
    """A few vertices of a head by matrix products: fast enough for every batch. Eyes and lids move linearly here."""

    def __init__(self, head: DenseHead) -> None:
        face = torch.from_numpy(face_vertices(head))
        inner = torch.from_numpy(head.arrays.landmark_vertices[17:])
        index = torch.cat([inner, face[:: max(1, len(face) // _POINTS)]])
        self._template = head.template[index]
        self._shape = head._shape.unflatten(1, (-1, 3))[:, index]
        self._expression = head._expression.unflatten(1, (-1, 3))[:, index]
        self._head, self._camera = head, Camera(head, "perspective")

    def project(self, coefficients: Tensor) -> Tensor:
        """(B, K) → (B, N, 2) normalised in the frame whose camera is among the coefficients."""
        parts = self._head.layout.split(coefficients)
        moved = self._template + torch.einsum("bk,knc->bnc", parts["shape"], self._shape)
        moved = moved + torch.einsum("bk,knc->bnc", parts["expression"], self._expression)
        neck, turn = (self._head.head_rotation(_only(parts["pose"], which)) for which in ("neck", "head"))
        p_neck, p_head = self._head._pivots
        posed = ((moved - p_head) @ turn.mT + p_head - p_neck) @ neck.mT + p_neck
        return self._camera.project(self._camera.centred(posed), parts["camera"])[..., :2]


def _only(pose: Tensor, which: str) -> Tensor:
    """Pose with the other joint at rest."""
    keep = torch.zeros(9)
    keep[slice(0, 3) if which == "head" else slice(3, 6)] = 1
    return pose * keep


class Coefficients(Task):
    """Entry "synthetic_coefficients"."""

    name = "synthetic_coefficients"
    share, batch_size = 1.3, 32  # small batches: training ends long before it has made enough updates
    architecture = "residual: 16, 40, 96 channels at 32, 16, 8 pixels; 68 points by heat maps -> 120"
    preprocessing = "64x64 RGB in [0, 1], synthetic_crop.face_crop"
    meaning = "coefficients of head 'ict_reduced', the camera the crop's (camera_to_frame converts it)"

    def __init__(self, records: dict[str, Tensor], scenes: Tensor, head: DenseHead, seed: int) -> None:
        torch.manual_seed(seed)
        self.network, self.extra = SyntheticCoefficients(), nn.Module()
        reduced = load_head(f"{head.name}_reduced")
        assert isinstance(reduced, ReducedHead)
        self._head, self._geometry = reduced, Geometry(reduced)
        self._true = records["reduced"]
        cut = Cut(face_matrices, noise=0.02, shift=0.06, scale=0.12, mirror=False)
        self.batches = Batcher(records, scenes, cut, Strength(light=0.3, colour=0.25, cover=0.4, camera=0.4), seed)
        self._roots = self._metric_roots()
        in_crops = torch.cat([self._targets(self.batches.draw(256)) for _ in range(8)])
        self.network.mean.copy_(in_crops.mean(0))  # type: ignore[operator]
        self.network.std.copy_(in_crops.std(0).clamp(min=1e-3))  # type: ignore[operator]

    def _metric_roots(self) -> dict[str, Tensor]:
        """By kind a matrix whose product with a difference has the length of what is seen of it, in %."""
        reduced, width = self._head, face_width_cm(self._head)
        vertices = face_vertices(reduced)
        directions = {"shape": reduced.arrays.shape_directions, "expression": reduced.arrays.expression_directions}
        roots = {kind: leading_root(displacement_gram(d, vertices, width), len(d)) for kind, d in directions.items()}
        roots["texture"] = torch.diag(100 * reduced._basis.square().mean(1).sqrt())
        roots["light"] = torch.diag(torch.tensor(LIGHT_BANDS).repeat_interleave(3))
        roots["camera"] = 100 * torch.eye(3)
        return roots

    def _targets(self, batch: Any) -> Tensor:
        """True coefficients (B, 120) with the crops' camera."""
        true = self._true[batch.rows].clone()
        parts = self._head.layout.split(true)
        size = self.batches.records["matte"].shape[-1]
        parts["camera"].copy_(camera_to_crop(parts["camera"], batch.matrices, size))
        return true

    def losses(self) -> dict[str, Tensor]:
        """Every kind in its own visible unit, and where the vertices land."""
        batch = self.batches.draw(self.batch_size)
        true = self._targets(batch)
        found, marks = self.network.coefficients_and_points(batch.crops)  # type: ignore[operator]
        losses = {name: WEIGHTS[name] * value for name, value in self._misses(found, true).items()}
        landed = (self._geometry.project(found) - self._geometry.project(true)).norm(dim=-1)
        inside = (batch.points.abs() < 1).all(-1).float()
        seen = ((marks - batch.points).norm(dim=-1) * inside).mean()
        return {**losses, "points": WEIGHTS["points"] * 100 * landed.mean(), "landmarks": WEIGHTS["landmarks"] * seen}

    def _misses(self, found: Tensor, true: Tensor) -> dict[str, Tensor]:
        difference = self._head.layout.split(found - true)
        misses = {
            kind: (difference[kind] @ root.T).square().sum(1).clamp(min=1e-8).sqrt().mean()
            for kind, root in self._roots.items()
        }
        return {**misses, "pose": difference["pose"].abs().mean(1).mean() * 3}

    def held_out(self, data: HeldOut) -> dict[str, Any]:
        """Misses by kind beside those of the mean, landmarks, and pictures rendered again."""
        out: dict[str, Any] = {}
        mean = data.reduced.mean(0).expand_as(data.reduced)
        misses = self._misses(mean, data.reduced)
        out["misses_of_the_mean"] = {kind: round(float(v), 3) for kind, v in misses.items() if kind != "camera"}
        for size in SIZES:
            found = self.estimate(data, size)
            missed = {kind: round(float(v), 3) for kind, v in self._misses(found, data.reduced).items()}
            points = torch.cat([self._landmarks(part) for part in found.split(64)])
            placed = landmark_errors(((points + 1) * size - 1) / 2, data.landmarks_px(size))
            out[f"frames_{size}_px"] = {"misses": missed, "landmarks": placed, **self._rendered(found, data, size)}
        return out

    def estimate(self, data: HeldOut, size: int) -> Tensor:
        """(N, 120) with the frames' camera."""
        crops, matrices = face_crop(data.picture(size), data.landmarks_px(size))
        found = in_parts(self.network, crops).clone()
        camera = self._head.layout.split(found)["camera"]
        camera.copy_(camera_to_frame(camera, matrices, size))
        return found

    def _landmarks(self, coefficients: Tensor) -> Tensor:
        parts = self._head.layout.split(coefficients)
        camera = Camera(self._head, "perspective")
        posed = self._head.vertices(parts["shape"], parts["expression"], parts["pose"])
        points = camera.centred(self._head.landmarks(posed, parts["pose"]))
        return camera.project(points, parts["camera"])[..., :2]

    def _rendered(self, found: Tensor, data: HeldOut, size: int) -> dict[str, float]:
        """Mean absolute difference of renders of the reduced head, over what either shows of it."""
        rows = torch.linspace(0, len(found) - 1, PICTURES).long()
        renderer = Renderer(self._head, size)
        ours, truth = renderer.render(found[rows]), renderer.render(data.reduced[rows])
        shown = torch.maximum(ours.alpha, truth.alpha)
        both = torch.minimum(ours.alpha, truth.alpha)
        difference = ((ours.premultiplied - truth.premultiplied).abs() * shown).sum() / (3 * shown.sum())
        return {"render_l1": round(float(difference), 4), "matte_iou": round(float(both.sum() / shown.sum()), 4)}
