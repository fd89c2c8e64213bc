"""A landmark transformer without a network: identity and motion as principal modes (the idea of MarioNETte,
Ha et al., AAAI 2020, arXiv:1911.08139), fitted to the landmarks that LD-Net learns from.

shape = mean + h + w with h ~ N(0, S_b), the same in all frames of a person, and w ~ N(0, S_w), pose and expression;
S_b and S_w are kept to their leading modes. h is estimated from one frame, and

    l' = place(x_driving + h(x_source) - h(x_driving), f_driving),    h(x) = S_b (S_b + S_w + σ²)⁻¹ (x - mean).

The original works on points of a 3-D fit with the head's rotation taken out; here, as for LD-Net, there are 68 points
of the picture, so motion contains the rotation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.methods.ldnet_fdgan.landmark_shape import check_landmarks, framing_of, placed, shape_of, usable


class PCATransformer:
    """Moves a source person's identity into the driving landmarks.

    Args:
        mean: (136,) mean shape.
        gain: (136, 136) h(x) = gain (x - mean).
    """

    def __init__(self, mean: Tensor, gain: Tensor) -> None:
        self.mean, self.gain = mean, gain

    @classmethod
    def fit(
        cls,
        landmarks: Tensor,
        identity: Tensor,
        identity_modes: int = 40,
        motion_modes: int = 40,
        turns: int = 3,
    ) -> PCATransformer:
        """Estimate mean and covariances.

        Args:
            landmarks: (M, 68, 2) normalised.
            identity: (M,) labels.
            identity_modes: directions in which persons differ.
            motion_modes: directions in which a person moves.
            turns: the leading ones of these, head turns, in which no difference between persons is believed: where a
                person is seen in few clips, means still differ by how the head was turned there.

        Raises:
            InputError: landmarks of another kind, or with NaN.
        """
        check_landmarks(landmarks, "landmarks")
        points = landmarks.double()
        shapes = shape_of(points, framing_of(points)).flatten(1)
        mean = shapes.mean(0)
        _, person, count = identity.unique(return_inverse=True, return_counts=True)
        means = shapes.new_zeros(len(count), shapes.shape[1]).index_add(0, person, shapes) / count[:, None]
        moved = shapes - means[person]
        within = moved.T @ moved / max(1, len(shapes) - len(count))
        # a mean over n frames still holds 1/n of the motion
        between = (means - mean).T @ (means - mean) / max(1, len(count) - 1) - within * (1 / count).mean()
        turning = torch.linalg.eigh(within).eigenvectors[:, len(mean) - turns :]
        beside = torch.eye(len(mean), dtype=mean.dtype) - turning @ turning.T
        s_b, left_b = _leading(beside @ between @ beside, identity_modes)
        s_w, left_w = _leading(within, motion_modes)
        noise = (left_b + left_w).clamp(min=1e-8) * torch.eye(len(mean), dtype=mean.dtype)
        return cls(mean, torch.linalg.solve(s_b + s_w + noise, s_b).T)

    def identity_part(self, shape: Tensor) -> Tensor:
        """(B, 68, 2) shapes → h, (B, 68, 2)."""
        h = (shape.flatten(1).to(self.mean) - self.mean) @ self.gain.T
        return h.unflatten(1, (-1, 2)).to(shape.dtype)

    def personalise(self, source_landmarks: Tensor, driving_landmarks: Tensor) -> Tensor:
        """(B, 68, 2) each, normalised → (B, 68, 2) normalised; rows of NaN where either face is missing.

        Raises:
            InputError: not 68 points, or pixels.
        """
        check_landmarks(source_landmarks, "source_landmarks", missing=True)
        check_landmarks(driving_landmarks, "driving_landmarks", missing=True)
        framing = framing_of(driving_landmarks)
        driving, source = shape_of(driving_landmarks, framing), shape_of(source_landmarks, framing_of(source_landmarks))
        made = placed(driving + self.identity_part(source) - self.identity_part(driving), framing)
        found = usable(source_landmarks) & usable(driving_landmarks)
        return made.masked_fill(~found[:, None, None], torch.nan)


def _leading(covariance: Tensor, modes: int) -> tuple[Tensor, Tensor]:
    """The part of a covariance in its ``modes`` largest directions, and the mean variance of the others."""
    values, directions = torch.linalg.eigh(covariance)  # ascending
    kept = directions[:, -modes:]
    rest = values[:-modes].clamp(min=0)
    return kept * values[-modes:].clamp(min=0) @ kept.T, rest.mean() if len(rest) else values.new_zeros(())
