"""FLAME's proxies as the paper has them: DECA's encoder, FLAME's geometry, DECA's spherical-harmonics shading.

Files come from the user under their own licences. DECA: Feng et al., SIGGRAPH 2021, arXiv:2012.04012; its camera
(s, tx, ty) belongs to a 224 pixel crop: x = s (X + tx), y = -s (Y + ty), X and Y in metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.deca import DecaCoefficients
from reenact_zoo.faces.morphable.base import CoefficientLayout
from reenact_zoo.faces.morphable.flame import FlameHead
from reenact_zoo.faces.renderer import Renderer
from reenact_zoo.faces.synthetic_crop import camera_to_frame
from reenact_zoo.methods.dcg_gan.proxies import Proxy, projected_points
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore

DECA_LAYOUT = CoefficientLayout(shape=100, texture=50, expression=50, pose=6, camera=3, light=27)
MODEL, ENCODER = "flame_2020_generic", "deca_model"  # weight entries
_SMALLEST_SCALE = 1e-3  # the logarithm of DECA's scale is taken
_ALBEDO = 256  # texels, as DECA draws it

# DECA's constants: the orthonormal harmonics times the cosine lobe's pi, 2 pi / 3 and pi / 4, the first without pi.
_SH = (
    1 / math.sqrt(4 * math.pi),
    *[2 * math.pi / 3 * math.sqrt(3 / (4 * math.pi))] * 3,
    *[math.pi / 4 * 3 * math.sqrt(5 / (12 * math.pi))] * 3,
    math.pi / 4 * 1.5 * math.sqrt(5 / (12 * math.pi)),
    math.pi / 4 * 0.5 * math.sqrt(5 / (4 * math.pi)),
)


@dataclass(frozen=True)
class FlameFiles:
    """Paths; empty ones are looked up in the weight store, the texture is optional.

    Attributes:
        model: generic_model.pkl.
        landmarks: landmark_embedding.npy of DECA.
        texture: FLAME_texture.npz; without it the albedo is painted by code and the texture coefficients have no
            effect.
    """

    model: str = ""
    landmarks: str = ""
    texture: str = ""

    def lacking(self, store: WeightStore, with_encoder: bool = True) -> str | None:
        """None where FLAME can be used, else what has to be got from where, in one line."""
        needs = []
        for entry in (*([] if self.model else [MODEL]), *([ENCODER] if with_encoder else [])):
            if (reason := store.missing(entry)) is not None:
                needs.append(f"{reason}. {store.entry(entry).obtain}")
        if not self.landmarks:
            needs.append(
                "landmark_embedding.npy (licence: non-commercial scientific research, as DECA's code) from the folder "
                "data of https://github.com/yfeng95/DECA: give its path as flame_landmarks"
            )
        return "; ".join(needs) or None


class FlameDrawer:
    """FLAME under DECA's encoder; see ``proxies.Drawer``.

    Args:
        files: where FLAME lies.
        size: side of the frames.
        store: where weights lie.
        device: where it runs.
        head, encoder: in place of those that the files hold.

    Raises:
        InputError: a file is missing (with licence and where to register), or holds anything but arrays.
    """

    name = "flame"
    pose_unit = 1.0  # axis times angle, in radians
    instruments: tuple[str, ...] = (ENCODER,)

    def __init__(
        self,
        files: FlameFiles,
        size: int,
        store: WeightStore | None,
        device: torch.device,
        *,
        head: FlameHead | None = None,
        encoder: DecaCoefficients | None = None,
    ) -> None:
        store = store or WeightStore()
        if head is None:
            if (lacking := files.lacking(store, with_encoder=encoder is None)) is not None:
                raise InputError(f"dcg_gan: head 'flame' needs {lacking}")
            head = FlameHead(files.model or store.path(MODEL), files.landmarks, files.texture or None)
        self._head, self._encoder = head.to(device), encoder
        self._store, self._device = store, device
        self.layout = head.layout
        # Twice the size, then averaged: DECA's shading is made of the maps that the renderer has at pixel centres.
        self._renderer = Renderer(self._head, 2 * size, 1, "weak", shadows=False, texture_size=_ALBEDO)

    def estimate(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """See ``proxies.Drawer``."""
        if self._encoder is None:
            self._encoder = DecaCoefficients(self._store, self._device)
        return self._of_frame(self._encoder(images, landmarks_px), landmarks_px, images.shape[-1])

    def accept(self, coefficients: Tensor, landmarks_px: Tensor, size: int) -> Tensor | None:
        """DECA's 236, whose camera belongs to DECA's crop around the landmarks."""
        if coefficients.shape[1] != DECA_LAYOUT.total:
            return None
        return self._of_frame(coefficients, landmarks_px, size)

    def _of_frame(self, deca: Tensor, landmarks_px: Tensor, size: int) -> Tensor:
        """DECA's coefficients → this head's layout with the renderer's camera of the whole frame."""
        parts = DECA_LAYOUT.split(deca)
        matrices = DecaCoefficients.face.matrices(landmarks_px).to(deca)
        camera = camera_to_frame(self._camera(parts["camera"]), matrices, size, DecaCoefficients.face.size)
        texture = parts["texture"]
        if self.layout.texture != DECA_LAYOUT.texture:
            texture = deca.new_zeros(len(deca), self.layout.texture)
        return self.layout.join(**{**parts, "texture": texture, "camera": camera})

    def _camera(self, weak: Tensor) -> Tensor:
        """DECA's (s, tx, ty) → log scale, x and y of the renderer, which centres the head first; cm there."""
        camera = self._renderer.camera
        scale, shift = weak[:, :1].clamp(min=_SMALLEST_SCALE), weak[:, 1:]
        centre_m = camera.centre[:2].to(weak) / 100
        return torch.cat([(scale * camera.half_frame_cm / 100).log(), scale * (shift + centre_m)], 1)

    def points(self, coefficients: Tensor) -> Tensor:
        """See ``proxies.Drawer``."""
        return projected_points(self._head, self._renderer, coefficients)

    def draw(self, coefficients: Tensor) -> Proxy:
        """Albedo times DECA's shading (the released decoder leaves the lights out; the paper's proxies are lit)."""
        parts = self.layout.split(coefficients)
        neutral = self.layout.join(**{**parts, "light": torch.zeros_like(parts["light"])})
        albedo = self._head.albedo(parts["texture"], _ALBEDO)
        render = self._renderer.render(neutral, albedo=albedo)
        seen = render.fragments.mask[:, None].to(albedo.dtype)
        texels = F.grid_sample(albedo, 2 * render.uv.movedim(1, -1) - 1, padding_mode="border", align_corners=False)
        lit = texels * deca_shading(render.normals, parts["light"].unflatten(1, (9, 3))) * seen
        return Proxy(F.avg_pool2d(lit.clamp(0, 1), 2), render.landmarks, F.avg_pool2d(render.parsing, 2))


def deca_shading(normals: Tensor, light: Tensor) -> Tensor:
    """Normals (B, 3, H, W) x right, y up, z to the viewer; light (B, 9, 3) in DECA's order of bands → (B, 3, H, W)."""
    x, y, z = normals.unbind(1)
    bands = (torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
    basis = torch.stack([factor * band for factor, band in zip(_SH, bands)], 1)  # (B, 9, H, W)
    return torch.einsum("bkhw,bkc->bchw", basis, light)
