"""Ladders of outputs that are wrong by a known amount: the truth, spoilt in one way a little, more, and a lot.

Two kinds. A rendered ladder alters the coefficients of the true target and draws the head again, so that its error is
known in the space of parameters: who it is, how the head is turned, what the face does. A picture ladder alters the
pixels of the true target, as blurring networks, loose warps and codecs do.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reenact_zoo.datasets.synthetic import Synthetic
from reenact_zoo.faces.morphable._dense import DenseHead, pose_from_rotation
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.ops.rotation import euler_from_matrix, matrix_from_euler
from reenact_zoo.ops.warp import warp
from reenact_zoo.types import InputError


@dataclass(frozen=True)
class Case:
    """One pair whose truth is known.

    Attributes:
        number: of the pair; seeds the noise.
        clip: of the source, whose place and light the truth has.
        target: (3, S, S) the truth.
        driving: (3, S, S).
        coefficients: (K,) of the truth; None where no head model is at hand.
        driving_coefficients: (K,) of the driving frame, likewise.
    """

    number: int
    clip: str
    target: Tensor
    driving: Tensor
    coefficients: Tensor | None = None
    driving_coefficients: Tensor | None = None


@dataclass(frozen=True)
class Ladder:
    """One way of being wrong.

    Attributes:
        name: of its column.
        does: what happens to the truth, in words.
        levels: true error of the rungs, from the mildest on; the truth itself has 0.
        unit: of the levels.
        rung: picture (3, S, S) of a case at a level.
    """

    name: str
    does: str
    levels: tuple[float, ...]
    unit: str
    rung: Callable[[Case, float], Tensor]


# --- pixels -----------------------------------------------------------------------------------------------------------


def blur(case: Case, level: float) -> Tensor:
    """Gaussian with a standard deviation of ``level`` % of the width; edges repeat."""
    sigma = level / 100 * case.target.shape[-1]
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(case.target)
    planes = F.pad(case.target[:, None], (reach, reach, reach, reach), mode="replicate")
    planes = F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return planes[:, 0]


def shift(case: Case, level: float) -> Tensor:
    """Moved to the right by ``level`` % of the width, fractions of pixels included; the left edge repeats."""
    size = case.target.shape[-1]
    grid = identity_grid(size, size) - torch.tensor([2 * level / 100, 0])
    return warp(case.target[None], grid.reshape(1, size, size, 2), padding_mode="border")[0]


def noise(case: Case, level: float) -> Tensor:
    """White noise with a standard deviation of ``level`` % of the range; the same pattern on every rung of a case."""
    pattern = torch.randn(case.target.shape, generator=torch.Generator().manual_seed(case.number))
    return (case.target + level / 100 * pattern).clamp(0, 1)


def jpeg(case: Case, level: float) -> Tensor:
    """Written as JPEG of quality 100 - ``level`` and read again."""
    image = Image.fromarray((case.target.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=round(100 - level))
    with Image.open(file) as read:
        return torch.from_numpy(np.array(read)).permute(2, 0, 1).float() / 255


def ghost(case: Case, level: float) -> Tensor:
    """Cross-faded with the driving frame, which has ``level`` % of the weight."""
    return torch.lerp(case.target, case.driving, level / 100)


PICTURE_LADDERS = (
    Ladder("blur", "Gaussian blur, standard deviation in % of the width", (1, 2, 4), "% width", blur),
    Ladder("shift", "moved to the right, in % of the width", (2, 5, 10), "% width", shift),
    Ladder("noise", "white noise, standard deviation in % of the range", (2, 5, 10), "% range", noise),
    Ladder("jpeg", "JPEG of quality 70, 40 and 10", (30, 60, 90), "100 - quality", jpeg),
    Ladder("ghost", "cross-faded with the driving frame, by its weight", (10, 25, 50), "% driving", ghost),
)


# --- coefficients -----------------------------------------------------------------------------------------------------


def other_person(head: DenseHead, case: Case, level: float) -> Tensor:
    """(K,) with shape and texture moved by ``level`` % of the way to the driving person's."""
    own, other = head.layout.split(_known(case)), head.layout.split(_known(case, driving=True))
    moved = {name: torch.lerp(own[name], other[name], level / 100) for name in ("shape", "texture")}
    return head.layout.join(**{**own, **moved})


def turned(head: DenseHead, case: Case, level: float) -> Tensor:
    """(K,) with the head turned about the vertical by ``level`` degrees, towards the camera's other side.

    Heads that look right turn left and the other way round, so that faces stay in view.
    """
    parts = head.layout.split(_known(case))
    rotation = head.head_rotation(parts["pose"][None])
    away = -1.0 if euler_from_matrix(rotation)[0, 0] > 0 else 1.0
    turn = matrix_from_euler(rotation.new_tensor([[away * level, 0.0, 0.0]]))
    pose = pose_from_rotation(euler_from_matrix(turn @ rotation)[0], parts["pose"][6:])
    return head.layout.join(**{**parts, "pose": pose})


def damped(head: DenseHead, case: Case, level: float) -> Tensor:
    """(K,) with the expression weakened by ``level`` %; 100 is the face at rest."""
    parts = head.layout.split(_known(case))
    return head.layout.join(**{**parts, "expression": (1 - level / 100) * parts["expression"]})


def _known(case: Case, *, driving: bool = False) -> Tensor:
    found = case.driving_coefficients if driving else case.coefficients
    if found is None:
        raise ValueError(f"case {case.number} has no coefficients")
    return found


RENDERED = (
    (
        "identity",
        "rendered with a shape and texture nearer to the driving person's",
        (25, 50, 100),
        "%",
        other_person,
    ),
    ("pose", "rendered with the head turned further about the vertical", (5, 10, 20), "deg", turned),
    ("expression", "rendered with a weakened expression", (25, 50, 100), "%", damped),
)


class AlteredPeople(Synthetic):
    """The same world, in which people can be drawn from other coefficients than their own."""

    def lacking(self) -> str:
        """What is needed to draw at all, in words; "" where nothing is."""
        try:
            self.head  # noqa: B018
        except InputError as error:
            return str(error)
        return ""

    @torch.no_grad()
    def picture(self, clip: str, coefficients: Tensor) -> Tensor:
        """(3, S, S) of the coefficients (K,) in the place of a clip, in 8 bits as every frame is."""
        background = self._scenes.get(clip, lambda: self._background(clip))
        image = self._ready().render(coefficients[None], background=background).image[0]
        return (image.clamp(0, 1) * 255).round() / 255

    def ladders(self) -> tuple[Ladder, ...]:
        """What it takes a head model to be wrong in."""

        def drawn(alter: Callable[[DenseHead, Case, float], Tensor]) -> Callable[[Case, float], Tensor]:
            return lambda case, level: self.picture(case.clip, alter(self.head, case, level))

        return tuple(Ladder(name, does, levels, unit, drawn(alter)) for name, does, levels, unit, alter in RENDERED)


def rungs(ladders: Sequence[Ladder], case: Case) -> Tensor:
    """(1 + all rungs, 3, S, S): the truth, then every ladder from its mildest rung on."""
    made = [ladder.rung(case, level) for ladder in ladders for level in ladder.levels]
    return torch.stack([case.target, *made])
