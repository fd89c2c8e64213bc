"""LD-Net of "One-Shot Identity-Preserving Portrait Reenactment" (Xiang et al., arXiv:2004.12452).

Landmarks l of a face are split into framing f, pose-and-expression code z and identity code w; the landmarks of the
source's person doing what the driving person does are

    l' = place(G(E_pe(l_driving), E_id(l_source)), f_driving).

The paper names the two encoders, the recombination and the two training stages (``ld_losses``); its layers were not at
hand, those here are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from reenact_zoo.methods.ldnet_fdgan.landmark_shape import (
    LANDMARKS,
    check_landmarks,
    check_order,
    framing_of,
    mean_shape,
    placed,
    shape_of,
    usable,
)

LAYERS = 3  # hidden ones, in every network
SPREAD = 4.0  # networks see and make shapes in this multiple of their deviation from the mean face: about N(0, 1)


@dataclass(frozen=True)
class Codes:
    """What LD-Net knows about faces.

    Attributes:
        pose_expression: (B, P) how the head is turned and what the face does.
        identity: (B, I) who it is.
        framing: (B, 3) where the face lies: centre x and y, log of the size.
    """

    pose_expression: Tensor
    identity: Tensor
    framing: Tensor


class Perceptron(nn.Module):
    """A linear map plus what hidden layers with leaky ReLU add to it, (B, inward) → (B, outward).

    Without the linear part, and with layer norm, which takes away the length of what it sees, faces came back with
    nearly twice the error after 2,500 updates.
    """

    def __init__(self, inward: int, width: int, outward: int, layers: int = LAYERS) -> None:
        super().__init__()
        sizes = [inward, *[width] * layers]
        hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Linear(width, outward)
        self.linear = nn.Linear(inward, outward, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Both parts."""
        out: Tensor = self.linear(x) + self.last(self.hidden(x))
        return out


class GaussianEncoder(nn.Module):
    """Shape (B, 136) → mean and log variance (B, P) each of the pose-and-expression code."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.layers = Perceptron(2 * LANDMARKS, width, 2 * code)
        # codes begin as noise and get what they are needed for; a random map would begin by telling who it is
        nn.init.zeros_(self.layers.linear.weight)
        nn.init.zeros_(self.layers.last.weight)

    def forward(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance."""
        mean, log_variance = self.layers(shape).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 4)


class ShapeGenerator(nn.Module):
    """Codes (B, P) and (B, I) → shape (B, 136)."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.layers = Perceptron(code, width, 2 * LANDMARKS)

    def forward(self, pose_expression: Tensor, identity: Tensor) -> Tensor:
        """Codes (B, P) and (B, I) → shape."""
        shape: Tensor = self.layers(torch.cat([pose_expression, identity], dim=1))
        return shape


class LDNet(nn.Module):
    """Landmark disentanglement network.

    Args:
        width: of the hidden layers.
        pose_code: numbers that hold pose and expression.
        identity_code: numbers that hold identity.
    """

    mean_shape: Tensor

    def __init__(self, width: int = 192, pose_code: int = 32, identity_code: int = 64) -> None:
        super().__init__()
        self.sizes = {"width": width, "pose_code": pose_code, "identity_code": identity_code}
        self.pose_expression_encoder = GaussianEncoder(width, pose_code)
        self.identity_encoder = Perceptron(2 * LANDMARKS, width, identity_code)
        self.generator = ShapeGenerator(width, pose_code + identity_code)
        self.register_buffer("mean_shape", mean_shape(), persistent=False)

    # --- use ------------------------------------------------------------------------------------------------------

    def personalise(self, source_landmarks: Tensor, driving_landmarks: Tensor) -> Tensor:
        """The driving face's pose, expression and framing with the source's identity.

        Args:
            source_landmarks: (B, 68, 2) normalised.
            driving_landmarks: (B, 68, 2) normalised.

        Returns:
            (B, 68, 2) normalised; rows of NaN where either face is missing.

        Raises:
            InputError: not 68 points, pixels, or points in another order.
        """
        return self.drive(self.identity_of(source_landmarks), driving_landmarks)

    def identity_of(self, source_landmarks: Tensor) -> Tensor:
        """Identity codes (B, I) of faces (B, 68, 2), once per source; rows of NaN where the face is missing.

        Raises:
            InputError: not 68 points, pixels, or points in another order.
        """
        check_landmarks(source_landmarks, "source_landmarks", missing=True)
        found = usable(source_landmarks)
        check_order(source_landmarks[found], "source_landmarks")
        source = self._stand_in(source_landmarks, found)
        identity: Tensor = self.identity_encoder(self.normalised(source, framing_of(source)))
        return identity.masked_fill(~found[:, None], torch.nan)

    def drive(
        self, identity: Tensor, driving_landmarks: Tensor, smooth: Callable[[Codes], Codes] | None = None
    ) -> Tensor:
        """``personalise`` for known identity codes.

        Args:
            identity: (B, I) of ``identity_of``.
            driving_landmarks: (B, 68, 2) normalised; with ``smooth`` consecutive frames of one clip.
            smooth: a ``temporal.CodeSmoother``, say.

        Returns:
            (B, 68, 2) normalised; rows of NaN where either face is missing.

        Raises:
            InputError: not 68 points, or pixels.
        """
        check_landmarks(driving_landmarks, "driving_landmarks", missing=True)
        found = usable(driving_landmarks)
        driving = self._stand_in(driving_landmarks, found)
        framing = framing_of(driving)
        pose_expression, _ = self.pose_expression_encoder(self.normalised(driving, framing))
        missing = ~found[:, None]
        codes = Codes(pose_expression.masked_fill(missing, torch.nan), identity, framing)
        if smooth is not None:
            codes = smooth(codes)
        made = self.generate(codes.pose_expression, codes.identity, codes.framing)
        return made.to(driving_landmarks.dtype)

    def codes(self, landmarks: Tensor) -> Codes:
        """What there is to know about faces (B, 68, 2).

        Raises:
            InputError: not 68 points, NaN, pixels, or points in another order.
        """
        check_landmarks(landmarks, "landmarks")
        check_order(landmarks, "landmarks")
        framing = framing_of(landmarks.float())
        shape = self.normalised(landmarks.float(), framing)
        return Codes(self.pose_expression_encoder(shape)[0], self.identity_encoder(shape), framing)

    def generate(self, pose_expression: Tensor, identity: Tensor, framing: Tensor) -> Tensor:
        """Codes (B, P), (B, I) and framing (B, 3) → landmarks (B, 68, 2), normalised."""
        return placed(self.denormalised(self.generator(pose_expression, identity)), framing)

    # --- what the networks see ------------------------------------------------------------------------------------

    def normalised(self, landmarks: Tensor, framing: Tensor) -> Tensor:
        """Landmarks (B, 68, 2) and their framing → (B, 136), about N(0, 1)."""
        return SPREAD * (shape_of(landmarks, framing) - self.mean_shape).flatten(1)

    def denormalised(self, shape: Tensor) -> Tensor:
        """Inverse of ``normalised`` up to the framing: (B, 136) → (B, 68, 2)."""
        return shape.unflatten(1, (LANDMARKS, 2)) / SPREAD + self.mean_shape

    def _stand_in(self, landmarks: Tensor, found: Tensor) -> Tensor:
        """The average face in rows without one, so that they hold numbers."""
        return torch.where(found[:, None, None], landmarks.float(), self.mean_shape)
