"""The 3D-guided face proxy editor of DCG-GAN: C = E_3D(I), C_r = mix(C_s, C_d), and the renders P_s and P_r.

C_r takes camera, pose and expression from the driving frame, shape, texture and light from the source. P is drawn on
black. Nothing here is trained, and no gradient passes: E_3D is fixed, so P_s and P_r are inputs of the networks.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from reenact_zoo.faces.coefficients import LAYOUT as SYNTHETIC_LAYOUT
from reenact_zoo.faces.coefficients import SyntheticCoefficients
from reenact_zoo.faces.morphable import CoefficientLayout, HeadModel, load_head
from reenact_zoo.faces.morphable.reduced import ReducedHead
from reenact_zoo.faces.renderer import Renderer
from reenact_zoo.methods.dcg_gan.proxy_head import ProxyHead
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.weights.store import WeightStore

TEXELS = 128  # side of a reduced head's albedo
MOST_GROWTH = 1.5  # of a head that is put onto landmarks
REDUCED = {"bundled": "ict_reduced"}  # whose coefficients have the same meaning

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proxy:
    """A rendered head without hair and background.

    Attributes:
        image: (B, 3, S, S) RGB in [0, 1] on black.
        landmarks: (B, 68, 2) normalised: the head model's own points, projected.
        parsing: (B, 19, S, S) share of every class in the pixel, BiSeNet's order; what is not head is background.
    """

    image: Tensor
    landmarks: Tensor
    parsing: Tensor

    def rows(self, part: slice) -> Proxy:
        """Some of the batch."""
        return Proxy(self.image[part], self.landmarks[part], self.parsing[part])


class Drawer(Protocol):
    """A head model, what estimates its coefficients, and how it is drawn.

    Attributes:
        name: of the head, as in the configuration.
        layout: of its coefficients.
        pose_unit: radians per unit of its pose coefficients.
        instruments: weight entries that ``estimate`` runs.
    """

    name: str
    layout: CoefficientLayout
    pose_unit: float
    instruments: tuple[str, ...]

    def estimate(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W), (B, 68, 2) px → (B, K) of the whole frame; differentiable in the images."""

    def accept(self, coefficients: Tensor, landmarks_px: Tensor, size: int) -> Tensor | None:
        """A batch's coefficients (B, L) as this head's (B, K) of a frame of ``size``; None where they are not its."""

    def points(self, coefficients: Tensor) -> Tensor:
        """(B, K) → (B, 68, 2) normalised: the landmarks of P without drawing it."""

    def draw(self, coefficients: Tensor) -> Proxy:
        """(B, K) → P."""


class SyntheticDrawer:
    """A head of scanned or made shapes under E_3D of the synthetic people.

    Args:
        name: "bundled", "ict_reduced" or "procedural_reduced".
        size: side of the frames.
        store: where weights lie.
        device: where it runs.
        from_full: also take coefficients of the full head that made a synthetic data set; needs its files.

    Raises:
        WeightsMissing: "ict_reduced", or ``from_full``, without the weight entry ict_facekit.
    """

    pose_unit = math.pi / 180

    def __init__(
        self, name: str, size: int, store: WeightStore | None, device: torch.device, from_full: bool = False
    ) -> None:
        self.name, self._store, self._device, self._from_full = name, store, device, from_full
        self._head = _head(name) if device.type == "cpu" else _head(name).to(device)
        self.layout = self._head.layout
        self.instruments = SyntheticCoefficients.weights
        # Two samples per pixel side, so that edges do not jump from frame to frame. No shadows: they would take most
        # of the time, and E_3D's light is too coarse for them to fall right.
        self._renderer = Renderer(self._head, size, supersample=2, shadows=False, texture_size=TEXELS)
        self._network: SyntheticCoefficients | None = None

    def estimate(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """See ``Drawer``; the procedural head gets no shape and no texture, which have no counterpart there."""
        if self._network is None:
            self._network = SyntheticCoefficients(self._store, self._device)
        found = self._network(images, landmarks_px)
        if self.layout == SYNTHETIC_LAYOUT:
            return found
        parts = SYNTHETIC_LAYOUT.split(found)
        own = {kind: found.new_zeros(len(found), getattr(self.layout, kind)) for kind in ("shape", "texture")}
        return self.layout.join(**{**parts, **own})

    def accept(self, coefficients: Tensor, landmarks_px: Tensor, size: int) -> Tensor | None:
        """Its own layout, or, where asked to take what the data set gives, that of the head that it reduces."""
        if coefficients.shape[1] == self.layout.total:
            return coefficients
        if not self._from_full:
            return None
        reduced = _head(REDUCED.get(self.name, self.name))
        assert isinstance(reduced, ReducedHead)
        if coefficients.shape[1] != reduced._full.layout.total:
            return None
        return reduced.from_full(coefficients.cpu()).to(coefficients)

    def points(self, coefficients: Tensor) -> Tensor:
        """See ``Drawer``."""
        return projected_points(self._head, self._renderer, coefficients)

    def draw(self, coefficients: Tensor) -> Proxy:
        """See ``Drawer``."""
        texture = self.layout.split(coefficients)["texture"]
        albedo = self._head.albedo(texture, TEXELS)  # a matrix product: quicker than looking for it among known ones
        render = self._renderer.render(coefficients, albedo=albedo)
        return Proxy(render.image, render.landmarks, render.parsing)


@cache
def _head(name: str) -> HeadModel:
    """One per process: it is read only."""
    return ProxyHead() if name == "bundled" else load_head(name)


def projected_points(head: HeadModel, renderer: Renderer, coefficients: Tensor) -> Tensor:
    """(B, K) → (B, 68, 2) normalised landmarks of the posed head in the frame."""
    parts = head.layout.split(coefficients)
    points = head.landmarks(head.vertices(parts["shape"], parts["expression"], parts["pose"]), parts["pose"])
    return renderer.camera.project(renderer.camera.centred(points), parts["camera"])[..., :2]


class ProxyEditor:
    """What makes P_s and P_r out of a batch; see the module.

    Args:
        drawer: the head.
        size: side of the frames.
        place_by_landmarks: correct the camera so that the head's points come to lie on the landmarks.
    """

    def __init__(self, drawer: Drawer, size: int, place_by_landmarks: bool = False) -> None:
        self.drawer, self.layout, self._size = drawer, drawer.layout, size
        self._place_by_landmarks = place_by_landmarks

    @torch.no_grad()
    def coefficients(
        self, given: Tensor | None, images: Tensor, landmarks: Tensor, *, one_by_one: bool = False
    ) -> Tensor:
        """C of the frames, (B, K); a row of NaN where no face was found.

        Args:
            given: (B, L) of the batch; estimated here where it is None or belongs to another head, which is said once.
            images: (B, 3, S, S).
            landmarks: (B, 68, 2) normalised.
            one_by_one: estimate row by row, so that no bit depends on what else is in the batch.
        """
        points_px = normalised_to_pixel(landmarks.float(), self._size, self._size)
        usable = landmarks.isfinite().flatten(1).all(1)
        if given is not None:
            usable = usable & given.isfinite().all(1)
        found = points_px.new_full((len(images), self.layout.total), torch.nan)
        rows = usable.nonzero()[:, 0]
        own = None
        if given is not None and len(rows):
            own = self.drawer.accept(given[rows].float(), points_px[rows], self._size)
            if own is None:
                say_once(
                    f"dcg_gan: the batch's coefficients are {given.shape[1]} numbers, those of head "
                    f"'{self.drawer.name}' are {self.layout.total}; they are estimated again with "
                    f"{', '.join(self.drawer.instruments)}"
                )
        if own is not None:
            found[rows] = own
        for part in rows.split(1 if one_by_one else max(1, len(rows))):
            if own is None:
                found[part] = self.estimate(images[part], points_px[part])
            if self._place_by_landmarks:
                found[part] = self.placed(found[part], landmarks[part].float())
        return found

    def placed(self, coefficients: Tensor, landmarks: Tensor) -> Tensor:
        """Coefficients (B, K) whose camera puts the head's points, in the least-squares sense, onto (B, 68, 2).

        A camera is x = s X + t in the frame, so scale and shift of that fit go straight into its coefficients.
        """
        parts = self.layout.split(coefficients)
        up = coefficients.new_tensor([1.0, -1.0])  # the camera's y points up
        points, aim = self.drawer.points(coefficients) * up, landmarks.to(coefficients) * up
        middle, aimed = points.mean(1), aim.mean(1)
        away = points - middle[:, None]
        scale = (away * (aim - aimed[:, None])).sum((1, 2)) / away.square().sum((1, 2)).clamp(min=1e-8)
        scale = scale.clamp(1 / MOST_GROWTH, MOST_GROWTH)[:, None]
        shift = aimed - scale * middle
        camera = torch.cat([parts["camera"][:, :1] + scale.log(), scale * parts["camera"][:, 1:] + shift], 1)
        return self.layout.join(**{**parts, "camera": camera})

    def estimate(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """E_3D in float32, inside autocast too: (B, 3, S, S), (B, 68, 2) px → (B, K); differentiable in the images."""
        with torch.autocast(images.device.type, enabled=False):
            return self.drawer.estimate(images.float(), landmarks_px.float()).to(images.device)

    def compared(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """``estimate`` with the pose in radians, as DECA has it, for the geometry term."""
        parts = self.layout.split(self.estimate(images, landmarks_px))
        return self.layout.join(**{**parts, "pose": parts["pose"] * self.drawer.pose_unit})

    def mixed(self, source: Tensor, driving: Tensor) -> Tensor:
        """C_r (B, K): camera, pose and expression of the driving, the rest of the source (paper, proxy editor)."""
        return self.layout.mix(source, driving)

    @torch.no_grad()
    def draw(self, coefficients: Tensor, *, one_by_one: bool = False) -> Proxy:
        """P = R(C) for (B, K); a row of NaN gives the mean head, and its landmarks are NaN.

        Args:
            coefficients: of frames of this size.
            one_by_one: draw row by row, so that no bit depends on what else is in the batch.
        """
        usable = coefficients.isfinite().all(-1)
        safe = coefficients.float().nan_to_num(0).masked_fill(~usable[:, None], 0)
        with torch.autocast(coefficients.device.type, enabled=False):
            drawn = [self.drawer.draw(part) for part in safe.split(1 if one_by_one else len(safe))]
        image, landmarks, parsing = (
            torch.cat([getattr(proxy, name) for proxy in drawn]) for name in ("image", "landmarks", "parsing")
        )
        return Proxy(image.clamp(0, 1), landmarks.masked_fill(~usable[:, None, None], torch.nan), parsing)


@cache
def say_once(text: str) -> None:
    """A warning in the log, the first time only."""
    _log.warning(text)
